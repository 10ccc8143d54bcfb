"""What the operator cannot begin without: an API server that answers, served CRDs, rights, own preparations.

Waits for them: says in the log what is missing, once for each answer, and in `missing` all the time. A
process that ended instead would be started again and again, and its probes would be silent.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Final, Protocol

from dtool_operator.adapters.connection import NotConfigured
from dtool_operator.errors import ApiFailure, OperatorError
from dtool_operator.handlers.watch import PLURALS
from dtool_operator.names import BUCKET_PLURAL, DATASET_PLURAL

_KINDS: Final = frozenset({BUCKET_PLURAL, DATASET_PLURAL})
_FORBIDDEN: Final = 403
_ASK: Final = "`dtool-operator check` tells all that are"
_FIRST_PAUSE: Final = timedelta(seconds=1)
_LONGEST_PAUSE: Final = timedelta(seconds=8)

#: Has the operator get what it needs, until it raises no OperatorError.
Prepare = Callable[[], Awaitable[None]]

_LOG = logging.getLogger(__name__)


class Lister(Protocol):
    """The part of the cluster that is needed here."""

    async def list_served_plurals(self) -> frozenset[str]:
        """List which kinds of ours are served; raises ApiFailure."""

    async def list_metadata(self, plural: str) -> Mapping[str, str]:
        """List uid → resourceVersion; raises ApiFailure."""

    async def may_watch(self, plural: str) -> bool:
        """Tell whether a watch is allowed; raises ApiFailure."""


class Prerequisites:
    """`missing` says what there is not yet, or None once `wait` has found everything."""

    def __init__(self, cluster: Lister, *, prepare: Prepare, first_pause: timedelta = _FIRST_PAUSE) -> None:
        self._cluster = cluster
        self._prepare = prepare
        self._first_pause = first_pause
        self.missing: str | None = "the API server has not been asked yet"

    async def wait(self, stop: asyncio.Event) -> bool:
        """Wait until nothing is missing; False if told to stop before. Raises NotConfigured."""
        finding = asyncio.create_task(self._find_everything(), name="prerequisites")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        try:
            # a look is not waited for: an API server that takes requests and is silent holds it for minutes
            await asyncio.wait({finding, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if finding.done():
                finding.result()
            return finding.done()
        finally:
            finding.cancel()
            stopping.cancel()
            await asyncio.gather(finding, stopping, return_exceptions=True)

    async def _find_everything(self) -> None:
        """Look again and again, with pauses that grow as long as the answer is the same."""
        told, pause = None, self._first_pause
        while (missing := await self._find_missing()) is not None:
            self.missing = missing
            if missing != told:
                _LOG.warning("waiting_to_begin", extra={"why": missing})
                told, pause = missing, self._first_pause
            await asyncio.sleep(pause.total_seconds())
            pause = min(2 * pause, _LONGEST_PAUSE)
        self.missing = None

    async def _find_missing(self) -> str | None:
        """Look for the first that is missing: kopf looks for CRDs once, and ends where it may not list."""
        try:
            if absent := _KINDS - await self._cluster.list_served_plurals():
                return f"CRDs are missing: {', '.join(sorted(absent))}; they come with the chart"
            for plural in PLURALS:
                await self._cluster.list_metadata(plural)
                if not await self._cluster.may_watch(plural):
                    return f"rights are missing: watch {plural}; {_ASK}"
            await self._prepare()
        except NotConfigured:
            raise
        except ApiFailure as failure:
            if failure.status == _FORBIDDEN:
                return f"rights are missing: {failure.message}; {_ASK}"
            return failure.message
        except OperatorError as error:
            return error.message
        return None
