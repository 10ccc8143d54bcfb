"""Datasets go from a directory to a real S3 server and back, and the real upstream reads both results."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dtool_s3.disk.download import download_dataset
from dtool_s3.disk.upload import upload_dataset
from dtool_s3.layout import DatasetLayout
from dtool_s3.transfer.plan import Evidence
from tests.support.disk import make_dataset, read_tree
from tests.support.upstream import Dtool, ensure_upstream

if TYPE_CHECKING:
    from tests.support.s3_place import S3Place

MIB = 1024 * 1024
ITEMS: Mapping[str, bytes] = {
    "a.txt": b"alpha",
    "sub dir/ünï + 例.csv": b"1,2\n",
    "empty": b"",
    "one chunk": bytes(16 * MIB),
    "more/than/one.bin": bytes(range(256)) * (40 * MIB // 256) + b"the end",
}


@dataclass(frozen=True, slots=True)
class Bench:
    """A dataset in a directory, a place on S3, a directory for the copy, and upstream's dtool."""

    place: S3Place
    source: Path
    base: Path
    upstream: Dtool

    @property
    def layout(self) -> DatasetLayout:
        admin = json.loads((self.source / ".dtool" / "dtool").read_bytes())
        return DatasetLayout(self.place.prefix, admin["uuid"])

    @property
    def uri(self) -> str:
        return f"{self.place.base_uri}/{self.layout.uuid}"


@pytest.fixture
def bench(s3_place: S3Place, tmp_path: Path) -> Bench:
    # upstream cannot read a dataset in a bucket that has a dot in an annotation's name
    source = make_dataset(tmp_path / "source", items=ITEMS, annotation="project")
    (tmp_path / "base").mkdir()
    upstream = Dtool(ensure_upstream() / "bin", s3_place.environment)
    return Bench(s3_place, source, tmp_path / "base", upstream)


async def test_upstream_reads_what_was_uploaded(bench: Bench) -> None:
    store = bench.place.open_store()

    result = await upload_dataset(f"file://{bench.source}", store, bench.place.prefix)

    assert result.moved == result.verification.items == len(ITEMS)
    assert result.verification.is_proven
    assert bench.upstream.run("verify", "--full", bench.uri) == "All good :)"
    assert bench.upstream.run("uuid", bench.uri) == bench.layout.uuid
    bench.upstream.run("cp", "--quiet", bench.uri, str(bench.base))
    original, copied = read_tree(bench.source), read_tree(bench.base / "sample")
    assert {n: b for n, b in copied.items() if n.startswith("data/")} == {
        n: b for n, b in original.items() if n.startswith("data/")
    }
    assert copied["README.yml"] == original["README.yml"]
    assert copied[".dtool/tags/blue"] == b""
    assert json.loads(copied[".dtool/dtool"]) == json.loads(original[".dtool/dtool"])
    assert not await store.list_uploads(bench.layout.root)


async def test_upstream_reads_what_was_downloaded(bench: Bench) -> None:
    store = bench.place.open_store()
    await upload_dataset(f"file://{bench.source}", store, bench.place.prefix)

    result = await download_dataset(store, bench.layout, f"file://{bench.base}")

    copy = bench.base / "sample"
    assert read_tree(copy) == read_tree(bench.source)
    assert result.verification.evidence[Evidence.READ] == len(ITEMS)
    assert bench.upstream.run("verify", "--full", str(copy)) == "All good :)"
    assert "sample" in bench.upstream.run("ls", str(bench.base))
    bench.upstream.run("diff", "--full", str(copy), str(bench.source))


async def test_what_upstream_wrote_is_downloaded(bench: Bench) -> None:
    bench.upstream.run("cp", "--quiet", str(bench.source), bench.place.base_uri)

    await download_dataset(bench.place.open_store(), bench.layout, f"file://{bench.base}")

    assert bench.upstream.run("verify", "--full", str(bench.base / "sample")) == "All good :)"


_KILLED = """
import asyncio, json, os, signal, sys
from dtool_s3.configuration import read_configuration
from dtool_s3.disk.download import download_dataset
from dtool_s3.disk.upload import upload_dataset
from dtool_s3.layout import DatasetLayout
from dtool_s3.store.s3 import S3Store

task = json.load(sys.stdin)

def die_half_way(progress):
    if progress.items >= task["items"]:
        os.kill(os.getpid(), signal.SIGKILL)

async def main():
    known = read_configuration(task["bucket"])
    async with S3Store(known.endpoint, known.bucket, known.credentials) as store:
        layout = DatasetLayout(task["prefix"], task["uuid"])
        if task["direction"] == "up":
            await upload_dataset(task["uri"], store, task["prefix"], concurrency=2, on_progress=die_half_way)
        else:
            await download_dataset(store, layout, task["uri"], concurrency=2, on_progress=die_half_way)

asyncio.run(main())
"""


async def kill_half_way(bench: Bench, direction: str, uri: str) -> None:
    """Copy in a process that is killed when two items are in place."""
    task = {
        "direction": direction,
        "uri": uri,
        "items": 2,
        "bucket": bench.place.bucket,
        "prefix": bench.place.prefix,
        "uuid": bench.layout.uuid,
    }
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", _KILLED],
        env=dict(bench.place.environment),
        input=json.dumps(task),
        text=True,
        capture_output=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]


async def test_a_killed_upload_goes_on_where_it_was(bench: Bench) -> None:
    uri = f"file://{bench.source}"
    await kill_half_way(bench, "up", uri)
    store = bench.place.open_store()

    result = await upload_dataset(uri, store, bench.place.prefix)

    assert result.moved <= len(ITEMS) - 2
    assert not await store.list_uploads(bench.layout.root)
    assert bench.upstream.run("verify", "--full", bench.uri) == "All good :)"


async def test_a_killed_download_goes_on_where_it_was(bench: Bench) -> None:
    store = bench.place.open_store()
    await upload_dataset(f"file://{bench.source}", store, bench.place.prefix)
    base_uri = f"file://{bench.base}"
    await kill_half_way(bench, "down", base_uri)

    result = await download_dataset(store, bench.layout, base_uri)

    assert result.moved <= len(ITEMS) - 2
    assert read_tree(bench.base / "sample") == read_tree(bench.source)
    assert bench.upstream.run("verify", "--full", str(bench.base / "sample")) == "All good :)"
