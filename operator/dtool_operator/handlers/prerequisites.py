"""What the operator cannot begin without: an API server that answers, served CRDs, the right to list.

Waits for them: says in the log what is missing, once for each answer, and in `missing` all the time. A
process that ended instead would be started again and again, and its probes would be silent.
"""

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import Final, Protocol

from dtool_operator.adapters.connection import NotConfigured
from dtool_operator.errors import ApiFailure
from dtool_operator.handlers.watch import PLURALS
from dtool_operator.names import BUCKET_PLURAL, DATASET_PLURAL

_KINDS: Final = frozenset({BUCKET_PLURAL, DATASET_PLURAL})
_FORBIDDEN: Final = 403

_LOG = logging.getLogger(__name__)


class Lister(Protocol):
    """The part of the cluster that is needed here."""

    async def list_served_plurals(self) -> frozenset[str]:
        """List which kinds of ours are served; raises ApiFailure."""

    async def list_metadata(self, plural: str) -> Mapping[str, str]:
        """List uid → resourceVersion; raises ApiFailure."""


class Prerequisites:
    """`missing` says what there is not yet, or None once `wait` has found everything."""

    def __init__(self, cluster: Lister, *, retry: timedelta = timedelta(seconds=2)) -> None:
        self._cluster = cluster
        self._retry = retry
        self.missing: str | None = "the API server has not been asked yet"

    async def wait(self, stop: asyncio.Event) -> bool:
        """Wait until nothing is missing; False if told to stop before. Raises NotConfigured."""
        told = None
        while not stop.is_set():
            self.missing = await self._find_missing()
            if self.missing is None:
                return True
            if self.missing != told:
                _LOG.warning("waiting_to_begin", extra={"why": self.missing})
                told = self.missing
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self._retry.total_seconds())
        return False

    async def _find_missing(self) -> str | None:
        """Look for the first that is missing: kopf looks for CRDs once, and ends where it may not list."""
        try:
            if absent := _KINDS - await self._cluster.list_served_plurals():
                return f"CRDs are missing: {', '.join(sorted(absent))}; they come with the chart"
            for plural in PLURALS:
                await self._cluster.list_metadata(plural)
        except NotConfigured:
            raise
        except ApiFailure as failure:
            if failure.status == _FORBIDDEN:
                return f"rights are missing: {failure.message}; `dtool-operator check` tells all that are"
            return failure.message
        return None
