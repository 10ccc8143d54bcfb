"""A process may fork while another of its threads holds one of the library's locks."""

import subprocess
import sys

import pytest

_SCRIPT = """
import asyncio, os, signal
from dtool_s3.transfer import shared_budget
from dtool_s3.settings import Endpoint
from dtool_s3.store.boto import client

async def take_budget():
    shared_budget.shared_budget()

with {lock}:  # as by a thread that is at work at that moment
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        {use}
        os._exit(0)
print("child", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.parametrize(
    ("lock", "use"),
    [
        ("client._building", "client.open_session(Endpoint())"),
        ("shared_budget._lock", "asyncio.run(take_budget())"),
    ],
)
def test_a_child_does_not_wait_for_a_lock_that_only_its_parent_can_free(lock: str, use: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT.format(lock=lock, use=use)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert done.stdout == "child 0\n"
