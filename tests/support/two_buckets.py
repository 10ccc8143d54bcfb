"""Two buckets of one server in memory, configured as a user's variables would; for tests only."""

from dataclasses import dataclass, field

from dtool_s3.configuration import Configuration
from dtool_s3.layout import DatasetLayout
from dtool_s3.store.memory import MemoryServer
from tests.support.datasets import DatasetFixture, write_dataset


@dataclass(slots=True)
class TwoBuckets:
    """Two buckets of one server in memory; `prefixes` is where new datasets go in them."""

    server: MemoryServer = field(default_factory=MemoryServer)
    prefixes: dict[str, str] = field(default_factory=lambda: {"target": "u/alice/"})
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("source", "target"):
            self.server.create_bucket(name)

    def configure(self, bucket: str) -> Configuration:
        """Give a bucket's configuration, as `read_configuration` would."""
        self.asked.append(bucket)
        store = self.server.store(bucket)
        return Configuration(bucket, store=store, prefix=self.prefixes.get(bucket, ""))

    async def write(self, dataset: DatasetFixture, bucket: str = "source") -> DatasetLayout:
        """Put a dataset into a bucket."""
        return await write_dataset(self.server.store(bucket), dataset)

    def list_keys(self, bucket: str = "target") -> list[str]:
        """List all keys of a bucket."""
        return self.server.keys(bucket)
