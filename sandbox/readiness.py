"""Waiting for servers of the sandbox to be ready; owns the polling and HTTP probes.

Goes past any proxy of the environment: everything probed is on loopback.
"""

import http.client
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence

from sandbox.errors import ProcessError
from sandbox.process import Process, check_alive

INTERVAL_SECONDS = 0.1
PROBE_SECONDS = 5.0


def wait_until_ready(
    is_ready: Callable[[], bool], *, what: str, processes: Sequence[Process], within_seconds: float
) -> None:
    """Return once `is_ready` answers True; raise ProcessError when a process ends or the time is over."""
    deadline = time.monotonic() + within_seconds
    while not is_ready():
        check_alive(processes)
        if time.monotonic() > deadline:
            logs = "".join(f"\n{each.name}'s log ends with:\n{each.log_tail()}" for each in processes)
            raise ProcessError(f"{what} not ready within {within_seconds:.0f} s{logs}")
        time.sleep(INTERVAL_SECONDS)


def is_answering(url: str, *, tls: ssl.SSLContext | None = None) -> bool:
    """Whether a GET is answered with 200."""
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if tls is not None:
        handlers.append(urllib.request.HTTPSHandler(context=tls))
    try:
        with urllib.request.build_opener(*handlers).open(url, timeout=PROBE_SECONDS) as response:
            return bool(response.status == 200)
    except urllib.error.HTTPError as refusal:
        refusal.close()
        return False
    except (OSError, http.client.HTTPException):  # refused, reset, timed out, or not yet speaking HTTP(S)
        return False
