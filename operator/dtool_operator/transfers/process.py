"""Runs each task in a process of its own; owns what a task leaves on this machine.

Must be used from one event loop, in a thread that lives as long as the operator. Reads no bucket and decides
nothing about a dataset.
"""

import asyncio
import logging
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from dtool_operator.planning.task import (
    ErrorLine,
    ProgressLine,
    RequestsLine,
    ResultLine,
    Side,
    Task,
    WorkerLine,
)
from dtool_operator.planning.transfer import RequestObserver, TransferRecord
from dtool_operator.transfers.executor import UNKNOWN_BUCKET, TaskCredentials
from dtool_operator.transfers.ledger import Ledger, build_failure
from dtool_operator.transfers.nursery import ZYGOTE_COMMAND, Nursery, Worker
from dtool_operator.transfers.output import Tail, read_lines
from dtool_operator.transfers.task_directory import (
    TaskDirectory,
    build_environment,
    clear_state_directory,
    create_task_directory,
)

GRACE_SECONDS = 10.0

_MAX_LINE_BYTES = 1024 * 1024
#: How long the pipes of a worker that is gone may stay open.
_EOF_SECONDS = 2.0

_log = logging.getLogger(__name__)
_worker_line: TypeAdapter[WorkerLine] = TypeAdapter(WorkerLine)

Outcome = ResultLine | ErrorLine


@dataclass(slots=True)
class _Run:
    """A task that runs: its files, the keys in them, and the asyncio task that follows its worker."""

    task: Task
    directory: TaskDirectory
    credentials: TaskCredentials
    follower: asyncio.Task[Outcome] | None = None


class ProcessExecutor:
    """Implements `transfers.executor.Runner` with child processes; its records are in `ledger`.

    `state_dir` belongs to this operator process alone. `command` starts the zygote; a worker that is
    cancelled has `grace_seconds` between SIGTERM and SIGKILL.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        ledger: Ledger,
        on_requests: RequestObserver = lambda *_: None,
        command: Sequence[str] = ZYGOTE_COMMAND,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        self._state_dir = state_dir
        self._ledger = ledger
        self._on_requests = on_requests
        self._nursery = Nursery(command)
        self._grace_seconds = grace_seconds
        self._runs: dict[str, _Run] = {}
        self._is_prepared = False
        self._is_closed = False

    def record(self, key: str) -> TransferRecord | None:
        """See the protocol."""
        return self._ledger.record(key)

    def running(self) -> tuple[Task, ...]:
        """See the protocol."""
        return self._ledger.running()

    def forget(self, key: str) -> None:
        """See the protocol. Raises ValueError for a task that runs."""
        self._ledger.forget(key)

    def prepare(self) -> None:
        """Remove what an operator that was killed left in `state_dir`; the first start does it too.

        Raises OSError.
        """
        if not self._is_prepared:
            clear_state_directory(self._state_dir)
            self._is_prepared = True

    async def start(self, task: Task, credentials: TaskCredentials) -> None:
        """See the protocol. A worker that cannot be started is a failed task, not an exception."""
        if self._is_closed:
            raise ValueError("the executor is closed")
        self._ledger.begin(task)
        try:
            self.prepare()
            directory = create_task_directory(self._state_dir)
        except OSError as error:
            self._ledger.finish(task.key, _no_files(error))
            return
        run = _Run(task, directory, credentials)
        run.follower = asyncio.create_task(self._work(run), name=f"transfer {task.key}")
        self._runs[task.key] = run
        run.follower.add_done_callback(lambda follower: self._settle(run, follower))

    async def cancel(self, key: str) -> None:
        """See the protocol."""
        run = self._runs.get(key)
        if run is not None and run.follower is not None:
            if not run.follower.cancelling():  # a second one would cut the grace short
                run.follower.cancel()
            await asyncio.wait({run.follower})
        self._ledger.drop(key)

    async def refresh_credentials(self, key: str, credentials: TaskCredentials) -> None:
        """See the protocol. Raises OSError."""
        run = self._runs.get(key)
        if run is None:
            return
        renewed = _renew(run.credentials, credentials)
        if renewed != run.credentials:
            run.directory.replace_credentials(renewed)
            run.credentials = renewed
        if credentials.version is not None:
            self._ledger.note_credentials(key, credentials.version)

    async def close(self) -> None:
        """See the protocol. Nothing can be started afterwards."""
        self._is_closed = True
        await asyncio.gather(*(self.cancel(key) for key in list(self._runs)))
        await self._nursery.close()

    async def _work(self, run: _Run) -> Outcome:
        """Run the worker to its end. Cancelled, it ends the worker first."""
        try:
            environment = build_environment(os.environ, run.task, run.credentials)
            run.directory.write(run.task, run.credentials, environment)
            worker = await self._nursery.prepare_worker(run.directory.path)
            return await self._follow(run, worker)
        except OSError as error:
            return _no_files(error)

    async def _follow(self, run: _Run, worker: Worker) -> Outcome:
        said = _Said()
        readers = asyncio.gather(self._listen(run, worker, said), said.stderr.read(worker.stderr))
        try:
            await worker.start()
            await asyncio.shield(readers)  # a cancelled worker is read to its end too
            return _outcome(run.task, said, await worker.wait())
        finally:
            await worker.end(self._grace_seconds)
            await asyncio.wait({readers}, timeout=_EOF_SECONDS)
            readers.cancel()
            worker.close()

    async def _listen(self, run: _Run, worker: Worker, said: "_Said") -> None:
        async for text in read_lines(worker.stdout, max_bytes=_MAX_LINE_BYTES):
            try:
                line = _worker_line.validate_json(text)
            except ValidationError:
                continue  # whatever a library prints is no answer
            match line:
                case ProgressLine():
                    self._ledger.note_progress(run.task.key, line)
                case RequestsLine():
                    self._note_requests(run.task, line)
                case ResultLine() | ErrorLine():
                    said.outcome = line

    def _note_requests(self, task: Task, line: RequestsLine) -> None:
        buckets = {Side.TARGET: task.bucket_key, Side.SOURCE: task.source_bucket_key or UNKNOWN_BUCKET}
        for one in line.counts:
            self._on_requests(buckets[one.side], one.operation, one.result, one.count)

    def _settle(self, run: _Run, follower: asyncio.Task[Outcome]) -> None:
        """Clear up after a worker; record its outcome unless it was cancelled."""
        self._runs.pop(run.task.key, None)
        try:
            run.directory.remove()
        except OSError as error:
            _log.error("task_directory_left", extra={"path": str(run.directory.path), "error": str(error)})
        if follower.cancelled():
            return
        problem = follower.exception()
        if problem is not None:
            _log.error("transfer_crashed", extra={"task": run.task.key}, exc_info=problem)
            self._ledger.finish(run.task.key, build_failure("the worker could not be followed"))
        else:
            self._ledger.finish(run.task.key, follower.result())


@dataclass(slots=True)
class _Said:
    """What a worker said that counts at its end."""

    outcome: Outcome | None = None
    stderr: Tail = field(default_factory=Tail)


def _renew(given: TaskCredentials, current: TaskCredentials) -> TaskCredentials:
    """Put what is known now in place of what was given, where something was given and something is known."""
    values = {
        name: getattr(given, name) and (getattr(current, name) or getattr(given, name))
        for name in ("target", "source", "target_ca", "source_ca")
    }
    return replace(given, **values)


def _outcome(task: Task, said: _Said, code: int) -> Outcome:
    """Take the worker's own word, or say how it ended without one."""
    outcome = said.outcome
    if outcome is None:
        how = f"was ended by {_signal_name(-code)}" if code < 0 else f"ended with status {code}"
        outcome = build_failure(f"the worker {how} and did not say why")
    if isinstance(outcome, ErrorLine):
        extra = {
            "task": task.key,
            "namespace": task.namespace,
            "reason": outcome.reason,
            "status": code,
            "stderr": said.stderr.text,
        }
        _log.warning("transfer_failed", extra=extra)
    return outcome


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _no_files(error: OSError) -> ErrorLine:
    return build_failure(f"the worker cannot be started: {error.strerror}")
