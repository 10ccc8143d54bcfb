"""Conditions: lastTransitionTime, dump, text."""

from datetime import UTC, datetime, timedelta

import pytest

from dtool_operator.api.conditions import (
    Condition,
    ConditionStatus,
    ConditionType,
    find_condition,
    merge_conditions,
)
from dtool_operator.api.reasons import Reason

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
BEFORE = NOW - timedelta(hours=1)


def ready(
    status: ConditionStatus, reason: str = Reason.PENDING, message: str = "", since: datetime | None = None
) -> Condition:
    return Condition(
        type=ConditionType.READY,
        status=status,
        reason=reason,
        message=message,
        observed_generation=2,
        last_transition_time=since,
    )


def test_the_first_condition_of_a_type_begins_now() -> None:
    (merged,) = merge_conditions([], [ready(ConditionStatus.FALSE)], NOW)

    assert merged.last_transition_time == NOW


def test_a_new_reason_and_message_keep_the_time_as_long_as_the_status_stays() -> None:
    """Rule 20."""
    old = ready(ConditionStatus.FALSE, Reason.PENDING, since=BEFORE)
    new = ready(ConditionStatus.FALSE, Reason.COPYING, "copies")

    (merged,) = merge_conditions([old], [new], NOW)

    assert merged == ready(ConditionStatus.FALSE, Reason.COPYING, "copies", since=BEFORE)


def test_a_new_status_begins_now() -> None:
    old = ready(ConditionStatus.FALSE, since=BEFORE)

    (merged,) = merge_conditions([old], [ready(ConditionStatus.TRUE, Reason.FROZEN)], NOW)

    assert merged.last_transition_time == NOW


def test_a_condition_read_without_its_time_begins_now() -> None:
    (merged,) = merge_conditions([ready(ConditionStatus.TRUE)], [ready(ConditionStatus.TRUE)], NOW)

    assert merged.last_transition_time == NOW


def test_the_new_set_decides_which_conditions_there_are_and_in_which_order() -> None:
    stalled = ready(ConditionStatus.TRUE).model_copy(update={"type": ConditionType.STALLED})
    frozen = ready(ConditionStatus.TRUE).model_copy(update={"type": ConditionType.FROZEN})
    old = [stalled, ready(ConditionStatus.TRUE, since=BEFORE)]

    merged = merge_conditions(old, [frozen, ready(ConditionStatus.TRUE)], NOW)

    assert [condition.type for condition in merged] == [ConditionType.FROZEN, ConditionType.READY]
    assert find_condition(merged, ConditionType.STALLED) is None
    assert find_condition(merged, ConditionType.READY) is merged[1]


def test_merging_again_changes_nothing() -> None:
    first = merge_conditions([], [ready(ConditionStatus.TRUE, Reason.FROZEN)], NOW)

    assert merge_conditions(first, first, NOW + timedelta(days=1)) == first


def test_a_condition_is_dumped_as_kubernetes_wants_it() -> None:
    assert ready(ConditionStatus.FALSE, Reason.UUID_TAKEN, since=NOW).dump() == {
        "type": "Ready",
        "status": "False",
        "reason": "UUIDTaken",
        "message": "",
        "observedGeneration": 2,
        "lastTransitionTime": "2026-11-22T12:00:00Z",
    }


def test_a_message_is_sanitized_and_truncated() -> None:
    condition = ready(ConditionStatus.FALSE, message="line\nbreak " + "x" * 2000)

    assert condition.message.startswith("line break xxx")
    assert len(condition.message) == 1024


def test_a_reason_of_a_newer_operator_is_kept_as_text() -> None:
    assert ready(ConditionStatus.FALSE, "SomethingNew").reason == "SomethingNew"


@pytest.mark.parametrize("reason", [Reason.FROZEN, "Frozen"])
def test_a_reason_is_plain_text_in_a_condition(reason: str) -> None:
    assert type(ready(ConditionStatus.TRUE, reason).reason) is str
