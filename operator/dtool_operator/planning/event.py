"""Which changes of a status users are told by an Event; pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from dtool_operator.api.conditions import Condition, ConditionStatus, ConditionType, find_condition

#: Steps on the way that STATE shows; only their beginning and their end are told.
_SILENT = frozenset({"Pending", "Progressing", "Queued", "Verifying", "Freezing"})
#: Told as normal Events though the object is not Ready.
_NO_WARNING = frozenset({"Copying", "Suspended"})


@dataclass(frozen=True, slots=True)
class Announcement:
    """One Event: a warning where something needs a person."""

    is_warning: bool
    reason: str
    message: str


def announce(old: Iterable[Condition], new: Iterable[Condition]) -> tuple[Announcement, ...]:
    """Tell a Ready that changed its status or reason, and what else has become False for a reason of its own.

    Unknown conditions and steps on the way are not told.
    """
    before, after = tuple(old), tuple(new)
    told: dict[str, Announcement] = {}
    for type_ in (ConditionType.READY, ConditionType.VERIFIED, ConditionType.PREFIXES_RESPECTED):
        was, now = find_condition(before, type_), find_condition(after, type_)
        if now is not None and _is_told(was, now):
            told.setdefault(now.reason, _word(now))
    return tuple(told.values())


def _is_told(was: Condition | None, now: Condition) -> bool:
    if was is not None and (was.status, was.reason) == (now.status, now.reason):
        return False
    if now.type is ConditionType.READY:
        return now.reason not in _SILENT
    return was is not None and now.status is ConditionStatus.FALSE


def _word(condition: Condition) -> Announcement:
    is_warning = condition.status is ConditionStatus.FALSE and condition.reason not in _NO_WARNING
    message = condition.message or f"{condition.type.value} is {condition.status.value}"
    return Announcement(is_warning, condition.reason, message)
