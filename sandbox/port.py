"""Free TCP ports on loopback; owns the choice, not the use."""

import contextlib
import secrets
import socket
from collections.abc import Callable
from typing import TypeVar

from sandbox.errors import ProcessError

# Below Linux's range for outgoing connections (32768 and up), even with 10000 added.
LOWEST, HIGHEST = 10_240, 22_767
TRIES = 1_000
ATTEMPTS = 3

T = TypeVar("T")


def find_free_ports(count: int, *, also_plus: int = 0) -> list[int]:
    """Find `count` ports nobody listens on; with `also_plus`, each port + also_plus is free as well."""
    found: list[int] = []
    with contextlib.ExitStack() as held:
        for _ in range(TRIES):
            if len(found) == count:
                return found
            port = LOWEST + secrets.randbelow(HIGHEST - LOWEST + 1)
            if _hold(held, port) and (not also_plus or _hold(held, port + also_plus)):
                found.append(port)
    raise ProcessError(f"no {count} free ports between {LOWEST} and {HIGHEST} on 127.0.0.1")


def with_free_ports(start: Callable[[], T]) -> T:
    """Call `start`, and again when somebody took one of its ports between the choice and the use."""
    for _ in range(ATTEMPTS - 1):
        try:
            return start()
        except ProcessError as error:
            if "address already in use" not in str(error):
                raise
    return start()


def _hold(held: contextlib.ExitStack, port: int) -> bool:
    """Bind the port until the stack closes, so that no second choice falls on it."""
    listener = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
    try:
        listener.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True
