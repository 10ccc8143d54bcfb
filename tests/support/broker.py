"""dtoolcore datasets on our broker over any store, without environment or entry point; for tests only."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dtoolcore

from dtool_s3.storagebroker import S3StorageBroker
from dtool_s3.store.protocol import Store
from tests.support.datasets import UUID


@dataclass(frozen=True, slots=True)
class Bench:
    """One dataset of one bucket as dtoolcore sees it; every call opens a new broker, as commands do."""

    store: Store
    directory: Path
    uuid: str = UUID
    prefix: str = "u/alice/"

    @property
    def uri(self) -> str:
        """URI of the dataset."""
        return f"s3://{self.store.bucket}/{self.uuid}"

    def broker(self) -> S3StorageBroker:
        """Open a broker."""
        return S3StorageBroker(
            self.uri, store=self.store, prefix=self.prefix, cache_directory=self.directory / "cache"
        )

    def admin_metadata(self, **fields: Any) -> dict[str, Any]:
        """Administrative metadata of a new dataset."""
        made: dict[str, Any] = dtoolcore.generate_admin_metadata("sample", "olssont")
        return made | {"uuid": self.uuid} | fields

    def proto(self) -> Any:
        """Return a dtoolcore.ProtoDataSet, new unless there is one."""
        broker = self.broker()
        admin = broker.get_admin_metadata() if broker.has_admin_metadata() else self.admin_metadata()
        return self._dataset(dtoolcore.ProtoDataSet, admin)

    def frozen(self) -> Any:
        """Return the dtoolcore.DataSet that is there."""
        admin = self.broker().get_admin_metadata()
        assert admin["type"] == "dataset"
        return self._dataset(dtoolcore.DataSet, admin)

    def _dataset(self, kind: Any, admin: dict[str, Any]) -> Any:
        dataset = kind(self.uri, admin)
        dataset._storage_broker = self.broker()
        return dataset

    def file(self, body: bytes, name: str = "file.bin") -> Path:
        """Write a local file."""
        path = self.directory / name
        path.write_bytes(body)
        return path
