"""How the plugin reads words of its command line, and how it says that they are wrong: in one line."""

import argparse
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import NoReturn, TypeVar

from dtool_operator.cli.failure import ExitCode
from dtool_s3.console.output import printable

Choice = TypeVar("Choice", bound=StrEnum)


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line; the usage is half a screen."""

    def error(self, message: str) -> NoReturn:
        """End with the exit code for a wrong call."""
        self.exit(ExitCode.USAGE, f"kubectl-dtool: {printable(message)}; see `{self.prog} --help`\n")


def one_of(choices: Iterable[Choice]) -> Callable[[str], Choice]:
    """Return a reader of one of these values of an enum; argparse would name the others by their repr."""
    known = {one.value: one for one in choices}

    def read(text: str) -> Choice:
        try:
            return known[text]
        except KeyError:
            raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(known)}") from None

    return read


class Version(argparse.Action):
    """Looks the version up when it is asked for: 30 ms that no other call should pay."""

    def __init__(self, option_strings: list[str], dest: str, help: str | None = None) -> None:  # noqa: A002
        super().__init__(option_strings, dest, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Print it and end."""
        import importlib.metadata  # noqa: PLC0415

        parser.exit(message=f"kubectl-dtool {importlib.metadata.version('dtool-operator')}\n")


def parse_seconds(text: str) -> float:
    """Read `90`, `90s`, `10m` or `2h`; raises ValueError."""
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    number, unit = (text[:-1], units[text[-1]]) if text[-1:] in units else (text, 1.0)
    if not number.isdecimal() or int(number) == 0:
        raise ValueError(text)
    return int(number) * unit


parse_seconds.__name__ = "time"  # argparse names it: "invalid time value"
