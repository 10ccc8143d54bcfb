"""Real upstream dtool-s3 0.14.1 reads what a copy made, whichever version wrote the source."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dtool_s3.layout import DatasetLayout, item_identifier
from dtool_s3.settings import Credentials, Endpoint, Secret
from dtool_s3.store.s3 import S3Store
from dtool_s3.transfer.engine import CopyRequest, copy_dataset
from tests.support.datasets import DatasetFixture, md5, write_dataset
from tests.support.upstream import Dtool, bucket_environment, ensure_upstream

if TYPE_CHECKING:
    from sandbox.seaweedfs import ObjectStore

PREFIX = "u/alice/"
DATASET = DatasetFixture(
    items={"a.txt": b"alpha", "sub dir/b.csv": b"1,2\n", "empty": b""},
    overlays={
        "length": {item_identifier(relpath): len(relpath) for relpath in ("a.txt", "sub dir/b.csv", "empty")}
    },
    tags=("blue", "2026"),
)
#: How earlier versions differ: storage_broker_version (None: no structure.json), whether items have a
#: checksum, whether `dtool` has headers.
ERAS: dict[str, tuple[str | None, bool, bool]] = {
    "0.3": (None, False, True),
    "0.4.1": ("0.4.1", True, True),
    "0.13.0": ("0.13.0", True, True),
    "0.13.0, headers lost": ("0.13.0", True, False),
}


@pytest.fixture
async def open_store(object_store: ObjectStore) -> AsyncIterator[Callable[[str], S3Store]]:
    """A function that opens a bucket as the administrator."""
    stores: list[S3Store] = []
    admin = object_store.identity("admin")
    keys = Credentials(admin.access_key, Secret(admin.secret_key))

    def open_bucket(bucket: str) -> S3Store:
        stores.append(S3Store(Endpoint(object_store.endpoint, "us-east-1"), bucket, lambda: keys))
        return stores[-1]

    yield open_bucket
    for store in stores:
        store.close()


async def _write_source(store: S3Store, era: str) -> None:
    """Write the sample as an earlier version left it."""
    layout = await write_dataset(store, DATASET)
    if era not in ERAS:
        return
    version, has_checksum, has_headers = ERAS[era]
    if version is None:
        await store.delete(layout.structure_key)
    else:
        await store.put(layout.structure_key, json.dumps({"storage_broker_version": version}).encode())
    for relpath, body in DATASET.items.items():
        headers = {"handle": relpath} | ({"checksum": md5(body)} if has_checksum else {})
        key = layout.item_key(item_identifier(relpath))
        await store.put(key, body, metadata=headers if has_headers else {})
    if not has_headers:
        stored = await store.get(layout.admin_metadata_key, max_bytes=10_000)
        await store.put(layout.admin_metadata_key, stored.body)


@pytest.mark.parametrize(
    ("era", "server_side"), [*((era, True) for era in ("0.14.1", *ERAS)), ("0.13.0", False)]
)
async def test_upstream_verifies_and_copies_what_a_copy_made(
    era: str,
    server_side: bool,
    object_store: ObjectStore,
    make_bucket: Callable[[], str],
    open_store: Callable[[str], S3Store],
    tmp_path: Path,
) -> None:
    source, target = make_bucket(), make_bucket()
    await _write_source(open_store(source), era)
    admin = object_store.identity("admin")
    environment = bucket_environment(
        target, object_store.endpoint, admin.access_key, admin.secret_key, tmp_path / "home", PREFIX
    )
    upstream = Dtool(ensure_upstream() / "bin", environment)
    disk = tmp_path / "disk"
    disk.mkdir()

    request = CopyRequest(DATASET.uuid, "", PREFIX, server_side=server_side)
    await copy_dataset(open_store(source), open_store(target), request)

    uri = f"s3://{target}/{DATASET.uuid}"
    assert upstream.run("verify", "--full", uri) == "All good :)"
    assert DATASET.uuid in upstream.run("ls", "--verbose", f"s3://{target}")
    upstream.run("cp", "--quiet", uri, str(disk))
    (copied,) = disk.iterdir()
    data = copied / "data"
    assert {str(p.relative_to(data)): p.read_bytes() for p in data.rglob("*") if p.is_file()} == DATASET.items
    assert sorted(tag.name for tag in (copied / ".dtool" / "tags").iterdir()) == ["2026", "blue"]
    assert (
        json.loads((copied / ".dtool" / "overlays" / "length.json").read_text()) == DATASET.overlays["length"]
    )
    key = DatasetLayout(PREFIX, DATASET.uuid).registration_key
    assert (await open_store(target).get(key, max_bytes=100)).body == PREFIX.encode()
