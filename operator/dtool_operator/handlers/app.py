"""From start to end of the operator's process: probes, CRDs, Lease, watches, stop. Only here kopf is run.

Owns the order of things and nothing of what the operator does.
"""

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

import kopf

from dtool_operator.adapters.cluster import Cluster
from dtool_operator.adapters.lease import Leadership, LeaseLost
from dtool_operator.handlers.health import HealthServer
from dtool_operator.handlers.informer import Login, build_registry, build_settings
from dtool_operator.handlers.prerequisites import Prerequisites
from dtool_operator.handlers.scope import ScopedSink
from dtool_operator.handlers.sink import Operator
from dtool_operator.handlers.watch import WATCH_PATIENCE, Watch, WatchKeeper
from dtool_operator.metrics import Metrics
from dtool_operator.settings import Settings

_TLS_CLOSE: Final = timedelta(seconds=0.25)
STOP_PATIENCE: Final = timedelta(seconds=5)
"""How long kopf may take to end its watches; what comes after it, the operator's own end, takes its time."""
EXIT_LEASE_LOST: Final = 3
"""Of the process: others may work already, so nothing is ended in order; the kernel ends the workers."""

_LOG = logging.getLogger(__name__)


class OperatorProcess:
    """One run of the operator. `stop` ends it in order, as SIGTERM and SIGINT do."""

    def __init__(
        self,
        settings: Settings,
        cluster: Cluster,
        operator: Operator,
        *,
        metrics: Metrics | None = None,
        leadership: Leadership | None = None,
        login: Login | None = None,
        watch_patience: timedelta = WATCH_PATIENCE,
        end_at_once: Callable[[int], None] = os._exit,
    ) -> None:
        self.stop = asyncio.Event()
        self._is_cleaning = asyncio.Event()
        self._cluster = cluster
        self._operator = operator
        self._metrics = metrics or Metrics()
        self._leadership = leadership
        # before the Lease is had: during an upgrade the old replica works on while the new one cannot begin
        self._prerequisites = Prerequisites(cluster, prepare=operator.prepare)
        self._is_waiting = False
        self._login = login or Login()
        self._end_at_once = end_at_once
        sink = ScopedSink(operator, settings.watch_namespaces)
        self._watch = Watch(sink)
        self._keeper = WatchKeeper(
            self._watch, sink, cluster, interval=settings.resync_interval, patience=watch_patience
        )
        self._keeping: asyncio.Task[None] | None = None
        self._holding: asyncio.Task[None] | None = None
        self._is_started = False
        self._failure: BaseException | None = None
        self.health = HealthServer(
            host=settings.health_host,
            port=settings.health_port,
            find_problem=self.find_problem,
            find_obstacle=self.find_obstacle,
            show_metrics=self._metrics.show,
        )

    async def run(self) -> None:
        """Work until told to stop.

        Raises what ends the operator for a reason of its own: OSError (a port is taken), NotConfigured, or
        whatever kopf ends a watch with. It has stopped in order then too.
        """
        await self.health.start()
        _LOG.info("health_served", extra={"port": self.health.port})
        try:
            self._take_signals()
            if not await self._prerequisites.wait(self.stop) or not await self._lead():
                return
            self._is_started = True
            await self._operator.start()
            self._keep_watch()
            await self._watch_until_told()
            if self._failure is not None:
                raise self._failure
        finally:
            await self._finish()
            # closed TLS connections end in later turns of the event loop; aiohttp cannot be waited for
            await asyncio.sleep(_TLS_CLOSE.total_seconds())

    def find_problem(self) -> str | None:
        """Say what only a restart can mend, or None."""
        return self._operator.is_healthy() or self._keeper.find_problem()

    def find_obstacle(self) -> str | None:
        """Say why the operator does not work yet, or None.

        One that waits for the Lease is ready to: a rolling update ends the old replica, which has the Lease,
        only when the new one is ready. One that cannot even ask for it is not.
        """
        if self._prerequisites.missing is not None:
            return self._prerequisites.missing
        if self._is_waiting and self._leadership is not None and self._leadership.trouble is not None:
            return self._leadership.trouble
        if not self._is_waiting and not self._keeper.is_synced:
            return "not all objects have been seen yet"
        return self.find_problem()

    async def _lead(self) -> bool:
        """Wait until this process is the one that works; False if told to stop before."""
        if self._leadership is None:
            self._metrics.lead(is_leading=True)
            return True
        self._is_waiting = True
        if not await self._leadership.acquire(self.stop):
            return False
        self._is_waiting = False
        self._metrics.lead(is_leading=True)
        self._holding = asyncio.create_task(self._hold(self._leadership), name="lease")
        return True

    async def _hold(self, leadership: Leadership) -> None:
        try:
            await leadership.hold()
        except LeaseLost as lost:
            _LOG.critical("lease_lost", extra={"why": lost.message})
            self._end_at_once(EXIT_LEASE_LOST)

    async def _watch_until_told(self) -> None:
        """Run kopf until told to stop. One that does not stop, all that is ours is ended without it.

        A login that is renewed at the moment of the stop can swallow kopf's own cancellation.
        """
        is_ready = asyncio.Event()
        # made before kopf begins: it ends whatever is made later
        told = asyncio.create_task(self.stop.wait(), name="told to stop")
        cleaning = asyncio.create_task(self._is_cleaning.wait(), name="kopf cleans up")
        taking = asyncio.create_task(self._take_signals_again(is_ready), name="signals")
        watching = asyncio.create_task(self._run_kopf(is_ready), name="kopf")
        try:
            await asyncio.wait({watching, told}, return_when=asyncio.FIRST_COMPLETED)
            patience = STOP_PATIENCE.total_seconds()
            await asyncio.wait({watching, cleaning}, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            if watching.done() or self._is_cleaning.is_set():
                return await watching
            _LOG.warning("kopf_does_not_stop")
            await self._finish()
        finally:
            for task in (told, cleaning, taking, watching):
                task.cancel()
            await asyncio.gather(told, cleaning, taking, watching, return_exceptions=True)

    async def _run_kopf(self, is_ready: asyncio.Event) -> None:
        await kopf.operator(
            registry=self._build_registry(),
            settings=build_settings(),
            standalone=True,
            clusterwide=True,
            ready_flag=is_ready,
            stop_flag=self.stop,
        )

    async def _take_signals_again(self, is_ready: asyncio.Event) -> None:
        """Have signals set `stop`: kopf takes them for itself when it begins."""
        await is_ready.wait()
        self._take_signals()

    def _keep_watch(self) -> None:
        def end_with_it(task: asyncio.Task[None]) -> None:
            if not task.cancelled():
                self._failure = task.exception()
                self.stop.set()

        self._keeping = asyncio.create_task(self._keeper.run(), name="watch keeper")
        self._keeping.add_done_callback(end_with_it)

    def _take_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop.set)

    def _build_registry(self) -> kopf.OperatorRegistry:
        registry = build_registry(self._watch, self._login)

        @kopf.on.cleanup(registry=registry, errors=kopf.ErrorsMode.PERMANENT)
        async def finish(**_: Any) -> None:
            self._is_cleaning.set()
            # before kopf cancels every task that was made since it began, those of the operator included
            await self._finish()
            self.stop.set()  # a task of kopf may still wait for this, and kopf 5 s for that task

        return registry

    async def _finish(self) -> None:
        """End everything; the second time does nothing."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
            self._keeping = None
        if self._is_started:
            self._is_started = False
            await self._operator.stop()
        await self._give_up_lease()
        await self._cluster.close()
        await self.health.stop()

    async def _give_up_lease(self) -> None:
        """Let another process begin, now that nothing works here any more."""
        if self._holding is not None:
            self._holding.cancel()
            await asyncio.gather(self._holding, return_exceptions=True)
            self._holding = None
        if self._leadership is not None:
            leadership, self._leadership = self._leadership, None
            await leadership.release()
