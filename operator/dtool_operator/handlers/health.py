"""Answers to the kubelet: /healthz (shall it be restarted?) and /readyz (does it work?); and /metrics.

Runs in the operator's event loop on purpose: a loop that hangs does not answer.
"""

from collections.abc import Callable

from aiohttp import web

#: Says what is wrong, or None.
Check = Callable[[], str | None]


class HealthServer:
    """A small HTTP server; `port` is the one it listens on once it was started."""

    def __init__(
        self,
        *,
        host: str,
        port: int,
        find_problem: Check,
        find_obstacle: Check,
        show_metrics: Callable[[], tuple[str, bytes]],
    ) -> None:
        self.port = port
        self._show_metrics = show_metrics
        self._host = host
        self._checks = {"/healthz": find_problem, "/readyz": find_obstacle}
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen; raises OSError if the port is taken."""
        application = web.Application()
        application.router.add_get("/healthz", self._answer)
        application.router.add_get("/readyz", self._answer)
        application.router.add_get("/metrics", self._answer_metrics)
        runner = web.AppRunner(application, handle_signals=False, access_log=None, shutdown_timeout=1)
        await runner.setup()
        self._runner = runner
        await web.TCPSite(runner, self._host, self.port).start()
        self.port = runner.addresses[0][1]

    async def stop(self) -> None:
        """Listen no more; safe to call at any time."""
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        problem = self._checks[request.path]()
        if problem is None:
            return web.Response(text="ok\n")
        status = 500 if request.path == "/healthz" else 503
        return web.Response(status=status, text=f"{problem}\n")

    async def _answer_metrics(self, _: web.Request) -> web.Response:
        content_type, text = self._show_metrics()
        return web.Response(body=text, headers={"Content-Type": content_type})
