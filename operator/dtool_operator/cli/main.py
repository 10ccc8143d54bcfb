"""`kubectl dtool …`: the entry point of `kubectl-dtool`; owns exit codes and that errors are one line.

A command's module is loaded when it is called.
"""

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from dtool_operator.cli.arguments import build_parser
from dtool_operator.cli.failure import CommandFailed, ExitCode, describe_missing
from dtool_operator.cli.kubectl import Kubectl
from dtool_operator.cli.session import Session
from dtool_s3.console.output import printable

#: Attributes of the command line, and kubectl's options of the same meaning.
_OPTIONS = {
    "context": "context",
    "kubeconfig": "kubeconfig",
    "cluster": "cluster",
    "user": "user",
    "as_": "as",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; argparse ends the process with 2 itself."""
    parsed = build_parser().parse_args(arguments)
    given = {option: getattr(parsed, name) for name, option in _OPTIONS.items()}
    kubectl = Kubectl([f"--{option}={value}" for option, value in given.items() if value is not None])
    module, _, name = parsed.perform.partition(":")
    try:
        perform: Callable[[Session], ExitCode] = getattr(import_module(module), name)
        code = perform(Session(parsed, kubectl, sys.stdout, sys.stderr))
        sys.stdout.flush()
    except CommandFailed as error:
        sys.stderr.write(f"kubectl-dtool: {printable(str(error))}\n")
        return error.code
    except ModuleNotFoundError as error:
        sys.stderr.write(f"kubectl-dtool: {printable(describe_missing(error))}\n")
        return ExitCode.FAILED
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:  # whoever read our output has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILED
    return code
