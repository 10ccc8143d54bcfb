"""One suite for every executor: what the reconciler relies on, whoever runs the tasks."""

import asyncio
import secrets
import select
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dtool_operator.planning.task import Location, Task, TaskKind
from dtool_operator.planning.transfer import TransferRecord, TransferState
from dtool_operator.transfers.executor import Executor, TaskCredentials
from dtool_operator.transfers.ledger import Ledger
from dtool_operator.transfers.process import ProcessExecutor
from dtool_s3.layout import DatasetLayout
from dtool_s3.settings import Credentials, Endpoint, Secret
from dtool_s3.store.faults import Fault
from dtool_s3.store.memory import MemoryServer
from dtool_s3.store.protocol import Store
from dtool_s3.store.s3 import S3Store
from sandbox.seaweedfs import ADMIN, ObjectStore
from tests.support.datasets import UUID, DatasetFixture, write_dataset
from tests.support.eventually import eventually_async
from tests.support.inline_executor import InlineExecutor

# `scene` asks for the server by name at run time: this lets a missing program be reported before the tests
pytestmark = pytest.mark.usefixtures("object_store_programs")

PREFIX = "u/alice/"
PATIENCE_SECONDS = 60.0
MakeExecutor = Callable[[Callable[[str], None], Callable[[], datetime]], Executor]


@dataclass
class Scene:
    """An executor, a source and a target bucket with a store on each, and a bucket that never answers."""

    make: MakeExecutor
    source: Store
    target: Store
    endpoint: str | None
    stuck: Location
    has_asked: Callable[[], bool]
    """Whether a request has come to the bucket that never answers."""
    credentials: TaskCredentials
    told: list[tuple[str, TransferState | None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.executor = self.make(self._note, lambda: datetime.now(UTC))

    def _note(self, key: str) -> None:
        record = self.executor.record(key)
        self.told.append((key, None if record is None else record.state))

    def told_ends(self) -> list[str]:
        """Return the keys of those whose end was told."""
        return [key for key, state in self.told if state is not TransferState.RUNNING]

    def location(self, store: Store, prefix: str) -> Location:
        return Location(bucket=store.bucket, prefix=prefix, endpoint=self.endpoint, region="us-east-1")

    def copy(self, *, fingerprint: str = "copy-1") -> Task:
        return self._task(TaskKind.COPY, fingerprint, self.location(self.target, PREFIX)).model_copy(
            update={"source": self.location(self.source, ""), "server_side": True}
        )

    def verify(self) -> Task:
        return self._task(TaskKind.VERIFY, "verify-1", self.location(self.target, PREFIX))

    def remove(self) -> Task:
        return self._task(TaskKind.REMOVE, "remove-1", self.location(self.target, PREFIX))

    def stuck_task(self, *, key: str = "uid-1", bucket_key: str = "dtool-system/lab") -> Task:
        task = self._task(TaskKind.VERIFY, "stuck-1", self.stuck)
        return task.model_copy(update={"key": key, "bucket_key": bucket_key})

    async def start(self, task: Task) -> None:
        await self.executor.start(task, self.credentials)

    async def get_stuck(self, *keys: str) -> None:
        """Start tasks that never end, and wait until one of them works."""
        for key in keys:
            await self.start(self.stuck_task(key=key))

        async def check() -> None:
            assert self.has_asked()

        await eventually_async(check, within=PATIENCE_SECONDS)

    async def run(self, task: Task) -> TransferRecord:
        """Start a task and wait for its end."""
        await self.start(task)
        return await self.ended(task.key)

    async def ended(self, key: str) -> TransferRecord:
        async def check() -> TransferRecord:
            record = self.executor.record(key)
            assert record is not None
            assert record.state is not TransferState.RUNNING
            return record

        return await eventually_async(check, within=PATIENCE_SECONDS)

    @staticmethod
    def _task(kind: TaskKind, fingerprint: str, target: Location) -> Task:
        return Task(
            kind=kind,
            key="uid-1",
            namespace="alice",
            fingerprint=fingerprint,
            uuid=UUID,
            target=target,
            credentials_version="1",
            bucket_key="dtool-system/lab",
        )


@pytest.fixture(params=["inline", "process"])
async def scene(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Scene]:
    if request.param == "inline":
        scene = _inline_scene()
        yield scene
        await scene.executor.close()
        return
    server: ObjectStore = request.getfixturevalue("object_store")
    make_bucket: Callable[[], str] = request.getfixturevalue("make_bucket")
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never answers
        scene = _process_scene(server, make_bucket, tmp_path, silent)
        yield scene
        await scene.executor.close()
    for store in (scene.source, scene.target):
        assert isinstance(store, S3Store)
        await asyncio.to_thread(store.close)


def _inline_scene() -> Scene:
    server = MemoryServer()
    for name in ("source", "target", "stuck"):
        server.create_bucket(name)
    server.faults.append(Fault(bucket="stuck", hold=asyncio.Event(), times=None))
    return Scene(
        make=lambda on_change, clock: InlineExecutor(
            lambda location: server.store(location.bucket), on_change, clock
        ),
        source=server.store("source"),
        target=server.store("target"),
        endpoint=None,
        stuck=Location(bucket="stuck", prefix=PREFIX),
        has_asked=lambda: any(request.bucket == "stuck" for request in server.requests),
        credentials=TaskCredentials(None, None),
    )


def _process_scene(
    server: ObjectStore, make_bucket: Callable[[], str], path: Path, silent: socket.socket
) -> Scene:
    admin = server.identity(ADMIN)
    keys = Credentials(admin.access_key, Secret(admin.secret_key))
    endpoint = Endpoint(server.endpoint, region="us-east-1")
    return Scene(
        make=lambda on_change, clock: ProcessExecutor(
            path / "transfers", ledger=Ledger(on_change, clock), grace_seconds=5
        ),
        source=S3Store(endpoint, make_bucket(), lambda: keys),
        target=S3Store(endpoint, make_bucket(), lambda: keys),
        endpoint=server.endpoint,
        stuck=Location(
            bucket="stuck",
            prefix=PREFIX,
            endpoint=f"http://127.0.0.1:{silent.getsockname()[1]}",
            region="us-east-1",
        ),
        has_asked=lambda: bool(select.select([silent], [], [], 0)[0]),
        credentials=TaskCredentials(keys, keys),
    )


async def test_an_unknown_key_has_no_record(scene: Scene) -> None:
    assert scene.executor.record("nobody") is None
    assert not scene.executor.running()


async def test_a_started_task_is_running_and_counts_for_its_bucket(scene: Scene) -> None:
    await scene.start(scene.stuck_task(key="uid-1"))
    await scene.start(scene.stuck_task(key="uid-2"))
    await scene.start(scene.stuck_task(key="uid-3", bucket_key="alice/own"))

    record = scene.executor.record("uid-1")

    assert record is not None
    assert (record.state, record.attempts, record.finished_at) == (TransferState.RUNNING, 1, None)
    assert record.task == scene.stuck_task(key="uid-1")
    assert Counter(task.bucket_key for task in scene.executor.running()) == {
        "dtool-system/lab": 2,
        "alice/own": 1,
    }


async def test_a_copy_succeeds_with_what_was_found(scene: Scene) -> None:
    dataset = DatasetFixture()
    await write_dataset(scene.source, dataset)

    record = await scene.run(scene.copy())

    assert record.error is None
    assert record.state is TransferState.SUCCEEDED
    assert record.finished_at is not None
    assert record.finished_at >= record.started_at
    assert record.facts is not None
    assert (record.facts.name, record.facts.creator_username) == ("sample", "olssont")
    assert (record.facts.items, record.facts.moved) == (3, 3)
    assert record.facts.size_bytes == sum(map(len, dataset.items.values()))
    assert record.facts.frozen_at == 1795329300.25
    assert not scene.executor.running()
    layout = DatasetLayout(PREFIX, UUID)
    assert (await scene.target.head(layout.admin_metadata_key)).metadata["type"] == "dataset"


async def test_the_last_progress_of_a_copy_is_all_of_it(scene: Scene) -> None:
    await write_dataset(scene.source, DatasetFixture())

    record = await scene.run(scene.copy())

    assert record.progress is not None
    assert record.progress.items == record.progress.items_total == 3
    assert record.progress.bytes == record.progress.bytes_total > 0
    assert record.progress_at is not None
    assert record.started_at <= record.progress_at


async def test_a_change_is_told_when_a_task_ends(scene: Scene) -> None:
    await scene.run(scene.verify())

    async def told() -> None:
        assert "uid-1" in scene.told_ends()

    await eventually_async(told, within=10)


async def test_a_copy_can_be_verified(scene: Scene) -> None:
    await write_dataset(scene.source, DatasetFixture())
    await scene.run(scene.copy())

    record = await scene.run(scene.verify())

    assert record.facts is not None
    assert (record.facts.items, record.facts.etag_md5, record.facts.unproven) == (3, 3, 0)
    assert record.task.kind is TaskKind.VERIFY


async def test_an_unfinished_copy_is_removed(scene: Scene) -> None:
    await write_dataset(scene.target, DatasetFixture(prefix=PREFIX, is_frozen=False))

    record = await scene.run(scene.remove())

    assert (record.state, record.facts) == (TransferState.SUCCEEDED, None)
    assert not (await scene.target.list("")).objects


async def test_a_frozen_dataset_is_never_removed(scene: Scene) -> None:
    await write_dataset(scene.target, DatasetFixture(prefix=PREFIX))
    before = len((await scene.target.list("")).objects)

    record = await scene.run(scene.remove())

    assert record.error is not None
    assert record.error.reason == "FrozenDataset"
    assert len((await scene.target.list("")).objects) == before


async def test_a_failure_has_the_librarys_reason_and_a_message(scene: Scene) -> None:
    record = await scene.run(scene.copy())

    assert record.state is TransferState.FAILED
    assert record.facts is None
    assert record.error is not None
    assert record.error.reason == "SourceNotFound"
    assert UUID in record.error.message
    assert not record.error.retryable


async def test_a_damaged_source_is_named(scene: Scene) -> None:
    await write_dataset(scene.source, DatasetFixture(stored={"a.txt": b"ALPHA"}))

    record = await scene.run(scene.copy())

    assert record.error is not None
    assert record.error.reason == "SourceDamaged"
    assert "a.txt" in record.error.message


async def test_attempts_count_the_starts_of_one_fingerprint(scene: Scene) -> None:
    first = await scene.run(scene.copy())
    again = await scene.run(scene.copy())
    another = await scene.run(scene.copy(fingerprint="copy-2"))

    assert [first.attempts, again.attempts, another.attempts] == [1, 2, 1]


async def test_a_task_that_failed_can_be_started_again_and_succeed(scene: Scene) -> None:
    await scene.run(scene.copy())
    await write_dataset(scene.source, DatasetFixture())

    record = await scene.run(scene.copy())

    assert (record.state, record.error) == (TransferState.SUCCEEDED, None)


async def test_a_running_task_is_not_started_twice(scene: Scene) -> None:
    await scene.start(scene.stuck_task())

    with pytest.raises(ValueError, match="uid-1"):
        await scene.start(scene.stuck_task())


async def test_a_cancelled_task_is_gone_and_forgotten(scene: Scene) -> None:
    await scene.get_stuck("uid-1")

    await scene.executor.cancel("uid-1")

    assert scene.executor.record("uid-1") is None
    assert not scene.executor.running()
    assert not scene.told_ends()


async def test_a_task_that_is_cancelled_before_it_works_is_gone_and_forgotten(scene: Scene) -> None:
    await scene.start(scene.stuck_task())

    await scene.executor.cancel("uid-1")

    assert scene.executor.record("uid-1") is None
    assert not scene.executor.running()
    assert not scene.told


async def test_two_that_cancel_one_task_both_see_it_gone(scene: Scene) -> None:
    await scene.get_stuck("uid-1")

    await asyncio.gather(scene.executor.cancel("uid-1"), scene.executor.cancel("uid-1"))

    assert scene.executor.record("uid-1") is None


async def test_cancelling_what_does_not_run_is_fine(scene: Scene) -> None:
    await scene.executor.cancel("nobody")
    await scene.run(scene.verify())

    await scene.executor.cancel("uid-1")

    assert scene.executor.record("uid-1") is None


async def test_a_cancelled_task_can_be_replaced_at_once(scene: Scene) -> None:
    await write_dataset(scene.source, DatasetFixture())
    await scene.get_stuck("uid-1")

    await scene.executor.cancel("uid-1")
    record = await scene.run(scene.copy())

    assert (record.state, record.attempts) == (TransferState.SUCCEEDED, 1)


async def test_only_what_does_not_run_is_forgotten(scene: Scene) -> None:
    await scene.start(scene.stuck_task(key="running"))
    await scene.run(scene.verify())

    scene.executor.forget("uid-1")
    scene.executor.forget("nobody")
    with pytest.raises(ValueError, match="running"):
        scene.executor.forget("running")

    assert scene.executor.record("uid-1") is None
    assert scene.executor.record("running") is not None


async def test_new_keys_are_recorded_with_their_version(scene: Scene) -> None:
    await scene.start(scene.stuck_task())
    renewed = TaskCredentials(
        Credentials("new", Secret(secrets.token_hex(8))), scene.credentials.source, version="2"
    )

    await scene.executor.refresh_credentials("uid-1", renewed)
    await scene.executor.refresh_credentials("nobody", renewed)

    record = scene.executor.record("uid-1")
    assert record is not None
    assert record.task.credentials_version == "2"
    assert record.task.fingerprint == "stuck-1"
    assert record.state is TransferState.RUNNING
    assert scene.executor.record("nobody") is None


async def test_closing_ends_everything_and_nothing_starts_afterwards(scene: Scene) -> None:
    await scene.get_stuck("uid-1", "uid-2")

    await scene.executor.close()

    assert not scene.executor.running()
    with pytest.raises(ValueError, match="closed"):
        await scene.start(scene.stuck_task(key="uid-3"))
