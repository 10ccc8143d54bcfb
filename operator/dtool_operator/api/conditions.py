"""Conditions after kstatus (rule 20): their types, their values, and how a new set follows an old one."""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import BeforeValidator, Field

from dtool_operator.api.reasons import Reason
from dtool_operator.api.schema import Count, LongText, StatusModel, Timestamp


class ConditionType(StrEnum):
    """The types of both kinds."""

    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    # DtoolBucket
    REACHABLE = "Reachable"
    LISTED = "Listed"
    PREFIXES_RESPECTED = "PrefixesRespected"
    # DtoolDataset
    FROZEN = "Frozen"
    VERIFIED = "Verified"
    METADATA_SYNCED = "MetadataSynced"


class ConditionStatus(StrEnum):
    """As in metav1.Condition."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


def _plain(value: object) -> object:
    # a reason read back from the API server may be newer than this operator's enum: it stays text
    return value.value if isinstance(value, Reason) else value


class Condition(StatusModel):
    """One metav1.Condition."""

    type: ConditionType
    """What is said."""

    status: ConditionStatus
    """Whether it is so."""

    reason: Annotated[str, BeforeValidator(_plain), Field(max_length=128)]
    """Why: one of `Reason`."""

    message: LongText = ""
    """For people: what happened, where, and what to do; sanitized and truncated here."""

    observed_generation: Count = 0
    """metadata.generation of the spec that was looked at."""

    last_transition_time: Timestamp | None = None
    """When `status` last changed; `merge_conditions` sets it."""


def merge_conditions(
    old: Iterable[Condition], new: Iterable[Condition], now: datetime
) -> tuple[Condition, ...]:
    """Give every new condition its lastTransitionTime: the old one where `status` is the same, else `now`.

    `new` is the complete set: a type that is only in `old` goes. The order is that of `new`.
    """
    before = {condition.type: condition for condition in old}

    def since(condition: Condition) -> datetime:
        previous = before.get(condition.type)
        if previous is None or previous.status != condition.status or previous.last_transition_time is None:
            return now
        return previous.last_transition_time

    return tuple(
        Condition.model_validate({**condition.model_dump(), "last_transition_time": since(condition)})
        for condition in new
    )


def find_condition(conditions: Iterable[Condition], type_: ConditionType) -> Condition | None:
    """Return the condition of a type, or None."""
    return next((condition for condition in conditions if condition.type is type_), None)
