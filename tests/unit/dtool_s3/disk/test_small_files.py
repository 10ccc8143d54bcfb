"""Small files are read and written in groups, and each caller still learns what became of its own."""

import asyncio
import threading
from pathlib import Path

import pytest

from dtool_s3.disk.read_ahead import SMALL_BYTES, ReadAhead
from dtool_s3.disk.write_behind import WriteBehind
from dtool_s3.files.thread import in_thread


async def take_all(ahead: ReadAhead[Path]) -> dict[str, bytes | None]:
    """Take with three workers."""
    found: dict[str, bytes | None] = {}

    async def work() -> None:
        while (taken := await ahead.take()) is not None:
            path, whole = taken
            found[path.name] = None if whole is None else whole.body

    await asyncio.gather(work(), work(), work())
    return found


@pytest.mark.parametrize("count", [0, 1, 31, 32, 33, 100])
async def test_every_entry_comes_once_with_its_bytes(tmp_path: Path, count: int) -> None:
    paths = [tmp_path / str(number) for number in range(count)]
    for path in paths:
        path.write_bytes(path.name.encode())

    found = await take_all(ReadAhead(paths, lambda path: path))

    assert found == {path.name: path.name.encode() for path in paths}


async def test_what_shall_not_or_cannot_be_read_ahead_comes_without_bytes(tmp_path: Path) -> None:
    names = ["a", "left out", "missing", "grown", "b"]
    for name in ("a", "left out", "b"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "grown").write_bytes(bytes(SMALL_BYTES + 1))

    ahead = ReadAhead([tmp_path / name for name in names], lambda p: None if p.name == "left out" else p)

    assert await take_all(ahead) == {"a": b"x", "left out": None, "missing": None, "grown": None, "b": b"x"}


async def test_each_write_tells_its_own_caller() -> None:
    writer, written = WriteBehind(), list[int]()

    def write(number: int) -> None:
        if number % 10 == 3:
            raise FileNotFoundError(str(number))
        written.append(number)

    async def call(number: int) -> None:
        await writer.write(lambda: write(number))

    results = await asyncio.gather(*(call(number) for number in range(30)), return_exceptions=True)

    assert [str(error) for error in results if error is not None] == ["3", "13", "23"]
    assert len(written) == 27
    await writer.close()


async def test_writes_of_cancelled_callers_end_before_close_returns() -> None:
    writer, started, go_on = WriteBehind(), threading.Event(), threading.Event()
    ended: list[str] = []

    def slow() -> None:
        started.set()
        assert go_on.wait(10)
        ended.append("slow")

    first = asyncio.create_task(writer.write(slow))
    await asyncio.to_thread(started.wait, 10)
    second = asyncio.create_task(writer.write(lambda: ended.append("never begun")))
    await asyncio.sleep(0)
    for task in (first, second):
        task.cancel()
    await asyncio.gather(first, second, return_exceptions=True)

    asyncio.get_running_loop().call_later(0.01, go_on.set)
    await writer.close()

    assert ended == ["slow"]


async def test_a_cancellation_waits_for_the_thread_however_often_it_comes() -> None:
    started, go_on = threading.Event(), threading.Event()
    ended: list[bool] = []

    def work() -> None:
        started.set()
        ended.append(go_on.wait(10))

    task = asyncio.create_task(in_thread(work))
    await asyncio.to_thread(started.wait, 10)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    assert not task.done()
    go_on.set()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [True]
