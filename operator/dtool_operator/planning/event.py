"""Which changes of a status users are told by an Event; pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from dtool_operator.api.conditions import Condition, ConditionStatus, ConditionType, find_condition

_TOLD = (ConditionType.READY, ConditionType.VERIFIED, ConditionType.PREFIXES_RESPECTED)


@dataclass(frozen=True, slots=True)
class Announcement:
    """One Event: a warning where something needs a person."""

    is_warning: bool
    reason: str
    message: str


def announce(old: Iterable[Condition], new: Iterable[Condition]) -> tuple[Announcement, ...]:
    """Tell the conditions whose status or reason changed; progress and unknown ones are not told."""
    before = tuple(old)
    told = []
    is_stalled = find_condition(new := tuple(new), ConditionType.STALLED) is not None
    for type_ in _TOLD:
        now, was = find_condition(new, type_), find_condition(before, type_)
        if now is None or now.status is ConditionStatus.UNKNOWN:
            continue
        if was is not None and (was.status, was.reason) == (now.status, now.reason):
            continue
        if type_ is not ConditionType.READY and (was is None or now.status is ConditionStatus.TRUE):
            continue
        is_bad = now.status is ConditionStatus.FALSE and (is_stalled or now.reason not in _UNDER_WAY)
        told.append(Announcement(is_bad, now.reason, now.message or f"{type_.value} is {now.status.value}"))
    return tuple(told)


_UNDER_WAY = frozenset({"Pending", "Queued", "Copying", "Verifying", "Freezing", "Suspended"})
