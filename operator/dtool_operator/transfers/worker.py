"""A worker from its task file to its exit code: JSON lines out.

Owns signals, exit codes and what goes to the standard streams; what is done is in `task_run`. Runs in a child
of the zygote, or as `dtool-operator transfer -` in a Kubernetes Job, where the environment holds the task.
Loads neither kopf nor a Kubernetes client, and botocore only at the first request.
"""

import asyncio
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from dtool_operator.planning.job_environment import (
    SOURCE_CA_VARIABLE,
    TARGET_CA_VARIABLE,
    TASK_VARIABLE,
    TRUSTED_CA_VARIABLE,
    gather,
)
from dtool_operator.planning.task import ErrorLine, Location, ProgressLine, Side, Task, WorkerLine
from dtool_operator.transfers.credentials_file import FileCredentials, write_private_file
from dtool_operator.transfers.request_tally import OnAnswer, RequestTally
from dtool_operator.transfers.task_run import run_task
from dtool_operator.transfers.telling import build_internal_error
from dtool_s3.publication.published import PublishedStore
from dtool_s3.settings import Encryption, Endpoint, ambient_credentials
from dtool_s3.store.protocol import Store
from dtool_s3.store.s3 import S3Store

if TYPE_CHECKING:
    from dtool_operator.transfers.signing.signed_store import SignedStore

#: A result line was written.
EXIT_DONE = 0
#: An error line was written that says why.
EXIT_FAILED = 1
#: The task document cannot be read; the error line says why. Nothing was done.
EXIT_BAD_TASK = 2
#: SIGTERM or SIGINT: the work was given up and its uploads aborted; no line says so.
EXIT_TERMINATED = 128 + signal.SIGTERM

#: How often progress goes to a Pod's log, which the node keeps.
LOGGED_PROGRESS_SECONDS = 2.0

_MAX_THREADS = 64

#: What the kubelet tells each Pod of an Indexed Job.
SHARD_VARIABLE = "JOB_COMPLETION_INDEX"
#: Where OpenSSL, botocore and requests look for the certificates to trust.
_CA_FILE_VARIABLES = ("SSL_CERT_FILE", "AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE")
#: Instead of a task file: the environment has it, as in a Pod.
FROM_ENVIRONMENT = Path("-")


def run_transfer(task_file: Path, *, output: TextIO) -> int:
    """Run the task in `task_file` (or FROM_ENVIRONMENT); return one of the exit codes above.

    Ended by a signal it does not return: requests that hang in their threads would hold the process up.
    """
    writer: _LineWriter = _LineWriter(output)
    try:
        if task_file == FROM_ENVIRONMENT:
            trust_certificates(os.environ, Path(tempfile.gettempdir()))
            task, writer = read_pod_task(os.environ), _SparseLineWriter(output)
        else:
            task = Task.model_validate_json(task_file.read_bytes())
    except (OSError, ValueError) as error:
        message = f"the task document cannot be read: {type(error).__name__}"  # its text may hold anything
        writer.emit(ErrorLine(reason="InternalError", message=message, retryable=True))
        return EXIT_BAD_TASK
    try:
        asyncio.run(_run(task, writer.emit))
    except asyncio.CancelledError:
        output.flush()
        os._exit(EXIT_TERMINATED)
    except Exception as error:  # noqa: BLE001 - the entry point: every failure becomes a line
        _print_where(error)
        writer.emit(build_internal_error(error))
    return EXIT_FAILED if writer.has_failed else EXIT_DONE


class _LineWriter:
    """Writes worker lines as JSON, each at once."""

    def __init__(self, output: TextIO) -> None:
        self._output = output
        self.has_failed = False

    def emit(self, line: WorkerLine) -> None:
        """Write one line."""
        self.has_failed = self.has_failed or isinstance(line, ErrorLine)
        self._output.write(f"{line.model_dump_json()}\n")
        self._output.flush()


class _SparseLineWriter(_LineWriter):
    """As above, for the log of a Pod: progress every two seconds, and the last before an end."""

    def __init__(self, output: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(output)
        self._clock = clock
        self._next_time = float("-inf")
        self._held: ProgressLine | None = None

    def emit(self, line: WorkerLine) -> None:
        """Write one line, or hold a progress until it is its time."""
        if isinstance(line, ProgressLine):
            self._held = line
            if self._clock() >= self._next_time:
                self._write_held()
        else:
            self._write_held()
            super().emit(line)

    def _write_held(self) -> None:
        if self._held is not None:
            line, self._held = self._held, None
            self._next_time = self._clock() + LOGGED_PROGRESS_SECONDS
            super().emit(line)


def trust_certificates(environment: MutableMapping[str, str], directory: Path) -> None:
    """Let a Pod's libraries trust the certificates that came with it. Raises OSError.

    A variable that the administrator set wins.
    """
    text = gather(environment, TRUSTED_CA_VARIABLE)
    if text is not None:
        file = directory / "trusted-ca.pem"
        write_private_file(file, text.encode())
        for name in _CA_FILE_VARIABLES:
            environment.setdefault(name, str(file))


def read_pod_task(environment: Mapping[str, str]) -> Task:
    """Read the task of a Pod, and write the certificates that came with it where the task says.

    Raises ValueError, OSError.
    """
    document = gather(environment, TASK_VARIABLE)
    if document is None:
        raise ValueError(f"{TASK_VARIABLE} is not set")
    task = Task.model_validate_json(document)
    for location, variable in ((task.target, TARGET_CA_VARIABLE), (task.source, SOURCE_CA_VARIABLE)):
        text = gather(environment, variable)
        if location is not None and location.ca_bundle_file is not None and text is not None:
            write_private_file(Path(location.ca_bundle_file), text.encode())
    return task


async def _run(task: Task, emit: Callable[[WorkerLine], None]) -> None:
    _cancel_on_signals()
    tally = RequestTally(emit, is_whole=task.job is not None)
    stores = _Stores(task, tally)
    shard = int(os.environ.get(SHARD_VARIABLE, "0"))
    try:
        await run_task(task, stores.open, tally.pass_on, open_published=stores.open_published, shard=shard)
    finally:
        tally.report()
    await stores.close()


class _Stores:
    """The stores that a task's work opened: with keys, with signed URLs, or of a published dataset."""

    def __init__(self, task: Task, tally: RequestTally) -> None:
        self._task, self._tally = task, tally
        self._max_concurrency = min(task.concurrency, _MAX_THREADS)
        self._opened: list[S3Store | PublishedStore] = []
        self._signed: list[SignedStore] = []

    def open(self, location: Location) -> Store:
        """Open one side of the task; no I/O yet."""
        side = Side.SOURCE if location is self._task.source else Side.TARGET
        on_answer, limit = self._tally.listener(side), self._max_concurrency
        if self._task.signing is not None:
            # its HTTP client is of no use to workers with keys, which are forked by the dozen
            from dtool_operator.transfers.signing.signed_store import open_signed_store  # noqa: PLC0415

            signed = open_signed_store(self._task, side, max_concurrency=limit, on_answer=on_answer)
            self._signed.append(signed)
            return signed
        store = open_location(location, max_concurrency=limit, on_answer=on_answer)
        self._opened.append(store)
        return store

    def open_published(self, url: str) -> Store:
        """Open a dataset that was published at a URL; no I/O yet."""
        store = PublishedStore(url, max_concurrency=self._max_concurrency)
        self._opened.append(store)
        return store

    async def close(self) -> None:
        """End all connections."""
        for signed in self._signed:
            await signed.close()
        for store in self._opened:
            await asyncio.to_thread(store.close)


def _cancel_on_signals() -> None:
    """Cancel the current task at the first SIGTERM or SIGINT; a second one must not disturb its clean-up."""
    loop, this = asyncio.get_running_loop(), asyncio.current_task()
    assert this is not None
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, lambda: None if this.cancelling() else this.cancel())


def open_location(location: Location, *, max_concurrency: int, on_answer: OnAnswer | None = None) -> S3Store:
    """Open the bucket of a location with the keys of its file, or the ambient chain; no I/O yet."""
    path, encryption = location.credentials_file, location.encryption
    return S3Store(
        Endpoint(
            url=location.endpoint,
            region=location.region,
            addressing=location.addressing,
            ca_bundle=location.ca_bundle_file,
            conditional_writes=location.conditional_writes,
            encryption=None if encryption is None else Encryption(encryption.mode, encryption.kms_key_id),
        ),
        location.bucket,
        ambient_credentials if path is None else FileCredentials(Path(path)),
        max_concurrency=max_concurrency,
        on_answer=on_answer,
    )


def _print_where(error: BaseException | None) -> None:
    """Print where an unforeseen error came from, for the operator's log; its text may hold anything."""
    while error is not None:
        lines = [f"{type(error).__name__} was raised at\n", *traceback.format_tb(error.__traceback__)]
        sys.stderr.writelines(lines)
        error = error.__cause__
