"""One dataset in one bucket and a place for its copy in another, in memory; for tests of copies only."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from dtool_s3.layout import DatasetLayout, item_identifier
from dtool_s3.store.faults import Request
from dtool_s3.store.memory import MemoryServer, MemoryStore
from dtool_s3.transfer.engine import CopyRequest, CopyResult, copy_dataset
from dtool_s3.transfer.parts import PartLimits
from dtool_s3.transfer.progress import ProgressSink, no_progress
from tests.support.datasets import DatasetFixture, write_dataset

SOURCE = "instrument-data"
TARGET = "lab-data"
TARGET_PREFIX = "u/alice/"
#: Operations that change a bucket.
WRITES = frozenset({"put", "copy", "delete", "start_upload", "put_part", "complete_upload"})


@dataclass(frozen=True, slots=True)
class CopyScene:
    """The source bucket as identity `instrument` sees it, the target bucket as `alice` does."""

    server: MemoryServer
    dataset: DatasetFixture
    source: MemoryStore
    target: MemoryStore

    @property
    def origin(self) -> DatasetLayout:
        """Keys of the source."""
        return self.dataset.layout

    @property
    def place(self) -> DatasetLayout:
        """Keys of the copy."""
        return DatasetLayout(TARGET_PREFIX, self.dataset.uuid)

    def item_key(self, relpath: str) -> str:
        """Key of an item at the target."""
        return self.place.item_key(item_identifier(relpath))

    def source_item_key(self, relpath: str) -> str:
        """Key of an item at the source."""
        return self.origin.item_key(item_identifier(relpath))

    async def copy(self, *, on_progress: ProgressSink = no_progress, **changes: Any) -> CopyResult:
        """Copy the dataset; `changes` are fields of the request or, for sizes, of its limits."""
        sizes = {name: changes.pop(name) for name in list(changes) if name in PartLimits.__slots__}
        limits = PartLimits(**{"min_part_bytes": 1, **sizes})
        request = CopyRequest(
            self.dataset.uuid,
            self.dataset.prefix,
            TARGET_PREFIX,
            limits=limits,
            grace_seconds=0.01,
            pause_seconds=0.0,
        )
        return await copy_dataset(
            self.source, self.target, replace(request, **changes), on_progress=on_progress
        )

    def objects(self, bucket: str, layout: DatasetLayout) -> dict[str, tuple[bytes, Mapping[str, str]]]:
        """Return body and headers by key relative to the dataset's root."""
        found: dict[str, tuple[bytes, Mapping[str, str]]] = {}
        for key in self.server.keys(bucket):
            if key.startswith(layout.root):
                stored = self.server.read(bucket, key)
                found[key.removeprefix(layout.root)] = (stored.body, dict(stored.info.metadata))
        return found

    def copied(self) -> dict[str, tuple[bytes, Mapping[str, str]]]:
        """Return body and headers of everything at the target, by key relative to the dataset's root."""
        return self.objects(TARGET, self.place)

    def original(self) -> dict[str, tuple[bytes, Mapping[str, str]]]:
        """Return the same of the source."""
        return self.objects(SOURCE, self.origin)

    def is_frozen(self) -> bool:
        """Whether a reader takes the target for a frozen dataset."""
        _, headers = self.copied().get("dtool", (b"", {}))
        return headers.get("type") == "dataset"

    def unfinished_uploads(self) -> int:
        """Count the multipart uploads of the target that nobody completed."""
        return len(self.server.find_bucket(TARGET).uploads)

    def writes(self) -> list[Request]:
        """Return the requests so far that wrote to the target, or tried to."""
        return [r for r in self.server.requests if r.bucket == TARGET and r.operation in WRITES]

    def item_writes(self) -> list[Request]:
        """Return those of them about items."""
        return [r for r in self.writes() if r.key.startswith(self.place.data_prefix)]

    def set_etag(self, bucket: str, key: str, etag: str) -> None:
        """Give an object an ETag that is no MD5, as encryption does."""
        held = self.server.find_bucket(bucket).objects
        held[key] = replace(held[key], etag=etag)


async def make_scene(
    dataset: DatasetFixture | None = None, *, server: MemoryServer | None = None
) -> CopyScene:
    """Write the dataset into the source bucket; the target bucket is empty, the log of requests too."""
    dataset, server = dataset or DatasetFixture(), server or MemoryServer()
    allows, server.allows = server.allows, None
    for bucket in (SOURCE, TARGET):
        server.create_bucket(bucket)
    await write_dataset(server.store(SOURCE), dataset)
    server.requests.clear()
    server.allows = allows
    return CopyScene(server, dataset, server.store(SOURCE, "instrument"), server.store(TARGET, "alice"))
