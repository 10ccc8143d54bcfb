"""Small datasets in directories, made by dtoolcore itself, and a bucket in memory; for tests only."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dtoolcore

from dtool_s3.disk.download import download_dataset
from dtool_s3.disk.upload import upload_dataset
from dtool_s3.layout import DatasetLayout, item_identifier
from dtool_s3.store.memory import MemoryServer
from dtool_s3.transfer.engine import CopyResult

BUCKET = "lab-data"
PREFIX = "u/alice/"
ITEMS: Mapping[str, bytes] = {
    "a.txt": b"alpha",
    "sub dir/ünï.csv": b"1,2\n",
    "sub dir/deep/large.bin": bytes(range(200)),
    "empty": b"",
}


def make_dataset(
    directory: Path,
    *,
    name: str = "sample",
    items: Mapping[str, bytes] = ITEMS,
    annotation: str = "v1.2",
) -> Path:
    """Let dtoolcore make a frozen dataset below `directory`; return its directory."""
    proto = make_proto(directory, name=name, items=items, annotation=annotation)
    proto.freeze()
    return directory / name


def make_proto(
    directory: Path,
    *,
    name: str = "sample",
    items: Mapping[str, bytes] = ITEMS,
    annotation: str = "v1.2",
) -> Any:
    """Let dtoolcore make a proto dataset with README, a tag, an annotation and item metadata."""
    directory.mkdir(parents=True, exist_ok=True)
    proto = dtoolcore.create_proto_dataset(name, f"file://{directory}", "title: ü\n", "olssont")
    for number, (relpath, body) in enumerate(items.items()):
        path = directory / "item"
        path.write_bytes(body)
        proto.put_item(str(path), relpath)
        proto.add_item_metadata(relpath, "number", number)
    proto.put_tag("blue")
    proto.put_annotation(annotation, {"project": "atlas"})
    return proto


def read_tree(directory: Path) -> dict[str, bytes]:
    """Return all files below a directory, hidden ones too, by relative path."""
    return {str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


@dataclass(frozen=True, slots=True)
class DiskScene:
    """A frozen dataset in a directory, an empty bucket, and an empty directory."""

    source: Path
    base: Path
    server: MemoryServer = field(default_factory=MemoryServer)

    @property
    def uuid(self) -> str:
        """UUID of the dataset."""
        return str(json.loads((self.source / ".dtool" / "dtool").read_bytes())["uuid"])

    @property
    def layout(self) -> DatasetLayout:
        """Keys of the dataset in the bucket."""
        return DatasetLayout(PREFIX, self.uuid)

    @property
    def copy(self) -> Path:
        """Where the dataset is downloaded to."""
        return self.base / self.source.name

    def item_key(self, relpath: str) -> str:
        """Key of an item in the bucket."""
        return self.layout.item_key(item_identifier(relpath))

    async def upload(self, uri: str = "", **options: Any) -> CopyResult:
        """Upload the dataset, in parts of 64 bytes."""
        store = self.server.store(BUCKET)
        options = {"chunk_bytes": 64} | options
        return await upload_dataset(uri or f"file://{self.source}", store, PREFIX, **options)

    async def download(self, **options: Any) -> CopyResult:
        """Download the dataset, in ranges of 64 bytes."""
        store = self.server.store(BUCKET)
        options = {"chunk_bytes": 64} | options
        return await download_dataset(store, self.layout, f"file://{self.base}", **options)

    def operations(self, key_part: str = "") -> list[str]:
        """Return the operations of the requests so far whose key contains `key_part`."""
        return [request.operation for request in self.server.requests if key_part in request.key]

    def stored_type(self) -> str | None:
        """Return the type of the dataset in the bucket, None where there is none."""
        key = self.layout.admin_metadata_key
        if key not in self.server.keys(BUCKET):
            return None
        return dict(self.server.read(BUCKET, key).info.metadata)["type"]

    def disk_type(self) -> str | None:
        """Return the type of the copy in the directory, None where there is none."""
        path = self.copy / ".dtool" / "dtool"
        return str(json.loads(path.read_bytes())["type"]) if path.exists() else None


def make_disk_scene(directory: Path) -> DiskScene:
    """Make the dataset, the bucket and the directory."""
    scene = DiskScene(make_dataset(directory / "source"), directory / "base")
    scene.base.mkdir()
    scene.server.create_bucket(BUCKET)
    return scene
