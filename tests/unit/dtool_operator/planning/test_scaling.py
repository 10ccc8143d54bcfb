"""Copies that are too large for a child process: a look, Pods that bring shares, one copy; whole plans."""

from dataclasses import replace

import pytest

from dtool_operator.api.dataset import DtoolDataset
from dtool_operator.api.reasons import Reason
from dtool_operator.planning.dataset import plan_dataset
from dtool_operator.planning.observed import ObservedDataset, Policy
from dtool_operator.planning.plan import StartTransfer
from dtool_operator.planning.task import KeysFrom, Task, TaskKind
from dtool_operator.planning.transfer import TransferRecord
from tests.support import observed as see
from tests.support.coming_to_rest import assert_comes_to_rest
from tests.support.observed import HERE, dataset, seen, stored
from tests.support.told import READY, Told, not_ready, tell

MARK = "put finalizer, label"
KEYS = "with keys of dtool-system/instruments"
FROM_TO = "instrument-data/ to lab-data/u/alice/"
INSPECT = f"start inspect instrument-data/ {KEYS}"
CHILD = f"start server-side copy {FROM_TO} {KEYS}"
WHOLE = f"start server-side copy {FROM_TO} by a Job in dtool-system, keys operator {KEYS}"
SHARES = f"start server-side copyItems {FROM_TO} by 3 Pods of a Job in dtool-system, keys operator {KEYS}"
PREPARING = not_ready("Progressing")
COPYING = not_ready("Copying")
STARTED = stored("proto", registered="u/alice/")


def policy(above: int | None = 1000, **fields: int) -> Policy:
    """An administrator's word that larger copies are Jobs, with a share of 10 items."""
    limits = {"copy_above_bytes": above, "items_per_shard": 10, "max_shards": 3, **fields}
    return replace(see.POLICY, jobs=replace(see.JOBS, **limits))


def look(one: DtoolDataset | None = None, **fields: object) -> ObservedDataset:
    return seen(one, **{"policy": policy(), **fields})


def found(**fields: object) -> DtoolDataset:
    """A copy that was begun, after somebody looked how large its source is."""
    return see.inspected(see.marked(dataset(), finalizer=True), **fields)


SMALL = look(found(size_bytes=999))
LARGE = look(found(size_bytes=1000, items=10), storage=STARTED)
MANY = look(found(size_bytes=1000, items=2000), storage=STARTED)


def job(one: ObservedDataset, kind: TaskKind) -> Task:
    """The task of this kind that follows sooner or later."""
    task = see.task_of(one)
    if task.kind is not kind:
        after = replace(one, transfer=see.in_job(see.ended(one, None)))
        task = next(a.task for a in plan_dataset(after).actions if isinstance(a, StartTransfer))
    assert task.kind is kind
    return task


def ran(one: ObservedDataset, kind: TaskKind, outcome: object = None, **fields: object) -> TransferRecord:
    """A Job that has ended."""
    return see.in_job(see.ended(one, outcome, task=job(one, kind), **fields))


def left(one: ObservedDataset, kind: TaskKind) -> ObservedDataset:
    """After a restart, while a Job of this kind runs."""
    return replace(one, dataset=see.recorded(one.dataset, see.job_of(job(one, kind))))


CASES: dict[str, tuple[ObservedDataset, Told]] = {
    "nobody knows how large it is: a child process looks, and nothing is marked": (
        look(),
        Told((INSPECT,), "Pending", PREPARING, "30s"),
    ),
    "none is a Job": (
        look(policy=policy(None)),
        Told((MARK, CHILD), "Copying", COPYING, "30s"),
    ),
    "it is small": (
        SMALL,
        Told((CHILD,), "Copying", COPYING, "30s"),
    ),
    "it is small, and every copy is a Job": (
        replace(SMALL, policy=policy(0)),
        Told((WHOLE,), "Copying", COPYING, "0s"),
    ),
    "it is large": (
        LARGE,
        Told((WHOLE,), "Copying", COPYING, "0s"),
    ),
    "it is large, and its Job ran when the operator was restarted": (
        left(LARGE, TaskKind.COPY),
        Told(("adopt Job job-1 to copy",), "Copying", COPYING, "0s"),
    ),
    "it is large, and its Job is not to be a Job any more": (
        replace(left(LARGE, TaskKind.COPY), policy=policy(None)),
        Told(("remove Job job-1", CHILD), "Copying", COPYING, "30s"),
    ),
    "it is large, and its Job has frozen it and still runs": (
        replace(LARGE, transfer=see.in_job(see.running(LARGE, phase="Freezing")), storage=HERE),
        Told((), "Freezing", not_ready("Freezing"), "30s"),
    ),
    "other work runs as a Job where it was frozen": (
        replace(MANY, transfer=see.in_job(see.running(MANY)), storage=HERE),
        Told(("cancel",), "Copying", COPYING, "0s"),
    ),
    "it is large, and its Job has frozen it: a child process proves that": (
        replace(LARGE, transfer=ran(LARGE, TaskKind.COPY, see.facts()), storage=HERE),
        Told(("forget", CHILD), "Copying", COPYING, "30s"),
    ),
    "it is large, and its Job says that it has frozen it, which nobody sees": (
        replace(LARGE, transfer=ran(LARGE, TaskKind.COPY, see.facts())),
        Told((WHOLE,), "Copying", COPYING, "0s"),
    ),
    "it is large, and was found in place": (
        replace(LARGE, transfer=see.ended(replace(LARGE, storage=HERE), see.facts()), storage=HERE),
        Told(("no finalizer, label", "forget"), "Frozen", READY, "resync"),
    ),
    "it has very many items": (
        MANY,
        Told((SHARES,), "Copying", COPYING, "0s"),
    ),
    "its shares were brought when the operator was restarted": (
        left(MANY, TaskKind.COPY_ITEMS),
        Told(("adopt Job job-1 to copyItems",), "Copying", COPYING, "0s"),
    ),
    "its shares were put together when the operator was restarted": (
        left(MANY, TaskKind.COPY),
        Told(("adopt Job job-1 to copy",), "Copying", COPYING, "0s"),
    ),
    "its shares are brought": (
        replace(MANY, transfer=see.in_job(see.running(MANY))),
        Told((), "Copying", COPYING, "30s"),
    ),
    "a share could not be brought": (
        replace(MANY, transfer=ran(MANY, TaskKind.COPY_ITEMS, Reason.OUT_OF_MEMORY)),
        Told((), "Pending", not_ready("OutOfMemory"), "pause"),
    ),
    "all shares are brought": (
        replace(MANY, transfer=ran(MANY, TaskKind.COPY_ITEMS)),
        Told(("forget", WHOLE), "Copying", COPYING, "0s"),
    ),
    "all shares are brought and are put together": (
        replace(MANY, transfer=see.in_job(see.running(MANY, task=job(MANY, TaskKind.COPY)))),
        Told((), "Copying", COPYING, "30s"),
    ),
    "all shares are brought, and an item is not the source's": (
        replace(MANY, transfer=ran(MANY, TaskKind.COPY, Reason.SOURCE_DAMAGED)),
        Told((), "Pending", not_ready("SourceDamaged"), "pause"),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_copy_that_may_be_a_job(case: str) -> None:
    one, expected = CASES[case]

    assert tell(plan_dataset(one)) == expected


@pytest.mark.parametrize("case", CASES)
def test_rule_10_it_is_begun_once_and_comes_to_rest(case: str) -> None:
    assert_comes_to_rest(CASES[case][0])


def test_how_large_the_source_is_comes_into_the_status_and_so_does_the_uuid() -> None:
    one = look()
    record = see.ended(one, see.source_facts(size_bytes=5000, items=40))

    plan = plan_dataset(replace(one, transfer=record))

    assert tell(plan) == Told(("forget",), "Pending", PREPARING, "0s")
    assert plan.status is not None
    assert (plan.status.uuid, plan.status.source.size_bytes) == (see.UUID, 5000)


def test_a_look_does_not_take_off_the_finalizer_of_what_is_unfinished() -> None:
    assert tell(plan_dataset(look(see.marked(dataset(), finalizer=True)))).do == (INSPECT,)


def test_a_look_gets_the_keys_of_the_source_alone() -> None:
    task = see.task_of(look())

    assert (task.kind, task.uuid, task.target) == (TaskKind.INSPECT, see.UUID, None)
    assert (task.credentials_version, task.source_bucket_key) == ("|1", "dtool-system/instruments")


def test_a_derived_copy_looks_at_its_source() -> None:
    assert see.task_of(look(dataset(identity="New"), storage=stored(uuid=see.UID))).uuid == see.UUID


def test_plain_objects_and_published_datasets_have_nothing_to_look_at() -> None:
    ref = {"name": "instruments", "namespace": see.ADMIN}
    objects = look(dataset(source={"objects": {"bucketRef": ref, "prefix": "run/"}}))
    url = f"https://data.example.org/{see.UUID}"
    published = look(
        dataset(source={"uri": url}),
        policy=replace(policy(), allowed_http_hosts=frozenset({"data.example.org"})),
    )

    assert see.task_of(objects).kind is TaskKind.INGEST
    assert see.task_of(published).kind is TaskKind.COPY


def test_rule_5_such_jobs_run_where_the_operator_is() -> None:
    task = see.task_of(LARGE)

    assert task.job is not None
    assert (task.job.namespace, task.job.keys, task.job.owner) == (see.ADMIN, KeysFrom.OPERATOR, None)


@pytest.mark.parametrize(("items", "shards"), [(0, 1), (10, 1), (11, 2), (20, 2), (21, 3), (2000, 3)])
def test_as_many_pods_as_there_are_shares_and_no_more_than_allowed(items: int, shards: int) -> None:
    task = see.task_of(look(found(size_bytes=5000, items=items), storage=STARTED))

    assert task.job is not None
    assert task.job.shards == shards
