"""The entry point of `dtool-s3`: owns exit codes, interruption and that no traceback reaches a user.

Everything heavy is imported after the command line was understood.
"""

import os
import signal
import sys
import traceback
from argparse import Namespace
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from dtool_s3.console.arguments import parse_arguments
from dtool_s3.console.exit_code import ExitCode, UsageError, exit_code

if TYPE_CHECKING:
    from dtool_s3.configuration import Configure
    from dtool_s3.console.output import Output


def main(argv: Sequence[str] | None = None, *, configure: "Configure | None" = None) -> int:
    """Run one command and return its exit code; `configure` replaces dtool's variables (for tests)."""
    arguments = parse_arguments(None if argv is None else list(argv))
    try:
        code = _run(arguments, configure)
        sys.stdout.flush()
    except KeyboardInterrupt:  # while a module was loaded or a question waited
        return ExitCode.INTERRUPTED
    except BrokenPipeError:  # whoever read our output has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILED
    if argv is None and code in {ExitCode.INTERRUPTED, ExitCode.TERMINATED}:
        # requests that hang would be waited for by their threads, long after everything is cleaned up
        sys.stderr.flush()
        os._exit(code)
    return code


def _run(arguments: Namespace, configure: "Configure | None") -> ExitCode:
    import asyncio  # noqa: PLC0415 - see the module's docstring

    from dtool_s3.configuration import close_stores, read_configuration  # noqa: PLC0415
    from dtool_s3.console.hints import Asked, hint  # noqa: PLC0415
    from dtool_s3.console.output import Output  # noqa: PLC0415

    output = Output(sys.stdout, sys.stderr, is_json=arguments.json, is_quiet=arguments.quiet)
    if arguments.question and not arguments.yes and not _confirm(arguments, output):
        return ExitCode.USAGE
    if configure is None:
        configure = partial(read_configuration, config_path=arguments.config)
    try:
        code = asyncio.run(_perform(arguments, configure, output))
    except KeyboardInterrupt:
        output.note(f"dtool-s3: interrupted{_how_to_go_on(arguments)}")
        return ExitCode.INTERRUPTED
    except _Terminated:
        output.note(f"dtool-s3: ended by SIGTERM{_how_to_go_on(arguments)}")
        return ExitCode.TERMINATED
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - the entry point: every failure becomes one line and a code
        if arguments.traceback:
            traceback.print_exc()
        asked = Asked(arguments.command, getattr(arguments, "source_uri", ""))
        output.error(error, hint(error, asked))
        code = exit_code(error)
    close_stores()
    return code


def _how_to_go_on(arguments: Namespace) -> str:
    """Say how an interrupted command goes on, where it can; `ingest` needs the UUID that it took."""
    match arguments.command:
        case "cp" | "rm":
            return ": call the same again, it goes on where it was"
        case "ingest" if arguments.uuid is not None:
            return f": call the same again with --uuid {arguments.uuid}, it goes on where it was"
    return ""


class _Terminated(BaseException):
    """SIGTERM came, and the command has cleaned up."""


async def _perform(arguments: Namespace, configure: "Configure", output: "Output") -> ExitCode:
    import asyncio  # noqa: PLC0415 - see the module's docstring

    from dtool_s3.console.progress import showing_progress  # noqa: PLC0415
    from dtool_s3.console.session import Session  # noqa: PLC0415

    module, _, name = arguments.perform.partition(":")
    perform: Callable[[Session], Coroutine[Any, Any, ExitCode]] = getattr(import_module(module), name)
    is_ended = False

    def end() -> None:
        nonlocal is_ended
        is_ended = True
        task.cancel()

    loop = asyncio.get_running_loop()
    with showing_progress(output) as (on_progress, printing):
        task = loop.create_task(perform(Session(arguments, configure, printing, on_progress)))
        with suppress(NotImplementedError):  # Windows
            loop.add_signal_handler(signal.SIGTERM, end)
        try:
            return await task
        except asyncio.CancelledError:
            if is_ended:
                raise _Terminated from None
            raise
        finally:
            with suppress(NotImplementedError):
                loop.remove_signal_handler(signal.SIGTERM)


def _confirm(arguments: Namespace, output: "Output") -> bool:
    """Ask at a terminal; elsewhere nobody could answer."""
    question = arguments.question.format_map(vars(arguments))
    if not (sys.stdin.isatty() and sys.stderr.isatty()) or output.is_json:
        output.error(UsageError("this removes data for good: say --yes where nobody can be asked"))
        return False
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
