"""Real upstream dtool reads what came from a volume and what went onto one; its directories are sources."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dtool_s3.creation import create_proto
from dtool_s3.files.pace import Pace
from dtool_s3.files.tree import Tree
from dtool_s3.layout import DatasetLayout
from dtool_s3.volume.download import download_to_directory
from dtool_s3.volume.inspection import inspect_directory
from dtool_s3.volume.publishing import PublishRequest, publish_uploaded
from dtool_s3.volume.upload import upload_dataset_directory, upload_directory
from tests.support.s3_place import S3Place
from tests.support.upstream import Dtool, ensure_upstream

FILES = {"a.txt": b"alpha", "sub dir/ünï.csv": b"1,2\n", "empty": b"", "large.bin": bytes(12 * 1024**2)}
#: S3 takes parts of 5 MiB.
PACE = Pace(chunk_bytes=5 * 1024**2)


@pytest.fixture
def place(make_s3_place: Callable[[], S3Place]) -> S3Place:
    return make_s3_place()


def read_data(dataset: Path) -> dict[str, bytes]:
    data = dataset / "data"
    return {str(p.relative_to(data)): p.read_bytes() for p in data.rglob("*") if p.is_file()}


async def test_upstream_reads_files_that_became_a_dataset_and_verifies_it_on_a_volume(
    place: S3Place, tmp_path: Path
) -> None:
    for relpath, body in FILES.items():
        path = tmp_path / "in" / relpath
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    (tmp_path / "disk").mkdir()
    store, layout = place.open_store(), place.layout()
    upstream = Dtool(ensure_upstream() / "bin", place.environment)

    await create_proto(store, layout, name="sample", creator_username="olssont", readme="title: ü\n")
    await upload_directory(Tree(tmp_path, "in"), store, layout, pace=PACE)
    await publish_uploaded(store, layout, PublishRequest(0.1))
    await download_to_directory(store, layout, Tree(tmp_path, "out"), pace=PACE)

    uri = f"{place.base_uri}/{layout.uuid}"
    assert upstream.run("verify", "--full", uri) == "All good :)"
    upstream.run("cp", "--quiet", uri, str(tmp_path / "disk"))
    assert read_data(tmp_path / "disk" / "sample") == FILES
    copy = tmp_path / "out" / "sample"
    assert read_data(copy) == FILES
    assert upstream.run("verify", "--full", str(copy)) == "All good :)"
    assert upstream.run("uuid", str(copy)) == layout.uuid
    assert upstream.run("readme", "show", str(copy)).strip() == "title: ü"


def make_upstream_dataset(upstream: Dtool, volume: Path) -> Path:
    """Have upstream dtool freeze a dataset in the directory `run-17`."""
    volume.mkdir()
    made = volume / "run-17"
    upstream.run("create", "--quiet", "run-17", str(volume))
    for relpath, body in FILES.items():
        path = made / "data" / relpath
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    upstream.run("tag", "set", str(made), "blue")
    upstream.run("freeze", str(made))
    return made


async def test_a_directory_that_upstream_made_arrives_as_it_is(place: S3Place, tmp_path: Path) -> None:
    upstream = Dtool(ensure_upstream() / "bin", place.environment)
    made = make_upstream_dataset(upstream, tmp_path / "volume")
    store, tree = place.open_store(), Tree(tmp_path / "volume", "run-17")

    known = inspect_directory(tree)
    layout = DatasetLayout(place.prefix, known.uuid)
    assert known.created_at is not None
    created_at = known.created_at
    await create_proto(
        store,
        layout,
        name=known.name,
        creator_username=known.creator_username,
        clock=lambda: created_at,
        frozen_at=known.frozen_at,
    )
    await upload_dataset_directory(tree, store, layout, new=False, manifest_sha256=known.manifest_sha256)
    await publish_uploaded(store, layout, PublishRequest(0.1, manifest_sha256=known.manifest_sha256))

    uri = f"{place.base_uri}/{known.uuid}"
    assert upstream.run("verify", "--full", uri) == "All good :)"
    upstream.run("diff", "--full", uri, str(made))
    assert upstream.run("tag", "ls", uri) == "blue"
    stored = await store.get(layout.manifest_key, max_bytes=10_000)
    assert stored.body == (made / ".dtool" / "manifest.json").read_bytes()


async def test_what_upstream_copied_from_the_directory_is_taken_for_it(
    place: S3Place, tmp_path: Path
) -> None:
    upstream = Dtool(ensure_upstream() / "bin", place.environment)
    made = make_upstream_dataset(upstream, tmp_path / "volume")
    known = inspect_directory(Tree(tmp_path / "volume", "run-17"))
    store, layout = place.open_store(), DatasetLayout(place.prefix, known.uuid)
    upstream.run("cp", "--quiet", str(made), place.base_uri)
    before = await store.get(layout.manifest_key, max_bytes=10_000)
    assert before.body != (made / ".dtool" / "manifest.json").read_bytes(), "it has times of its own"

    asked = {"manifest_sha256": known.manifest_sha256, "content_sha256": known.content_sha256}
    found = await publish_uploaded(store, layout, PublishRequest(0.1, **asked))

    assert found.verification.is_complete
    after = await store.get(layout.manifest_key, max_bytes=10_000)
    assert (after.body, after.info.etag) == (before.body, before.info.etag)
