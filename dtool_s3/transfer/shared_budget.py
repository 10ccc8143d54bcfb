"""Room in memory for the chunks of files, shared by all transfers of one event loop; owns who shares it.

A process has at most two loops that move bytes, the caller's and the one of `dtool_s3.blocking`: together
their chunks stay below 256 MB, whatever number of files is on its way.
"""

import asyncio
import os
import threading
from weakref import WeakKeyDictionary

from dtool_s3.transfer.budget import ByteBudget

_lock = threading.Lock()
_budgets: WeakKeyDictionary[asyncio.AbstractEventLoop, ByteBudget] = WeakKeyDictionary()


def _forget_after_fork() -> None:
    """Give the child a lock of its own: the parent's may be held by a thread that does not exist here."""
    global _lock  # noqa: PLW0603 - one lock per process
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_forget_after_fork)


def shared_budget() -> ByteBudget:
    """Return the budget of the running event loop."""
    loop = asyncio.get_running_loop()
    with _lock:
        if (budget := _budgets.get(loop)) is None:
            budget = _budgets[loop] = ByteBudget()
        return budget
