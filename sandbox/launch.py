"""Becomes another program that is killed when the process that started it dies.

Run as a script: `launch.py PARENT_PID PROGRAM [ARGUMENT...]`. A launcher, because a parent-death signal can
only be asked for by the child itself, and code between fork and exec is unsafe in a process with threads.
Must import nothing of the sandbox: it runs with an isolated, empty module path.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # prctl(2)


def main() -> None:
    """Ask for the signal and become the program."""
    parent, argv = int(sys.argv[1]), sys.argv[2:]
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        sys.exit(f"the process {parent} that wanted {argv[0]} is gone")
    os.execv(argv[0], argv)  # noqa: S606


if __name__ == "__main__":
    main()
