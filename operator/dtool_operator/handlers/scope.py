"""Lets through what is about the namespaces that this operator watches, where an administrator names some.

The rest of the cluster is then as if it were not there. Decides nothing else.
"""

from collections.abc import Mapping
from typing import Any

from dtool_operator.adapters.cluster import NAMESPACES
from dtool_operator.handlers.sink import EventSink


class ScopedSink:
    """A sink before another; `namespaces` empty: everything passes."""

    def __init__(self, sink: EventSink, namespaces: frozenset[str]) -> None:
        self._sink = sink
        self._namespaces = namespaces

    def object_changed(self, plural: str, body: Mapping[str, Any]) -> None:
        """See EventSink."""
        if self._is_watched(plural, body):
            self._sink.object_changed(plural, body)

    def object_deleted(self, plural: str, body: Mapping[str, Any]) -> None:
        """See EventSink."""
        if self._is_watched(plural, body):
            self._sink.object_deleted(plural, body)

    def watch_synced(self) -> None:
        """See EventSink."""
        self._sink.watch_synced()

    def _is_watched(self, plural: str, body: Mapping[str, Any]) -> bool:
        where = body["metadata"].get("name" if plural == NAMESPACES else "namespace")
        return not self._namespaces or where in self._namespaces
