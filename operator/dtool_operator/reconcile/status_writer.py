"""Writes statuses and tells Events: the only writer of both; latest wins, nothing equal is written.

Progress alone is written at most every few seconds per object; whatever else changes goes at once.
"""

import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from dtool_operator.adapters.cluster import Cluster, EventType, ObjectRef
from dtool_operator.api.conditions import Condition
from dtool_operator.api.reasons import Reason
from dtool_operator.api.schema import StatusModel
from dtool_operator.errors import ApiFailure, Gone, OperatorError
from dtool_operator.planning.event import announce
from dtool_operator.planning.plan import time_left

_LOG = logging.getLogger(__name__)

PROGRESS_INTERVAL = timedelta(seconds=2)

#: What a later look decides by, and nobody else knows.
_RELIED_ON = frozenset({"job", "source"})

TOLD_REMEMBERED = 16
"""Events remembered for each object, so that they are not repeated."""


class StatusWriter:
    """Compares a wanted status with the known one and writes the difference."""

    def __init__(self, cluster: Cluster, clock: Callable[[], datetime]) -> None:
        self._cluster = cluster
        self._clock = clock
        self._written_at: dict[str, datetime] = {}
        self._told: dict[str, set[tuple[str, str]]] = {}

    async def write(
        self, ref: ObjectRef, old: StatusModel, new: StatusModel, *, resource_version: str
    ) -> Mapping[str, Any] | timedelta | None:
        """Write `new` if it differs from `old`, the status at this resourceVersion.

        Returns the object's new body, or a delay after which progress may be written, or None if nothing
        had to be written. Raises Gone, ApiFailure, and OperatorError where the CRD has no room for what the
        next look needs.
        """
        before, after = old.dump(), new.dump()
        if before == after:
            return None
        if _only_progress(before, after):
            pause = self._pause(ref.uid)
            if pause > timedelta(0):
                return pause
        body = await self._cluster.apply_status(ref, after, resource_version=resource_version)
        self._written_at[ref.uid] = self._clock()
        _check_kept(body, after)
        await self._tell(ref, _conditions(old), _conditions(new))
        return body

    def forget(self, uid: str) -> None:
        """Drop what is remembered of an object that is gone."""
        self._written_at.pop(uid, None)
        self._told.pop(uid, None)

    def _pause(self, uid: str) -> timedelta:
        last = self._written_at.get(uid)
        return timedelta(0) if last is None else time_left(last, PROGRESS_INTERVAL, self._clock())

    async def _tell(self, ref: ObjectRef, old: tuple[Condition, ...], new: tuple[Condition, ...]) -> None:
        """Write Events; they are for people, and losing one changes nothing that programs rely on.

        What was told before is told again only after a success: retries of one failure are not news.
        """
        told = self._told.setdefault(ref.uid, set())
        for announcement in announce(old, new):
            news = (announcement.reason, announcement.message)
            if news in told:
                continue
            if announcement.reason == Reason.SUCCEEDED or len(told) >= TOLD_REMEMBERED:
                told.clear()
            told.add(news)
            kind = EventType.WARNING if announcement.is_warning else EventType.NORMAL
            try:
                await self._cluster.create_event(
                    ref, type=kind, reason=announcement.reason, message=announcement.message
                )
            except (Gone, ApiFailure) as error:
                _LOG.warning("event_not_written", extra={"object": ref.name, "why": error.message})


def _check_kept(body: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Raise OperatorError where an older CRD drops what a Job is found again by: it would begin for ever."""
    lost = sorted(_RELIED_ON & after.keys() - (body.get("status") or {}).keys())
    if not lost:
        return
    fields = ", ".join(f"status.{name}" for name in lost)
    message = f"the CRDs are older than this operator, they drop {fields}: apply those of its chart"
    _LOG.error("crds_outdated", extra={"fields": fields})
    raise OperatorError(Reason.INTERNAL_ERROR, message)


def _only_progress(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Tell whether progress went on and nothing else changed; its first sign goes out at once."""
    return "progress" in before and _without_progress(before) == _without_progress(after)


def _without_progress(status: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in status.items() if key != "progress"}


def _conditions(status: StatusModel) -> tuple[Condition, ...]:
    conditions: tuple[Condition, ...] = getattr(status, "conditions", ())
    return conditions
