"""The worker's process, as the operator starts it: exit codes, signals, what it loads, what it shows."""

import asyncio
import contextlib
import json
import os
import select
import signal
import socket
import ssl
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dtool_operator.planning.task import Encryption, Location, Task, TaskKind
from dtool_operator.planning.transfer import TransferRecord, TransferState
from dtool_operator.transfers.credentials_file import write_credentials_file
from dtool_operator.transfers.executor import TaskCredentials
from dtool_operator.transfers.ledger import Ledger
from dtool_operator.transfers.process import ProcessExecutor
from dtool_operator.transfers.signing.s3_requests import S3Requests
from dtool_operator.transfers.signing.wire import UrlGiven
from dtool_operator.transfers.worker import (
    EXIT_BAD_TASK,
    EXIT_FAILED,
    EXIT_TERMINATED,
    open_location,
    trust_certificates,
)
from dtool_s3.errors import BucketUnreachable, NotFound
from dtool_s3.settings import Credentials, EncryptionMode, Secret
from sandbox.seaweedfs import ADMIN, ObjectStore
from tests.support.certificates import sign_certificate
from tests.support.datasets import UUID
from tests.support.eventually import eventually, eventually_async
from tests.support.processes import is_running
from tests.support.scripted_s3 import Answer, error_answer, scripted_s3

PREFIX = "u/alice/"
SECRET = "s3cr3t-k3y-of-alice"
#: An operator that was given a task which never ends, and does nothing else.
OPERATOR = """
import asyncio, sys
from datetime import UTC, datetime
from pathlib import Path
from dtool_operator.planning.task import Task
from dtool_operator.transfers.executor import TaskCredentials
from dtool_operator.transfers.ledger import Ledger
from dtool_operator.transfers.process import ProcessExecutor
from dtool_s3.settings import Credentials, Secret

async def main():
    executor = ProcessExecutor(Path(sys.argv[1]), ledger=Ledger(print, lambda: datetime.now(UTC)))
    task = Task.model_validate_json(sys.argv[2])
    await executor.start(task, TaskCredentials(Credentials("AK", Secret("sk"))))
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(30)
        yield listening


def _task(endpoint: str, *, bucket: str = "lab", kind: TaskKind = TaskKind.VERIFY) -> Task:
    return Task(
        kind=kind,
        key="uid-1",
        namespace="alice",
        fingerprint="f",
        uuid=UUID,
        target=Location(bucket=bucket, prefix=PREFIX, endpoint=endpoint, region="us-east-1"),
        bucket_key="dtool-system/lab",
    )


def _stuck_task(silent: socket.socket) -> Task:
    return _task(f"http://127.0.0.1:{silent.getsockname()[1]}")


def _write(directory: Path, task: Task) -> Path:
    """Write task document and keys as the executor does."""
    keys = directory / "keys.json"
    write_credentials_file(keys, Credentials("AK", Secret(SECRET)))
    target = task.target.model_copy(update={"credentials_file": str(keys)})
    file = directory / "task.json"
    file.write_text(task.model_copy(update={"target": target}).model_dump_json())
    return file


def _start(file: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "dtool_operator", "transfer", str(file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"PATH": os.environ["PATH"]},
    )


def _wait(worker: subprocess.Popen[str]) -> tuple[int, list[dict[str, object]], str]:
    output, errors = worker.communicate(timeout=60)
    return worker.returncode, [json.loads(line) for line in output.splitlines()], errors


def _wait_until_asked(silent: socket.socket) -> socket.socket:
    """Return once the worker waits for an answer that never comes."""
    connection, _ = silent.accept()
    connection.settimeout(30)
    assert connection.recv(1)
    return connection


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize("text", [None, "", "no JSON", "{}", f'{{"kind": "{SECRET}"}}'])
def test_a_task_that_cannot_be_read_is_said_and_has_its_own_exit_code(
    tmp_path: Path, text: str | None
) -> None:
    file = tmp_path / "task.json"
    if text is not None:
        file.write_text(text)

    code, lines, errors = _wait(_start(file))

    assert code == EXIT_BAD_TASK
    (line,) = lines
    assert line["reason"] == "InternalError"
    assert "task document" in str(line["message"])
    assert SECRET not in f"{lines}{errors}"


def test_a_failure_is_one_error_line_and_shows_no_keys(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}"

    code, lines, errors = _wait(_start(_write(tmp_path, _task(endpoint))))

    assert code == EXIT_FAILED
    assert (lines[-1]["type"], lines[-1]["reason"]) == ("error", "BucketUnreachable")
    assert SECRET not in f"{lines}{errors}"
    assert "Traceback" not in errors


def test_sigterm_ends_a_worker_at_once_although_a_request_hangs(
    tmp_path: Path, silent: socket.socket
) -> None:
    worker = _start(_write(tmp_path, _stuck_task(silent)))
    with _wait_until_asked(silent):
        worker.send_signal(signal.SIGTERM)

        code, lines, errors = _wait(worker)

    assert code == EXIT_TERMINATED
    assert [line["type"] for line in lines] == ["progress"]
    assert not errors


def test_a_worker_loads_neither_the_informer_nor_a_client_before_it_is_needed() -> None:
    script = (
        "import sys\nimport dtool_operator.transfers.worker\n"
        "print([name for name in ('kopf', 'kubernetes', 'boto3', 'botocore') if name in sys.modules])"
    )

    printed = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)

    assert printed.stdout == "[]\n"


def test_a_worker_dies_with_its_operator(tmp_path: Path, silent: socket.socket) -> None:
    arguments = [str(tmp_path / "state"), _stuck_task(silent).model_dump_json()]
    operator = subprocess.Popen([sys.executable, "-c", OPERATOR, *arguments])
    try:
        with _wait_until_asked(silent):
            (zygote,) = _children(operator.pid)
            (worker,) = _children(zygote)
            assert is_running(worker)

            operator.kill()
            operator.wait()

            def gone() -> None:
                assert not is_running(worker)
                assert not is_running(zygote)

            eventually(gone, within=10)
    finally:
        operator.kill()
        operator.wait()


@pytest.fixture
async def executor(tmp_path: Path) -> AsyncIterator[ProcessExecutor]:
    executor = ProcessExecutor(tmp_path, ledger=Ledger(lambda _: None, lambda: datetime.now(UTC)))
    yield executor
    await executor.close()


async def _ended(executor: ProcessExecutor) -> TransferRecord:
    async def check() -> TransferRecord:
        record = executor.record("uid-1")
        assert record is not None
        assert record.state is not TransferState.RUNNING
        return record

    return await eventually_async(check, within=60)


async def test_cancelling_is_quick_although_a_request_hangs(
    executor: ProcessExecutor, silent: socket.socket
) -> None:
    await executor.start(_stuck_task(silent), TaskCredentials(Credentials("AK", Secret(SECRET))))
    connection = await asyncio.to_thread(_wait_until_asked, silent)
    with connection:
        await asyncio.wait_for(executor.cancel("uid-1"), timeout=5)

    assert executor.record("uid-1") is None


async def test_rejected_keys_end_in_their_reason_and_show_nowhere(
    executor: ProcessExecutor, object_store: ObjectStore, bucket_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = Credentials(object_store.identity(ADMIN).access_key, Secret(SECRET))

    await executor.start(_task(object_store.endpoint, bucket=bucket_name), TaskCredentials(wrong))

    record = await _ended(executor)
    assert record.error is not None
    assert record.error.reason == "CredentialsRejected"
    assert SECRET not in repr(record)
    assert SECRET not in "".join(repr(vars(entry)) for entry in caplog.records)


def _answer(listening: socket.socket, status: str, code: str) -> str:
    """Take one connection, answer its request, return the request's head."""
    connection, _ = listening.accept()
    with connection:
        connection.settimeout(30)
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(64 * 1024)
        body = f"<Error><Code>{code}</Code><Message>no</Message></Error>"
        lines = (f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", "", body)
        connection.sendall("\r\n".join(lines).encode())
    return head.decode()


async def test_keys_replaced_during_the_work_are_used_once_the_old_ones_are_refused(
    executor: ProcessExecutor, silent: socket.socket
) -> None:
    """Rule 19."""
    old, new = (Credentials(name, Secret(SECRET)) for name in ("OLD", "NEW"))
    await executor.start(_stuck_task(silent), TaskCredentials(old))

    # the first connection waits in the queue of the port until it is taken below: its request is signed
    await asyncio.to_thread(_wait_until_queued, silent)
    await executor.refresh_credentials("uid-1", TaskCredentials(new, version="2"))
    first = await asyncio.to_thread(_answer, silent, "403 Forbidden", "InvalidAccessKeyId")
    # asked once more by the client that names refusals, before the keys are read again
    second = await asyncio.to_thread(_answer, silent, "403 Forbidden", "InvalidAccessKeyId")
    third = await asyncio.to_thread(_answer, silent, "404 Not Found", "NoSuchKey")

    assert "Credential=OLD/" in first
    assert "Credential=OLD/" in second
    assert "Credential=NEW/" in third
    record = await _ended(executor)
    assert record.error is not None
    assert record.error.reason == "DatasetMissing"
    assert record.task.credentials_version == "2"


def _wait_until_queued(listening: socket.socket) -> None:
    readable, _, _ = select.select([listening], [], [], 30)
    assert readable


async def test_a_worker_encrypts_as_its_task_says(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    write_credentials_file(keys, Credentials("AK", Secret(SECRET)))
    encryption = Encryption(mode=EncryptionMode.SSE_KMS, kms_key_id="key-1")
    with scripted_s3() as script:
        script.answers = [Answer(headers={"ETag": '"0"'})]
        target = _task(script.url).target.model_copy(
            update={"encryption": encryption, "credentials_file": str(keys)}
        )
        store = open_location(target, max_concurrency=1)
        await store.put("key", b"")
        await asyncio.to_thread(store.close)

    headers = script.received[-1].headers
    assert headers["x-amz-server-side-encryption"] == "aws:kms"
    assert headers["x-amz-server-side-encryption-aws-kms-key-id"] == "key-1"


@dataclass(frozen=True)
class TlsServer:
    """A server that knows no object, and its certificate as PEM, which no public authority signed."""

    url: str
    certificate: str


@pytest.fixture
async def tls_server(tmp_path: Path) -> AsyncIterator[TlsServer]:
    """Answers 404 to everything."""
    certificate, key = sign_certificate("127.0.0.1")
    (tmp_path / "server.pem").write_bytes(certificate + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        yield TlsServer(f"https://127.0.0.1:{port}", certificate.decode())


WITH_AND_WITHOUT_ITS_CERTIFICATE = pytest.mark.parametrize(
    ("is_trusted", "reason"), [(True, "DatasetMissing"), (False, "BucketUnreachable")], ids=["own", "public"]
)


@WITH_AND_WITHOUT_ITS_CERTIFICATE
async def test_a_worker_trusts_the_certificates_of_its_task(
    tmp_path: Path, tls_server: TlsServer, *, is_trusted: bool, reason: str
) -> None:
    executor = ProcessExecutor(tmp_path / "state", ledger=Ledger(lambda _: None, lambda: datetime.now(UTC)))
    keys = TaskCredentials(
        Credentials("AK", Secret(SECRET)), target_ca=tls_server.certificate if is_trusted else None
    )

    await executor.start(_task(tls_server.url), keys)
    record = await _ended(executor)
    await executor.close()

    assert record.error is not None
    assert record.error.reason == reason


@WITH_AND_WITHOUT_ITS_CERTIFICATE
async def test_a_worker_in_a_pod_trusts_what_the_administrator_trusts(
    tmp_path: Path, tls_server: TlsServer, *, is_trusted: bool, reason: str
) -> None:
    document = _write(tmp_path, _task(tls_server.url)).read_text()
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path), "DTOOL_TASK": document}
    if is_trusted:
        environment["DTOOL_TRUSTED_CA"] = tls_server.certificate

    worker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "dtool_operator", "transfer", "-"),
        stdout=asyncio.subprocess.PIPE,
        env=environment,
    )
    output, _ = await asyncio.wait_for(worker.communicate(), timeout=60)

    assert worker.returncode == EXIT_FAILED
    assert json.loads(output.splitlines()[-1])["reason"] == reason


@pytest.mark.parametrize(
    ("is_trusted", "error"), [(True, NotFound), (False, BucketUnreachable)], ids=["own", "public"]
)
async def test_requests_by_signed_urls_trust_it_too(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    tls_server: TlsServer,
    *,
    is_trusted: bool,
    error: type[Exception],
) -> None:
    environment = {"DTOOL_TRUSTED_CA": tls_server.certificate} if is_trusted else {}
    trust_certificates(environment, tmp_path)
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    requests = S3Requests(ca_pem=None, max_connections=1)

    with pytest.raises(error):
        async with requests.send("an item", "GET", UrlGiven(url=tls_server.url)):
            pass

    await requests.close()


def test_what_the_administrator_says_of_a_pods_environment_wins(tmp_path: Path) -> None:
    environment = {"DTOOL_TRUSTED_CA": "PEM", "AWS_CA_BUNDLE": "/etc/ours.pem"}

    trust_certificates(environment, tmp_path)

    assert environment["AWS_CA_BUNDLE"] == "/etc/ours.pem"
    assert Path(environment["SSL_CERT_FILE"]).read_text() == "PEM"
    assert environment["REQUESTS_CA_BUNDLE"] == environment["SSL_CERT_FILE"]


async def test_a_worker_tells_of_its_requests(tmp_path: Path) -> None:
    told: Counter[tuple[str, str, str]] = Counter()

    def count(bucket_key: str, operation: str, result: str, number: int) -> None:
        told[bucket_key, operation, result] += number

    executor = ProcessExecutor(
        tmp_path, ledger=Ledger(lambda _: None, lambda: datetime.now(UTC)), on_requests=count
    )
    with scripted_s3() as script:
        script.answers = [error_answer(404, "NoSuchKey")]
        await executor.start(_task(script.url), TaskCredentials(Credentials("AK", Secret(SECRET))))
        record = await _ended(executor)
        await executor.close()

    assert record.error is not None
    assert record.error.reason == "DatasetMissing"
    assert set(told) == {("dtool-system/lab", "get", "NotFound")}
    assert told.total() == len(script.received)
