"""A small process beside the operator that kills it when its Lease was not renewed in time.

Nothing within the operator can do that: a process that is stopped runs no code, and its workers go on
without it. The kernel kills them with the operator. Run as a script this module is that process; it then
knows nothing but the standard library, and ends when the operator does.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time

_LONGEST_SLEEP_SECONDS = 1.0  # poll(2) does not count the time of a suspended machine
_LINE_MAXIMUM = 64


class ProcessFence:
    """Implements `adapters.lease.Fence`. It stands from the first deadline on."""

    def __init__(self, *, margin_seconds: float) -> None:
        self._margin_seconds = margin_seconds
        self._guard = subprocess.Popen(  # noqa: S603 - this very file
            [sys.executable, "-I", "-S", __file__, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def extend(self, deadline: float) -> None:
        """See the protocol. A guard that is gone raises BrokenPipeError."""
        assert self._guard.stdin is not None
        os.write(self._guard.stdin.fileno(), f"{deadline + self._margin_seconds:.3f}\n".encode())

    def close(self) -> None:
        """See the protocol."""
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._guard.wait(timeout=5)


def guard(ward: int, *, commands: int) -> None:
    """Kill the process `ward`, the parent, unless newer deadlines come before the last has passed.

    `commands` is a file descriptor from which lines with deadlines (CLOCK_BOOTTIME) are read.
    """
    handle = os.pidfd_open(ward)
    if os.getppid() != ward:
        return
    deadline, rest = float("inf"), b""
    while (now := time.clock_gettime(time.CLOCK_BOOTTIME)) < deadline:
        ready, _, _ = select.select([commands], [], [], min(_LONGEST_SLEEP_SECONDS, deadline - now))
        if not ready:
            continue
        said = os.read(commands, 4096)
        if not said:
            return  # the operator has ended, or has taken the fence down
        *lines, rest = (rest + said).split(b"\n")
        rest = rest[:_LINE_MAXIMUM]
        deadline = float(lines[-1]) if lines else deadline
    signal.pidfd_send_signal(handle, signal.SIGKILL)


if __name__ == "__main__":
    guard(int(sys.argv[1]), commands=0)
