"""What can follow on a command line: the program `kubectl_complete-dtool`.

kubectl calls it with the words after `kubectl dtool`, the last one unfinished (`""`: not begun). It prints
choices, and last a directive: `:4` no file names, `:6` also no blank behind, `:0` file names. Says nothing of
what goes wrong: nobody could read it there.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Final

from dtool_operator.cli.arguments import build_parser
from dtool_operator.cli.failure import CommandFailed, ExitCode

NO_FILES, NO_SPACE, FILES = ":4", ":6", ":0"

_TIMEOUT: Final = "--request-timeout=2s"
_DATASETS, _BUCKETS = "dtooldatasets.dtool.dev", "dtoolbuckets.dtool.dev"
_STATES: Final = (
    "Pending Copying Verifying Proto Freezing Frozen Damaged Failed Suspended Deleting".split()  # noqa: SIM905
)
_SOURCES: Final = ("s3://", "https://", "dataset/", "stored/", "objects/", "volume/")
#: Options that choose a cluster or a namespace, by attribute, as kubectl takes them.
_CHOOSING: Final = {
    "context": "context",
    "kubeconfig": "kubeconfig",
    "cluster": "cluster",
    "user": "user",
    "as_": "as",
    "namespace": "namespace",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what can follow."""
    words = list(sys.argv[1:] if arguments is None else arguments) or [""]
    try:
        choices, directive = complete(words)
    except CommandFailed:
        choices, directive = [], NO_FILES
    sys.stdout.writelines(f"{choice}\n" for choice in [*choices, directive])
    return ExitCode.DONE


def complete(words: Sequence[str]) -> tuple[list[str], str]:
    """Return what can stand for the last word, and the directive."""
    parser = build_parser()
    *before, last = words
    commands = _find_commands(parser)
    command = next((word for word in before if word in commands), None)
    if command is None:
        names = [f"{name}\t{help_}" for name, help_ in _describe(parser) if name.startswith(last)]
        return names, NO_FILES
    chosen = commands[command]
    rest = before[before.index(command) + 1 :]
    begun, equals, value = last.partition("=")
    option = _find_option(chosen, begun) if equals and begun.startswith("--") else None
    if option is not None:
        choices, directive = _values(option, command, value, rest)
        return [f"{begun}={choice}" for choice in choices], directive
    option = _find_option(chosen, rest[-1]) if rest else None
    if option is not None and option.nargs != 0:
        return _values(option, command, last, rest)
    if last.startswith("-"):
        return _list_options(chosen, last), NO_FILES
    positional = next((action for action in chosen._get_positional_actions()), None)  # noqa: SLF001 - no other way
    return ([], NO_FILES) if positional is None else _values(positional, command, last, rest)


def _find_commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    (found,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))  # noqa: SLF001
    return dict(found.choices)


def _describe(parser: argparse.ArgumentParser) -> list[tuple[str, str]]:
    (found,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))  # noqa: SLF001
    return [(action.dest, action.help or "") for action in found._choices_actions]  # noqa: SLF001


def _find_option(parser: argparse.ArgumentParser, word: str) -> argparse.Action | None:
    return parser._option_string_actions.get(word)  # noqa: SLF001 - argparse shows its options nowhere else


def _list_options(parser: argparse.ArgumentParser, begun: str) -> list[str]:
    return [
        f"{name}\t{action.help or ''}"
        for name, action in parser._option_string_actions.items()  # noqa: SLF001
        if name.startswith(begun) and (name.startswith("--") or begun != "--")
    ]


def _values(action: argparse.Action, command: str, begun: str, rest: Sequence[str]) -> tuple[list[str], str]:
    """Return the values of an option or a positional argument."""
    directive = NO_FILES
    if action.choices is not None:
        values = [str(one) for one in action.choices]
    else:
        match action.dest:
            case "filename" | "kubeconfig":
                return [], FILES
            case "state":
                values = list(_STATES)
            case "source":
                values, directive = _list_sources(begun, rest), NO_SPACE
            case dest:
                values = _ask(dest, command, rest)
    return [value for value in values if value.startswith(begun)], directive


def _list_sources(begun: str, rest: Sequence[str]) -> list[str]:
    if begun.startswith("dataset/"):
        found = _get(_DATASETS, rest, everywhere=True)
        return [f"dataset/{name}" for name in found]
    if begun.startswith(("objects/", "stored/")):
        kind = begun.partition("/")[0]
        return [f"{kind}/{name}/" for name in _get(_BUCKETS, rest, everywhere=True)]
    return list(_SOURCES)


def _ask(dest: str, command: str, rest: Sequence[str]) -> list[str]:
    match dest:
        case "namespace" | "bucket_namespace" | "admin_namespace":
            return _get("namespaces", rest, is_global=True)
        case "context":
            return _call(("config", "get-contexts", "--output=name"), rest)
        case "to_bucket":
            return _get(_BUCKETS, rest, everywhere=True)
        case "bucket" if command == "policy":
            return _get(_BUCKETS, rest)
        case "bucket":
            return _get(_BUCKETS, rest, everywhere=True)
        case "name" | "names" if command in {"status", "verify", "plan"}:
            return [name for name in _get(_DATASETS, rest) if name not in rest]
        case _:
            return []


def _get(
    resource: str, rest: Sequence[str], *, everywhere: bool = False, is_global: bool = False
) -> list[str]:
    """Return names; where all namespaces are asked `NAMESPACE/NAME`."""
    path = "{.metadata.namespace}/{.metadata.name}" if everywhere else "{.metadata.name}"
    form = f'--output=jsonpath={{range .items[*]}}{path}{{"\\n"}}{{end}}'
    place = ("--all-namespaces",) if everywhere else ()
    without = ("namespace",) if everywhere or is_global else ()
    return _call(("get", resource, *place, form, _TIMEOUT), rest, without=without)


def _call(words: Sequence[str], rest: Sequence[str], *, without: Sequence[str] = ()) -> list[str]:
    import shutil  # noqa: PLC0415 - names of commands and options need no kubectl
    import subprocess  # noqa: PLC0415

    program = shutil.which("kubectl")
    if program is None:
        return []
    chosen = [f"--{option}={value}" for option, value in _read_chosen(rest).items() if option not in without]
    done = subprocess.run(  # noqa: S603 - no shell
        [program, *words, *chosen],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    lines = done.stdout.decode(errors="replace").splitlines()
    return [line for line in lines if line and line.isprintable()]


def _read_chosen(rest: Sequence[str]) -> dict[str, str]:
    """Read the options that choose a cluster, from a line that may not be complete."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("-n", "--namespace")
    for dest, option in _CHOOSING.items():
        if dest != "namespace":
            parser.add_argument(f"--{option}", dest=dest)
    try:
        known, _ = parser.parse_known_args(list(rest))
    except (argparse.ArgumentError, SystemExit):
        return {}
    given = vars(known)
    return {option: given[dest] for dest, option in _CHOOSING.items() if given.get(dest) is not None}
