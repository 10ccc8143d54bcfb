"""The operator's side of the zygote: starts it, orders workers from it, and hears of their ends.

Owns the zygote's process, the socket to it and the pipes of the workers; knows nothing of tasks. Must be used
from one event loop, in a thread that lives as long as the operator: the kernel ends the zygote with the
thread that started it.
"""

import asyncio
import itertools
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from dtool_operator.transfers.output import Tail
from dtool_operator.transfers.zygote import MAX_MESSAGE_BYTES

#: `-P`: the working directory is no place to import from.
ZYGOTE_COMMAND = (sys.executable, "-P", "-m", "dtool_operator.transfers.zygote")
#: How long a zygote may take to go once nobody holds its socket.
_CLOSE_SECONDS = 5.0

# keys are none of the zygote's business: it never sees an operator's other variables
_INHERITED = frozenset({"HOME", "LANG", "LC_ALL", "PATH", "TMPDIR", "TZ"})

_LOST = "the process that starts workers has ended"

_log = logging.getLogger(__name__)


class Worker:
    """A process that does one task. `returncode` is None until it is gone, then as in `subprocess`."""

    def __init__(self, zygote: "_Zygote", number: int, directory: Path) -> None:
        self._zygote = zygote
        self._number = number
        self._directory = directory
        self._started: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._pipes: list[asyncio.ReadTransport] = []
        self._is_ordered = False
        self.stdout, self.stderr = asyncio.StreamReader(), asyncio.StreamReader()

    async def start(self) -> None:
        """Order the process and wait until it runs. Raises OSError. Cancelled, `end` is still due."""
        outputs = [await self._open_pipe(stream) for stream in (self.stdout, self.stderr)]
        try:
            order = {"start": self._number, "directory": str(self._directory)}
            await self._zygote.send(order, outputs)
            self._is_ordered = True
        finally:
            for descriptor in outputs:
                os.close(descriptor)
        problem = await self._started
        if problem is not None:
            raise OSError(0, problem)

    async def wait(self) -> int:
        """Wait until the process is gone and reaped; return its `returncode`."""
        return await asyncio.shield(self._ended)

    async def end(self, grace_seconds: float) -> None:
        """Make sure that the process is gone and reaped: SIGTERM, a grace, SIGKILL."""
        if not self._is_ordered:
            self._zygote.forget(self._number)
            return
        if self._ended.done():
            return
        await self._signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self.wait(), grace_seconds)
        except TimeoutError:
            await self._signal(signal.SIGKILL)
            await self.wait()

    def close(self) -> None:
        """Close the pipes, also where others still hold them open."""
        for pipe in self._pipes:
            pipe.close()

    def note_start(self, problem: str | None) -> None:
        """Take in that the process runs, or why it could not be started."""
        if not self._started.done():
            self._started.set_result(problem)

    def note_end(self, returncode: int) -> None:
        """Take in that the process is gone."""
        if not self._ended.done():
            self._ended.set_result(returncode)

    async def _open_pipe(self, stream: asyncio.StreamReader) -> int:
        """Connect a stream to a new pipe; return the end to write to."""
        reading, writing = os.pipe()
        pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(stream), os.fdopen(reading, "rb", buffering=0)
        )
        self._pipes.append(pipe)
        return writing

    async def _signal(self, number: int) -> None:
        with suppress(OSError):  # with the zygote the worker has gone too
            await self._zygote.send({"signal": number, "worker": self._number})


class Nursery:
    """Starts workers, by a zygote that is started with the first one and anew when it has died."""

    def __init__(self, command: Sequence[str] = ZYGOTE_COMMAND) -> None:
        self._command = command
        self._opening: asyncio.Task[_Zygote] | None = None

    async def prepare_worker(self, directory: Path) -> Worker:
        """Return a worker on the files in `directory` that is not started yet. Raises OSError."""
        zygote = await self._find_zygote()
        return zygote.add_worker(directory)

    async def close(self) -> None:
        """End the zygote, and every worker with it."""
        opening, self._opening = self._opening, None
        if opening is not None:
            with suppress(OSError):
                await (await opening).close()

    async def _find_zygote(self) -> "_Zygote":
        opening = self._opening
        if opening is None or (opening.done() and (opening.exception() or opening.result().is_lost)):
            opening = self._opening = asyncio.create_task(_open_zygote(self._command))
        # shared by all who wait for a worker: one of them may be cancelled
        return await asyncio.shield(opening)


class _Zygote:
    def __init__(self, process: asyncio.subprocess.Process, control: socket.socket) -> None:
        self._process = process
        self._control = control
        self._numbers = itertools.count(1)
        self._workers: dict[int, Worker] = {}
        self._sending = asyncio.Lock()
        self._writable = asyncio.Event()
        self._is_closing = False
        self.is_lost = False
        asyncio.get_running_loop().add_reader(control, self._receive)
        self._watch = asyncio.create_task(self._report_end(), name="zygote")

    def add_worker(self, directory: Path) -> Worker:
        number = next(self._numbers)
        worker = self._workers[number] = Worker(self, number, directory)
        return worker

    def forget(self, number: int) -> None:
        """Drop a worker that was never ordered."""
        self._workers.pop(number, None)

    async def send(self, message: Mapping[str, object], descriptors: Sequence[int] = ()) -> None:
        """Send an order. Raises OSError where the zygote has gone."""
        body = json.dumps(message).encode()
        async with self._sending:
            while True:
                if self.is_lost:
                    raise OSError(0, _LOST)
                try:
                    socket.send_fds(self._control, [body], descriptors)
                except BlockingIOError:
                    await self._until_writable()
                else:
                    return

    async def close(self) -> None:
        """End the process; its workers end with it."""
        self._is_closing = True
        self._lose()
        try:
            await asyncio.wait_for(asyncio.shield(self._watch), _CLOSE_SECONDS)
        except TimeoutError:
            self._process.kill()
            await self._watch

    async def _until_writable(self) -> None:
        loop = asyncio.get_running_loop()
        self._writable.clear()
        loop.add_writer(self._control, self._writable.set)
        try:
            await self._writable.wait()
        finally:
            if not self.is_lost:
                loop.remove_writer(self._control)

    def _receive(self) -> None:
        try:
            message = self._control.recv(MAX_MESSAGE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        if not message:
            self._lose()
            return
        told = json.loads(message)
        if "started" in told:
            self._workers[told["started"]].note_start(None)
        elif "refused" in told:
            worker = self._workers.pop(told["refused"])
            worker.note_start(told["error"])
            worker.note_end(0)
        else:
            self._workers.pop(told["ended"]).note_end(told["status"])

    def _lose(self) -> None:
        """Take in that the zygote has gone, and its workers with it: the kernel kills them."""
        if self.is_lost:
            return
        self.is_lost = True
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._control)
        loop.remove_writer(self._control)
        self._control.close()
        self._writable.set()
        workers, self._workers = self._workers, {}
        for worker in workers.values():
            worker.note_start(_LOST)
            worker.note_end(-signal.SIGKILL)

    async def _report_end(self) -> None:
        assert self._process.stderr is not None
        tail = Tail()
        await tail.read(self._process.stderr)
        status = await self._process.wait()
        self._lose()
        if not self._is_closing:
            _log.error("zygote_ended", extra={"status": status, "stderr": tail.text})


async def _open_zygote(command: Sequence[str]) -> _Zygote:
    """Start a zygote. Raises OSError."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    try:
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *command,
                str(theirs.fileno()),
                str(os.getpid()),
                pass_fds=[theirs.fileno()],
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                env={name: value for name, value in os.environ.items() if name in _INHERITED},
                cwd="/",
                start_new_session=True,  # a Ctrl-C at the operator's terminal is the operator's to handle
            )
    except OSError:
        ours.close()
        raise
    return _Zygote(process, ours)
