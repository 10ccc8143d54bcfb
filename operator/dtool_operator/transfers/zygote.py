"""The process that workers are forked from: it has loaded everything and opened nothing.

Owns fork and the end of workers. It holds no keys and no threads, runs no event loop and decides nothing:
what a worker does is `worker.run_transfer`, in a process, session, directory and environment of its own. A
worker that dies harms nobody else; with the zygote all of them die, and it dies with the operator.

Messages are JSON datagrams on a socket that it inherits. In: `{"start": n, "directory": path}`, with the
descriptors of standard output and standard error, and `{"signal": number, "worker": n}`. Out:
`{"started": n}`, `{"refused": n, "error": text}`, `{"ended": n, "status": what subprocess calls returncode}`.
"""

import ctypes
import gc
import json
import os
import resource
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

TASK_FILE = "task.json"
ENVIRONMENT_FILE = "environment.json"
MAX_MESSAGE_BYTES = 16 * 1024

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_CRASHED = 70
#: The operator was gone before the work began. Nothing was written, nothing was done.
_ORPHANED = 3

#: Does the work of a task file in a forked child; returns the exit code.
RunTask = Callable[[Path], int]


def serve(control: socket.socket, run_task: RunTask, *, parent_pid: int) -> None:
    """Fork a worker for every order until `control` is closed: then the operator has gone, or is going."""
    if not die_with_parent(parent_pid):
        return
    _Zygote(control, run_task).serve()


class _Zygote:
    def __init__(self, control: socket.socket, run_task: RunTask) -> None:
        self._control = control
        self._run_task = run_task
        self._numbers: dict[int, int] = {}
        self._pids: dict[int, int] = {}
        self._woken, self._waker = os.pipe()

    def serve(self) -> None:
        os.set_blocking(self._waker, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        gc.collect()
        gc.freeze()  # what is shared with the workers stays shared: no collection writes to it
        with suppress(BrokenPipeError, ConnectionResetError):  # the operator has gone
            while self._serve_once():
                pass

    def _serve_once(self) -> bool:
        readable, _, _ = select.select([self._control.fileno(), self._woken], [], [])
        if self._woken in readable:
            os.read(self._woken, 4096)
            self._reap()
        return self._control.fileno() not in readable or self._obey()

    def _obey(self) -> bool:
        """Take one order; False when the operator has gone."""
        message, descriptors, _, _ = socket.recv_fds(self._control, MAX_MESSAGE_BYTES, 2)
        if not message:
            return False
        try:
            order = json.loads(message)
            if "start" in order:
                self._start(order["start"], order["directory"], descriptors)
            elif (pid := self._pids.get(order["worker"])) is not None:
                os.kill(pid, order["signal"])  # it is ours and not reaped: the pid is nobody else's
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        return True

    def _start(self, number: int, directory: str, outputs: Sequence[int]) -> None:
        parent = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            self._tell(refused=number, error=error.strerror)
            return
        if pid == 0:
            self._become_worker(Path(directory), outputs, parent)
        self._pids[number], self._numbers[pid] = pid, number
        self._tell(started=number)

    def _reap(self) -> None:
        """Tell of every worker that has ended."""
        while self._pids:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            number = self._numbers.pop(pid)
            del self._pids[number]
            self._tell(ended=number, status=os.waitstatus_to_exitcode(status))

    def _tell(self, **message: object) -> None:
        self._control.send(json.dumps(message).encode())

    def _become_worker(self, directory: Path, outputs: Sequence[int], parent: int) -> NoReturn:
        """Leave everything of the zygote behind, work, and end without going back."""
        code = _CRASHED
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.setsid()
            for descriptor, standard in zip(outputs, (1, 2), strict=True):
                os.dup2(descriptor, standard)
                os.close(descriptor)
            self._control.close()
            os.close(self._woken)
            os.close(self._waker)
            gc.unfreeze()
            code = self._work(directory) if die_with_parent(parent) else _ORPHANED
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else _CRASHED
        except BaseException:  # noqa: BLE001 - nothing of a worker may reach the zygote's loop
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _work(self, directory: Path) -> int:
        os.chdir(directory)
        _take_environment(directory / ENVIRONMENT_FILE)
        return self._run_task(directory / TASK_FILE)


def die_with_parent(parent_pid: int) -> bool:
    """Ask the kernel to kill this process when its parent ends; False if that has happened already.

    SIGKILL, because nothing may hold it up: a second worker may soon write to the same place. What it leaves
    half done the next run finds. Source: prctl(2), PR_SET_PDEATHSIG; Linux only.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    return os.getppid() == parent_pid


def keep_memory_private() -> None:
    """Let no crash write this process's memory to a disk, nor others of the same user read it: it has keys.

    Children inherit it until they execute another program. Source: prctl(2), PR_SET_DUMPABLE; a pipe in
    core_pattern would not heed the limit alone.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def _take_environment(file: Path) -> None:
    """Replace the variables by those in a file: the zygote itself must not have seen an operator's keys."""
    variables: dict[str, str] = json.loads(file.read_bytes())
    file.unlink()
    os.environ.clear()
    os.environ.update(variables)


def _load_workers_code() -> RunTask:
    """Load what every worker needs, so that it is loaded once; no thread starts and nothing is opened."""
    import dtoolcore  # noqa: F401, PLC0415 - it freezes and names datasets

    from dtool_operator.transfers import worker  # noqa: PLC0415
    from dtool_s3.store.warming import warm_up  # noqa: PLC0415

    warm_up()
    return lambda task_file: worker.run_transfer(task_file, output=sys.stdout)


def main() -> None:
    """Serve on the descriptor that the first argument names; the second is the operator's pid."""
    keep_memory_private()
    control = socket.socket(fileno=int(sys.argv[1]))
    serve(control, _load_workers_code(), parent_pid=int(sys.argv[2]))


if __name__ == "__main__":
    main()
