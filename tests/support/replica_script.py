"""A replica whose work is to say that it works: the operator's process with a stand-in for the operator.

Run as a script with a file: it and a worker of its (a child that the kernel ends with it) append lines
`<who> <seconds on the clock of all processes>` to it as long as they work.
"""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dtool_operator.adapters.cluster import KubernetesCluster
from dtool_operator.adapters.connection import Connection
from dtool_operator.handlers.app import OperatorProcess
from dtool_operator.handlers.leadership import build_leadership
from dtool_operator.logs import configure_logs
from dtool_operator.settings import read_settings

LAUNCH = Path(__file__).parents[2] / "sandbox" / "launch.py"
PAUSE_SECONDS = 0.05


def say(path: str, who: str) -> None:
    """Append one line."""
    with Path(path).open("a") as file:
        file.write(f"{who} {time.monotonic():.3f}\n")


class Worker:
    """The operator's stand-in: works from the sync of its watch until it is stopped."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._task: asyncio.Task[None] | None = None
        self._child: subprocess.Popen[bytes] | None = None

    def object_changed(self, plural: str, body: Mapping[str, Any]) -> None:
        """See EventSink."""

    def object_deleted(self, plural: str, body: Mapping[str, Any]) -> None:
        """See EventSink."""

    def watch_synced(self) -> None:
        """See EventSink."""
        own = [sys.executable, __file__, self._path, "worker"]
        launched = [sys.executable, "-I", "-S", str(LAUNCH), str(os.getpid()), *own]
        self._child = subprocess.Popen(launched)
        self._task = asyncio.create_task(self._work())

    async def prepare(self) -> None:
        """See Operator: it needs nothing."""

    async def start(self) -> None:
        """See Operator."""

    async def stop(self) -> None:
        """See Operator."""
        if self._task is not None and self._child is not None:
            self._task.cancel()
            self._child.kill()
            self._child.wait()

    def is_healthy(self) -> str | None:
        """See Operator."""
        return None

    async def _work(self) -> None:
        while True:
            say(self._path, "leader")
            await asyncio.sleep(PAUSE_SECONDS)


async def run(path: str) -> None:
    """Run one replica."""
    settings = read_settings(os.environ)
    cluster = KubernetesCluster(Connection(), operator_namespace=settings.namespace)
    leadership = build_leadership(settings)
    await OperatorProcess(settings, cluster, Worker(path), leadership=leadership).run()


if __name__ == "__main__":
    if sys.argv[2:] == ["worker"]:
        while True:
            say(sys.argv[1], "worker")
            time.sleep(PAUSE_SECONDS)
    configure_logs()
    asyncio.run(run(sys.argv[1]))
