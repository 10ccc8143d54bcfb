"""Quotas and places (rules 8 and 17): what one more dataset may add, and whether a worker may start."""

import pytest

from dtool_operator.api.dataset import DtoolDataset
from dtool_operator.planning.dataset import plan_dataset
from dtool_operator.planning.observed import Slots, Usage
from tests.support import observed as see
from tests.support.observed import HERE, adopted, bucket, dataset, instruments, seen, stored
from tests.support.told import Told, not_ready, ready_message, tell

NEW = dataset(source=None)
EXCEEDED = Told((), "Pending", not_ready("QuotaExceeded"))

REFUSED: dict[str, tuple[dict[str, int], Usage, str]] = {
    "as many datasets as it may": ({"datasets": 2}, Usage(2), "keep 2 datasets, and 'alice' has 2"),
    "more datasets than it may, since the limit was lowered": ({"datasets": 2}, Usage(3), "has 3"),
    "more bytes than it may": ({"sizeBytes": 10}, Usage(1, 11), "keep 10 bytes, and 'alice' has 11"),
}


@pytest.mark.parametrize("one", [dataset(), NEW], ids=["a copy", "a new dataset"])
@pytest.mark.parametrize("case", REFUSED)
def test_rule_17_nothing_begins_where_a_namespace_has(case: str, one: DtoolDataset) -> None:
    limits, usage, says = REFUSED[case]
    lab = bucket(limits={"perNamespace": limits})

    plan = plan_dataset(seen(one, lab, instruments(), usage=usage))

    assert tell(plan) == EXCEEDED
    assert says in ready_message(plan)


@pytest.mark.parametrize(
    ("limits", "usage", "room"),
    [
        ({}, Usage(10**6, 10**12), None),
        ({"datasets": 2}, Usage(1, 10**12), None),
        ({"sizeBytes": 10}, Usage(10**6, 4), 6),
        ({"sizeBytes": 10}, Usage(1, 10), 0),
    ],
    ids=["no limits", "room for one more", "room for some bytes", "no room, but for what is empty"],
)
def test_rule_17_a_worker_is_told_how_much_room_there_is(
    limits: dict[str, int], usage: Usage, room: int | None
) -> None:
    lab = bucket(limits={"perNamespace": limits})

    assert see.task_of(seen(None, lab, instruments(), usage=usage)).max_size_bytes == room


def test_a_copy_that_was_begun_goes_on_though_others_have_filled_the_quota() -> None:
    lab = bucket(limits={"perNamespace": {"datasets": 1, "sizeBytes": 10}})
    here = stored("proto", registered="u/alice/")

    task = see.task_of(seen(None, lab, instruments(), usage=Usage(5, 50), storage=here))

    assert task.max_size_bytes == 0


def test_what_is_there_is_adopted_whatever_the_quota() -> None:
    lab = bucket(limits={"perNamespace": {"datasets": 1}})

    assert plan_dataset(seen(adopted(), lab, usage=Usage(5), storage=HERE)).actions


def test_other_room_is_not_other_work() -> None:
    lab = bucket(limits={"perNamespace": {"sizeBytes": 100}})
    look = seen(None, lab, instruments(), usage=Usage(1, 50))
    later = seen(None, lab, instruments(), usage=Usage(2, 60), transfer=see.running(look))

    assert "cancel" not in tell(plan_dataset(later)).do


PLACES: dict[str, tuple[Slots, bool]] = {
    "nothing runs": (Slots(), True),
    "one place is left": (Slots(running=3, running_in_bucket=3), True),
    "no place is left": (Slots(running=4), False),
    "no place is left in the bucket": (Slots(running=2, allowed=9, running_in_bucket=4), False),
    "the last place is another namespace's": (
        Slots(running=3, running_in_namespace=3, is_shared=True),
        False,
    ),
    "the last place is for a namespace that runs nothing": (Slots(running=3, is_shared=True), True),
    "the last place of a bucket is another namespace's": (
        Slots(running=3, allowed=9, running_in_bucket=3, running_in_namespace=3, is_bucket_shared=True),
        False,
    ),
    "a bucket that nobody else uses keeps no place": (
        Slots(running=3, allowed=9, running_in_bucket=3, running_in_namespace=3, is_shared=True),
        True,
    ),
    "an only place is nobody's": (
        Slots(allowed=1, allowed_in_bucket=1, is_shared=True, is_bucket_shared=True),
        True,
    ),
    "an only place that is taken": (Slots(running=1, allowed=1, is_shared=True), False),
}


@pytest.mark.parametrize("case", PLACES)
def test_rule_17_a_worker_may_start_where(case: str) -> None:
    slots, is_free = PLACES[case]

    assert slots.is_free is is_free
    assert bool(plan_dataset(seen(slots=slots)).actions) is is_free
