"""The command line: every command leads to a function, and --help tells the exit codes without delay."""

import argparse
import inspect
import subprocess
import sys
from importlib import import_module

import pytest

from dtool_s3.console.arguments import build_parser
from dtool_s3.console.exit_code import MEANINGS, ExitCode

COMMANDS = {
    name: parser
    for action in build_parser()._actions
    if isinstance(action, argparse._SubParsersAction)
    for name, parser in action.choices.items()
}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_leads_to_a_coroutine_function(name: str) -> None:
    module, _, function = COMMANDS[name].get_default("perform").partition(":")

    assert inspect.iscoroutinefunction(getattr(import_module(module), function))


def test_every_exit_code_is_explained_in_the_help() -> None:
    assert set(MEANINGS) == set(ExitCode)
    shown = build_parser().format_help()
    assert all(f"{code.value:>3}  {meaning}" in shown for code, meaning in MEANINGS.items())


def test_options_of_all_commands_may_stand_before_and_after_the_command() -> None:
    parse = build_parser().parse_args

    assert parse(["--concurrency", "4", "ls", "s3://b"]).concurrency == 4
    assert parse(["ls", "--concurrency", "4", "s3://b"]).concurrency == 4
    assert parse(["ls", "s3://b"]).concurrency is None


def test_help_loads_neither_an_event_loop_nor_any_client() -> None:
    code = (
        "import sys\nfrom dtool_s3.console.main import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "print(*sys.modules, file=sys.stderr)"
    )

    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    heavy = {"asyncio", "boto3", "botocore", "dtoolcore", "obstore", "rich", "ssl"}
    assert heavy.isdisjoint(ran.stderr.split())
