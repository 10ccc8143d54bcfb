"""However many workers a copy has, its bucket sees no more requests in flight than its object allows."""

from dataclasses import replace

import pytest

from dtool_operator.api.work_status import InspectedSource
from dtool_operator.planning.dataset import plan_dataset
from dtool_operator.planning.observed import JobPolicy
from dtool_operator.planning.plan import StartTransfer
from dtool_operator.planning.task import Task, TaskKind
from tests.support.datasets import UUID
from tests.support.observed import ADMIN, POLICY, bucket, dataset, instruments, seen

FOUR_SHARDS = JobPolicy(ADMIN, copy_above_bytes=0, items_per_shard=1, max_shards=4)


def begin(items: int, requests: int) -> Task:
    one = dataset()
    found = InspectedSource(uuid=UUID, name="sample", creator_username="olssont", items=items, size_bytes=9)
    one = replace(one, status=one.status.model_copy(update={"source": found}))
    look = seen(one, bucket(limits={"concurrentRequests": requests}), instruments())
    plan = plan_dataset(replace(look, policy=replace(POLICY, jobs=FOUR_SHARDS)))
    (task,) = (action.task for action in plan.actions if isinstance(action, StartTransfer))
    return task


@pytest.mark.parametrize(("requests", "each"), [(64, 4), (1024, 32), (3, 1)])
def test_shards_divide_among_them_what_one_transfer_may_ask(requests: int, each: int) -> None:
    task = begin(items=4, requests=requests)

    assert task.kind is TaskKind.COPY_ITEMS
    assert task.job is not None
    assert task.job.shards == 4
    assert task.concurrency == each


def test_a_single_worker_asks_what_its_transfer_may() -> None:
    task = begin(items=1, requests=64)

    assert task.kind is TaskKind.COPY
    assert task.concurrency == 16
