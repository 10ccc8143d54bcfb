"""The operator as `python -m dtool_operator run` builds it, which kills itself at one point of its plans.

The point is named by the variable TEST_CRASH_POINT, `<Action>:before` or `<Action>:after`. SIGKILL: nothing
is cleaned up, as when the machine is lost.
"""

import asyncio
import os
import signal

from dtool_operator.adapters.cluster import KubernetesCluster
from dtool_operator.adapters.connection import Connection
from dtool_operator.handlers.app import OperatorProcess
from dtool_operator.logs import configure_logs
from dtool_operator.reconcile.build import build_operator
from dtool_operator.reconcile.job_service import JobService
from dtool_operator.reconcile.worker_settings import read_worker_settings
from dtool_operator.settings import read_settings


def crash_point(name: str) -> None:
    """Die here, if this is the point."""
    if name == os.environ["TEST_CRASH_POINT"]:
        os.kill(os.getpid(), signal.SIGKILL)


async def run() -> None:
    """Run the operator until it dies."""
    settings = read_settings(os.environ)
    connection = Connection()
    cluster = KubernetesCluster(connection, operator_namespace=settings.namespace)
    jobs = JobService(settings, read_worker_settings(settings), connection)
    operator = build_operator(settings, cluster, crash_point=crash_point, jobs=jobs)
    await OperatorProcess(settings, cluster, operator).run()


if __name__ == "__main__":
    configure_logs("info")
    asyncio.run(run())
