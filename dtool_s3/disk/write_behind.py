"""Small files are written many at a time: handing one to a thread costs more than writing it.

Owns that every caller learns what became of its own file, and that nothing is written after `close`.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dtool_s3.files.thread import in_thread

Write = Callable[[], None]


@dataclass(frozen=True, slots=True)
class _Job:
    write: Write
    done: asyncio.Future[None]


class WriteBehind:
    """Runs blocking writes in a thread, all that came while the thread was busy in one go; one loop only."""

    def __init__(self) -> None:
        self._waiting: list[_Job] = []
        self._running: asyncio.Task[None] | None = None

    async def write(self, write: Write) -> None:
        """Call `write` in a thread; return when it has ended. Raises what it raises."""
        done = asyncio.get_running_loop().create_future()
        self._waiting.append(_Job(write, done))
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        await done

    async def close(self) -> None:
        """Drop what nobody began, wait for what is under way."""
        self._waiting.clear()
        if self._running is not None:
            await asyncio.wait({self._running})

    async def _run(self) -> None:
        while self._waiting:
            jobs, self._waiting = [job for job in self._waiting if not job.done.done()], []
            for job, error in zip(jobs, await in_thread(_write_all, jobs), strict=True):
                if job.done.done():  # its caller was cancelled
                    continue
                if error is None:
                    job.done.set_result(None)
                else:
                    job.done.set_exception(error)


def _write_all(jobs: Sequence[_Job]) -> list[Exception | None]:
    return [_write(job) for job in jobs]


def _write(job: _Job) -> Exception | None:
    try:
        job.write()
    except Exception as error:  # noqa: BLE001 - handed to the caller as it is
        return error
    return None
