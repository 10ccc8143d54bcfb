"""A volume with files, a bucket in memory with an empty proto dataset, and a store that signs little."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dtool_s3.creation import create_proto
from dtool_s3.errors import AccessDenied
from dtool_s3.files.pace import Pace
from dtool_s3.files.tree import Tree
from dtool_s3.layout import DatasetLayout, item_identifier
from dtool_s3.store.faults import Fault
from dtool_s3.store.memory import MemoryServer
from dtool_s3.store.memory_store import MemoryStore
from dtool_s3.transfer.engine import CopyResult
from dtool_s3.volume.publishing import PublishRequest, publish_uploaded
from dtool_s3.volume.upload import UploadedFiles, upload_dataset_directory, upload_directory

BUCKET, PREFIX = "lab-data", "u/alice/"
UUID = "2c10766c-c4a9-4a4f-9b5d-0d5f0e1c7a22"
FILES: Mapping[str, bytes] = {
    "a.txt": b"alpha",
    "sub dir/ünï.csv": b"1,2\n",
    "sub dir/deep/large.bin": bytes(range(200)),
    "empty": b"",
}


async def no_sleep(_: float) -> None:
    """Wait for nothing: nobody else writes."""


@dataclass(frozen=True, slots=True)
class VolumeScene:
    """The volume's root, the directory `run-17` on it, and a bucket."""

    root: Path
    uuid: str = UUID
    server: MemoryServer = field(default_factory=MemoryServer)

    @property
    def run(self) -> Path:
        """The directory with the files."""
        return self.root / "run-17"

    @property
    def tree(self) -> Tree:
        """The directory, as the worker is told."""
        return Tree(self.root, "run-17/")

    @property
    def layout(self) -> DatasetLayout:
        """Keys of the dataset."""
        return DatasetLayout(PREFIX, self.uuid)

    @property
    def store(self) -> MemoryStore:
        """The bucket, as the operator sees it."""
        return self.server.store(BUCKET)

    def key(self, relpath: str) -> str:
        """Key of an item."""
        return self.layout.item_key(item_identifier(relpath))

    def stored(self) -> dict[str, bytes]:
        """Return what lies under the dataset's root, by key relative to it."""
        start = self.layout.root
        keys = [key for key in self.server.keys(BUCKET) if key.startswith(start)]
        return {key.removeprefix(start): self.server.read(BUCKET, key).body for key in keys}

    def interrupt(self, operation: str, skip: int) -> None:
        """Have requests for items refused, all but the first few."""
        fault = Fault(operation, "*/data/*", error=AccessDenied("403"), skip=skip, times=None)
        self.server.faults.append(fault)

    async def create(self, name: str = "sample", **options: Any) -> None:
        """Make the proto dataset, as the operator does before the upload."""
        await create_proto(self.store, self.layout, name=name, creator_username="olssont", **options)

    async def upload(self, **options: Any) -> UploadedFiles:
        """Upload the files, in parts of 64 bytes."""
        options = {"pace": Pace(4, 64)} | options
        return await upload_directory(self.tree, self.store, self.layout, **options)

    async def upload_dataset(self, *, new: bool = False, **options: Any) -> UploadedFiles:
        """Upload the dataset in the directory, in parts of 64 bytes."""
        options = {"pace": Pace(4, 64)} | options
        return await upload_dataset_directory(self.tree, self.store, self.layout, new=new, **options)

    async def publish(self, quiet_seconds: float = 30.0, **options: Any) -> CopyResult:
        """Publish what was uploaded, without waiting."""
        names = ("max_size_bytes", "manifest_sha256", "content_sha256")
        chosen = {name: options.pop(name) for name in names if name in options}
        request = PublishRequest(quiet_seconds, pause_seconds=0, **chosen)
        options = {"sleep": no_sleep} | options
        return await publish_uploaded(self.store, self.layout, request, **options)


def make_volume_scene(root: Path, files: Mapping[str, bytes] = FILES) -> VolumeScene:
    """Make the volume and the bucket."""
    scene = VolumeScene(root)
    for relpath, body in files.items():
        path = scene.run / relpath
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    scene.server.create_bucket(BUCKET)
    return scene
