"""The sandbox's programs as processes that are found again from their records on disk.

Owns starting, recognising and ending them. A process is the pid *and* the time it started, so a pid the
kernel gave to somebody else in the meantime is never signalled. Must not know what the programs are.
"""

import contextlib
import dataclasses
import json
import os
import select
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sandbox import launch
from sandbox.errors import ProcessError

LOG_TAIL_LINES = 12
KILL_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Process:
    """A program that was started: alive or not."""

    name: str
    pid: int
    started_ticks: int
    """Clock ticks from boot to its start: field 22 of /proc/PID/stat, see proc(5)."""
    directory: Path
    """Holds NAME.log and NAME.json, its record."""
    argv: tuple[str, ...]
    is_tied: bool
    """Whether it dies with the process that started it."""

    @property
    def log(self) -> Path:
        """Its standard output and error."""
        return self.directory / f"{self.name}.log"

    def is_alive(self) -> bool:
        """Whether this very process still runs (a zombie does not)."""
        with _handle(self) as handle:
            return handle is not None

    def log_tail(self) -> str:
        """The last lines of its log."""
        if not self.log.exists():
            return "(no log)"
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join(lines[-LOG_TAIL_LINES:]) or "(empty log)"

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if it is alive."""
        with _handle(self) as handle:
            if handle is not None:
                signal.pidfd_send_signal(handle, number)

    def restart(self) -> "Process":
        """Start the same program with the same arguments once more; its log goes on."""
        return start_process(self.name, self.argv, directory=self.directory, tied=self.is_tied)


def start_process(
    name: str,
    argv: Sequence[str],
    *,
    directory: Path,
    tied: bool = False,
    environment: Mapping[str, str] | None = None,
) -> Process:
    """Start a program in a session of its own, logging to DIRECTORY/NAME.log, and record it beside the log.

    `argv[0]` is an absolute path. A tied process is killed when this one ends, by whatever cause.
    """
    launched = tied_command(argv) if tied else list(argv)
    log = os.open(directory / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        pid = os.posix_spawn(
            launched[0],
            launched,
            dict(os.environ if environment is None else environment),
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, log, 1),
                (os.POSIX_SPAWN_DUP2, log, 2),
            ],
            setsid=True,
            setsigdef=[signal.SIGPIPE, signal.SIGINT],
        )
    finally:
        os.close(log)
    process = Process(name, pid, _started_ticks(pid) or 0, directory, tuple(argv), tied)
    _save(process)
    return process


def tied_command(argv: Sequence[str]) -> list[str]:
    """Compose the command line of a program that is killed when this process ends, by whatever cause."""
    return [sys.executable, "-I", "-S", launch.__file__, str(os.getpid()), *argv]


def load_process(directory: Path, name: str) -> Process | None:
    """Read the record of a process started earlier, by this program or another; it may be long gone."""
    try:
        record = json.loads((directory / f"{name}.json").read_text())
    except FileNotFoundError:
        return None
    return Process(
        name, record["pid"], record["started_ticks"], directory, tuple(record["argv"]), record["is_tied"]
    )


def stop_processes(*processes: Process, grace_seconds: float = 5.0) -> None:
    """End processes together: SIGTERM, wait, SIGKILL. Those already gone are no error."""
    with contextlib.ExitStack() as stack:
        handles = [(process, stack.enter_context(_handle(process))) for process in processes]
        running = [(process, handle) for process, handle in handles if handle is not None]
        for _, handle in running:
            signal.pidfd_send_signal(handle, signal.SIGTERM)
        deadline = time.monotonic() + grace_seconds
        for process, handle in running:
            if not _ends_within(handle, deadline - time.monotonic()):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
                if not _ends_within(handle, KILL_SECONDS):
                    raise ProcessError(f"{process.name} (pid {process.pid}) does not end, even by SIGKILL")
    for process in processes:
        _reap(process.pid)


def check_alive(processes: Sequence[Process]) -> None:
    """Raise ProcessError, with the log's last lines, for the first process that has ended."""
    for process in processes:
        if not process.is_alive():
            raise ProcessError(f"{process.name} ended; its log ends with:\n{process.log_tail()}")


def _save(process: Process) -> None:
    fields = {field.name: getattr(process, field.name) for field in dataclasses.fields(process)}
    del fields["directory"]
    (process.directory / f"{process.name}.json").write_text(json.dumps(fields))


@contextlib.contextmanager
def _handle(process: Process) -> Iterator[int | None]:
    """Open a pidfd of the process, None when it is gone: what a pidfd names cannot change any more."""
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        yield None
        return
    try:
        yield handle if _started_ticks(process.pid) == process.started_ticks else None
    finally:
        os.close(handle)


def _started_ticks(pid: int) -> int | None:
    """Read when a process started; None when there is none, or only a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in "ZX" else int(fields[18])


def _ends_within(handle: int, seconds: float) -> bool:
    poll = select.poll()  # a pidfd becomes readable when its process ends
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(max(seconds, 0) * 1000))


def _reap(pid: int) -> None:
    # Only a child of this very process can be waited for; others are their parent's.
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
