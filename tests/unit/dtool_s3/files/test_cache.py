"""What the cache hands out is what was frozen, and a second look, of any process, reads no byte of it."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dtool_s3.documents import MD5_HASH_FUNCTION, ManifestItem
from dtool_s3.errors import ItemMissing, NotSupported, SourceDamaged, UnsafePath
from dtool_s3.files.cache import ItemCache
from dtool_s3.layout import DatasetLayout, item_identifier
from dtool_s3.store.memory import MemoryServer
from tests.support.datasets import UUID, md5

BUCKET = "lab-data"
LAYOUT = DatasetLayout("u/alice/", UUID)
BODY = b"alpha"
ITEM = ManifestItem("sub/a.csv", len(BODY), md5(BODY), 0.0)
KEY = LAYOUT.item_key(item_identifier(ITEM.relpath))
NAME = f"{item_identifier(ITEM.relpath)}.csv"


@pytest.fixture
def server() -> MemoryServer:
    server = MemoryServer()
    server.create_bucket(BUCKET)
    server.write(BUCKET, KEY, BODY)
    return server


async def fetch(server: MemoryServer, directory: Path, item: ManifestItem = ITEM) -> Path:
    """Fetch through a new cache, as another process would."""
    return await ItemCache(directory).fetch(server.store(BUCKET), LAYOUT, item, MD5_HASH_FUNCTION)


def lose_hash(path: Path) -> None:
    """Replace the bytes, but neither size, nor time, nor inode: only reading them would tell."""
    status = path.stat()
    path.write_bytes(b"x" * status.st_size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


async def test_an_item_is_downloaded_once_and_not_even_read_again(
    server: MemoryServer, tmp_path: Path
) -> None:
    path = await fetch(server, tmp_path)
    assert (path, path.read_bytes()) == (tmp_path / UUID / NAME, BODY)
    lose_hash(path)

    again = await fetch(server, tmp_path)

    assert again.read_bytes() == b"xxxxx", "the file was read, or downloaded again"
    assert [request.operation for request in server.requests] == ["get"]


async def test_a_file_of_upstream_is_read_once_and_noted(server: MemoryServer, tmp_path: Path) -> None:
    path = tmp_path / UUID / NAME
    path.parent.mkdir()
    path.write_bytes(BODY)

    await fetch(server, tmp_path)
    lose_hash(path)
    await fetch(server, tmp_path)

    assert path.read_bytes() == b"xxxxx"
    assert server.requests == []


@pytest.mark.parametrize("body", [b"Alpha", b"alph", b"alphabet", b""])
async def test_a_tampered_file_is_downloaded_again(server: MemoryServer, tmp_path: Path, body: bytes) -> None:
    path = await fetch(server, tmp_path)
    path.write_bytes(body)
    os.utime(path, (1, 1))

    assert (await fetch(server, tmp_path)).read_bytes() == BODY
    assert (await fetch(server, tmp_path)).read_bytes() == BODY
    assert len(server.requests) == 2


async def test_a_touched_file_with_the_right_bytes_is_kept(server: MemoryServer, tmp_path: Path) -> None:
    path = await fetch(server, tmp_path)
    os.utime(path, (1, 1))

    await fetch(server, tmp_path)

    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "note", [b"", b"{", b"[]", b"null", b'{"size_bytes": 5}', b"\xff", b"[" * 4000, b'{"x": 1}']
)
async def test_a_broken_note_is_no_note(server: MemoryServer, tmp_path: Path, note: bytes) -> None:
    path = await fetch(server, tmp_path)
    (tmp_path / UUID / f".{NAME}.checked").write_bytes(note)
    path.write_bytes(b"Alpha")

    assert (await fetch(server, tmp_path)).read_bytes() == BODY


async def test_a_note_for_another_digest_does_not_count(server: MemoryServer, tmp_path: Path) -> None:
    path = await fetch(server, tmp_path)
    note_path = tmp_path / UUID / f".{NAME}.checked"
    note = json.loads(note_path.read_text())
    lose_hash(path)
    note_path.write_text(json.dumps(note | {"digest": md5(b"xxxxx")}))

    assert (await fetch(server, tmp_path)).read_bytes() == BODY


async def test_a_link_in_place_of_the_file_is_not_followed(server: MemoryServer, tmp_path: Path) -> None:
    (tmp_path / "cache" / UUID).mkdir(parents=True)
    (tmp_path / "cache" / "ab").write_bytes(BODY)
    (tmp_path / "cache" / UUID / NAME).symlink_to("../ab")  # a link's size is the length of this text

    path = await fetch(server, tmp_path / "cache")

    assert not path.is_symlink()
    assert len(server.requests) == 1


async def test_nothing_is_written_through_a_link_that_leads_out_of_the_cache(
    server: MemoryServer, tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / UUID).symlink_to(tmp_path / "outside")

    with pytest.raises(UnsafePath):
        await fetch(server, tmp_path / "cache")

    assert list((tmp_path / "outside").iterdir()) == []


@pytest.mark.parametrize("uuid", ["..", "../../etc", "", "a/b", UUID.upper(), f"{UUID}/.."])
async def test_a_uuid_that_is_none_never_becomes_a_path(
    server: MemoryServer, tmp_path: Path, uuid: str
) -> None:
    cache = ItemCache(tmp_path / "cache")

    with pytest.raises(UnsafePath):
        await cache.fetch(server.store(BUCKET), DatasetLayout("", uuid), ITEM, MD5_HASH_FUNCTION)

    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    "relpath", ["a.ü", "a.tar.gz", "noext", ".hidden", "a." + "x" * 40, "a.b\n", "dir.d/a"]
)
async def test_the_name_keeps_a_sensible_extension(
    server: MemoryServer, tmp_path: Path, relpath: str
) -> None:
    server.write(BUCKET, LAYOUT.item_key(item_identifier(relpath)), BODY)

    path = await fetch(server, tmp_path, ManifestItem(relpath, len(BODY), md5(BODY), 0.0))

    assert path.parent == tmp_path / UUID
    assert path.suffix == {"a.ü": ".ü", "a.tar.gz": ".gz"}.get(relpath, "")


async def test_the_stores_wrong_bytes_are_not_kept(server: MemoryServer, tmp_path: Path) -> None:
    server.write(BUCKET, KEY, b"Alpha")

    with pytest.raises(SourceDamaged):
        await fetch(server, tmp_path)
    server.remove(BUCKET, KEY)
    with pytest.raises(ItemMissing):
        await fetch(server, tmp_path)

    assert list((tmp_path / UUID).iterdir()) == []


async def test_an_unknown_hash_function_is_refused(server: MemoryServer, tmp_path: Path) -> None:
    with pytest.raises(NotSupported):
        await ItemCache(tmp_path).fetch(server.store(BUCKET), LAYOUT, ITEM, "crc_sum")


async def test_another_hash_function_is_used(server: MemoryServer, tmp_path: Path) -> None:
    digest = "8ed3f6ad685b959ead7022518e1af76cd816f8e8ec7ccdda1ed4018e8f2223f8"
    item = ManifestItem(ITEM.relpath, len(BODY), digest, 0.0)
    cache = ItemCache(tmp_path)

    path = await cache.fetch(server.store(BUCKET), LAYOUT, item, "sha256sum_hexdigest")

    assert path.read_bytes() == BODY


async def test_many_at_once_of_one_process_agree(server: MemoryServer, tmp_path: Path) -> None:
    paths = await asyncio.gather(*(fetch(server, tmp_path) for _ in range(20)))

    assert {path.read_bytes() for path in paths} == {BODY}
    assert sorted(path.name for path in (tmp_path / UUID).iterdir()) == [f".{NAME}.checked", NAME]


SCRIPT = """
import asyncio, sys
from pathlib import Path
from dtool_s3.files.cache import ItemCache
from dtool_s3.documents import ManifestItem
from dtool_s3.layout import DatasetLayout, item_identifier
from dtool_s3.store.memory import MemoryServer
from tests.support.datasets import UUID, md5

async def fetch_all():
    server = MemoryServer()
    server.create_bucket("b")
    layout, cache = DatasetLayout("", UUID), ItemCache(Path(sys.argv[1]))
    for number in range(200):
        body, relpath = b"%d" % number * 1000, f"{number}.txt"
        server.write("b", layout.item_key(item_identifier(relpath)), body)
        item = ManifestItem(relpath, len(body), md5(body), 0.0)
        path = await cache.fetch(server.store("b"), layout, item, "md5sum_hexdigest")
        assert path.read_bytes() == body
    print(len(server.requests))

sys.stdin.readline()
asyncio.run(fetch_all())
"""


def test_processes_share_a_cache(tmp_path: Path) -> None:
    root = Path(__file__).parents[4]
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(tmp_path)],
            cwd=root,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for worker in workers:  # all are up before the first begins
        assert worker.stdin is not None
        worker.stdin.write("\n")
        worker.stdin.flush()

    downloads = [int(worker.communicate(timeout=60)[0]) for worker in workers]

    assert [worker.returncode for worker in workers] == [0, 0, 0]
    assert 200 <= sum(downloads) <= 600
    assert len(list((tmp_path / UUID).iterdir())) == 400, "an item and its note each, nothing else"
