"""Writes small datasets into any store, as dtool would have left them; for tests only."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dtool_s3.documents import dump_admin_metadata
from dtool_s3.layout import DTOOL_README_TXT, DatasetLayout, item_identifier, item_metadata
from dtool_s3.store.protocol import Store

UUID = "1c10766c-c4a9-4a4f-9b5d-0d5f0e1c7a11"
ITEMS: Mapping[str, bytes] = {"a.txt": b"alpha", "sub/b.csv": b"1,2\n", "ünï/c.bin": bytes(range(200))}


def md5(body: bytes) -> str:
    """MD5 of `body` as hex digits."""
    return hashlib.md5(body, usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class DatasetFixture:
    """What a dataset holds; `stored` replaces the bytes of single items after hashing (None: left out)."""

    uuid: str = UUID
    prefix: str = ""
    name: str = "sample"
    items: Mapping[str, bytes] = field(default_factory=lambda: ITEMS)
    stored: Mapping[str, bytes | None] = field(default_factory=dict)
    is_frozen: bool = True
    readme: str | None = "description: a sample\n"
    tags: tuple[str, ...] = ("blue",)
    annotations: Mapping[str, object] = field(default_factory=lambda: {"project": "atlas"})
    overlays: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    manifest_body: bytes | None = None

    @property
    def layout(self) -> DatasetLayout:
        """Keys of the dataset."""
        return DatasetLayout(self.prefix, self.uuid)

    def admin(self) -> dict[str, object]:
        """Administrative metadata as dtoolcore would write it."""
        fields: dict[str, object] = {
            "uuid": self.uuid,
            "dtoolcore_version": "3.19.0",
            "name": self.name,
            "type": "dataset" if self.is_frozen else "protodataset",
            "creator_username": "olssont",
            "created_at": 1795329207.5,
        }
        if self.is_frozen:
            fields["frozen_at"] = 1795329300.25
        return fields

    def manifest(self) -> bytes:
        """Body of manifest.json."""
        if self.manifest_body is not None:
            return self.manifest_body
        items = {
            item_identifier(relpath): {
                "hash": md5(body),
                "relpath": relpath,
                "size_in_bytes": len(body),
                "utc_timestamp": 1795329208.0,
            }
            for relpath, body in self.items.items()
        }
        document = {"dtoolcore_version": "3.19.0", "hash_function": "md5sum_hexdigest", "items": items}
        return json.dumps(document, indent=2, sort_keys=True).encode()


async def write_dataset(store: Store, dataset: DatasetFixture) -> DatasetLayout:
    """Write the dataset with all its keys; return its layout."""
    layout = dataset.layout
    await store.put(layout.registration_key, dataset.prefix.encode())
    await store.put(layout.structure_key, layout.structure_document())
    await store.put(layout.dtool_readme_key, DTOOL_README_TXT.encode())
    for relpath, body in dataset.items.items():
        kept = dataset.stored.get(relpath, body)
        if kept is not None:
            metadata = item_metadata(relpath, md5(body))
            await store.put(layout.item_key(item_identifier(relpath)), kept, metadata=metadata)
    if dataset.readme is not None:
        await store.put(layout.readme_key, dataset.readme.encode())
    for tag in dataset.tags:
        await store.put(layout.tag_key(tag), b"")
    for name, value in dataset.annotations.items():
        await store.put(layout.annotation_key(name), json.dumps(value, indent=2).encode())
    for name, values in dataset.overlays.items():
        await store.put(layout.overlay_key(name), json.dumps(values, indent=2).encode())
    if dataset.is_frozen:
        await store.put(layout.manifest_key, dataset.manifest())
    body, headers = dump_admin_metadata(dataset.admin())
    await store.put(layout.admin_metadata_key, body, metadata=headers)
    return layout


async def write_in_parts(
    store: Store, key: str, bodies: Sequence[bytes], metadata: Mapping[str, str]
) -> None:
    """Write one object as a multipart upload: its ETag is then no MD5."""
    upload = await store.start_upload(key, metadata)
    parts = [await store.put_part(upload, number, body) for number, body in enumerate(bodies, start=1)]
    await store.complete_upload(upload, parts)
