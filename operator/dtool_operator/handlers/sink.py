"""What the handlers expect of the operator behind them. Protocols only."""

from collections.abc import Mapping
from typing import Any, Protocol


class EventSink(Protocol):
    """Takes in what the watches see. Methods return at once, do no I/O and raise nothing.

    `plural` is that of one of our kinds, or `namespaces`.
    """

    def object_changed(self, plural: str, body: Mapping[str, Any]) -> None:
        """Take in an object as it is now: created, changed, or seen again without a change."""

    def object_deleted(self, plural: str, body: Mapping[str, Any]) -> None:
        """Take in that an object is gone; `body` has at least metadata.uid, name and namespace."""

    def watch_synced(self) -> None:
        """Take in, once, that every object that existed at a moment after the start has been told."""


class Operator(EventSink, Protocol):
    """The operator without kopf."""

    async def prepare(self) -> None:
        """Get what `start` needs of the API server, before the Lease. Raises OperatorError: call it again."""

    async def start(self) -> None:
        """Begin to work. Raises OSError (a port is taken), OperatorError."""

    async def stop(self) -> None:
        """End all work in order; nothing runs afterwards."""

    def is_healthy(self) -> str | None:
        """Say what is wrong that only a restart can mend, or None."""
