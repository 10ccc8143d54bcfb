"""How a command of the plugin ends: its exit codes, the one error that it ends with otherwise, and its words.

`dtool-operator` says in the same words that it was installed without its extra.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """What the exit code says; `kubectl dtool --help` and docs/kubectl-dtool.md print this."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NOT_AS_ASKED = 3
    TIMED_OUT = 4
    INTERRUPTED = 130


MEANINGS = {
    ExitCode.DONE: "done",
    ExitCode.FAILED: "failed or refused, by the API server for example; the line on standard error says why",
    ExitCode.USAGE: "called wrongly; nothing was done",
    ExitCode.NOT_AS_ASKED: (
        "looked at, and not as asked: Stalled, Damaged, Suspended or deleted while it was waited for; "
        "of `plan`: it would end Stalled, or cannot be told"
    ),
    ExitCode.TIMED_OUT: "--timeout is over",
    ExitCode.INTERRUPTED: "interrupted by Ctrl-C",
}


class CommandFailed(Exception):
    """The command cannot do what it is asked; the message says why, the hint what to do next.

    `reason`: the API server's, `NotFound` or `Forbidden` for example; empty where it gave none.
    """

    def __init__(
        self, message: str, hint: str = "", *, reason: str = "", code: ExitCode = ExitCode.FAILED
    ) -> None:
        super().__init__(f"{message}; {hint}" if hint else message)
        self.message, self.hint, self.reason, self.code = message, hint, reason, code


def describe_missing(error: ModuleNotFoundError) -> str:
    """Say which module is not installed; `pip install .` leaves out the extra that has it."""
    module = (error.name or str(error)).partition(".")[0]
    return f"the Python module {module} is not installed; run `pip install 'dtool-operator[operator]'`"
