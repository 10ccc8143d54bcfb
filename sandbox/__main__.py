"""`python -m sandbox`: the sandbox from the command line; owns arguments and exit codes alone."""

import argparse
import sys
from pathlib import Path

from sandbox.binaries import find_binaries
from sandbox.errors import SandboxError
from sandbox.say import say_at_once
from sandbox.session import bring_down, bring_up, bring_up_operator, describe, is_whole

COMMANDS = {
    "build": "build the control plane, if it is not in the cache yet",
    "up": "start everything, and print what to export",
    "operator": "start the operator again, if it is not running",
    "status": "list the processes; exits 1 unless all run",
    "down": "end everything and remove the directory",
}


def main() -> int:
    """Run one command; errors are one line, without a traceback."""
    parser = argparse.ArgumentParser(prog="python -m sandbox", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, purpose in COMMANDS.items():
        command = commands.add_parser(name, help=purpose)
        command.add_argument("--directory", type=Path, default=Path(".sandbox"), help="default: %(default)s")
    arguments = parser.parse_args()
    try:
        return _run(arguments.command, arguments.directory.resolve())
    except SandboxError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _run(command: str, directory: Path) -> int:
    match command:
        case "build":
            find_binaries()
        case "up":
            sandbox = bring_up(directory)
            say_at_once(
                f"\nThese lines are in {directory / 'env'} too, to be sourced:\n\n{sandbox.exports()}"
            )
            say_at_once("`make sandbox-down` ends it; the README has a story to play.")
        case "operator":
            bring_up_operator(directory)
        case "status":
            say_at_once(describe(directory))
            return 0 if is_whole(directory) else 1
        case _:
            bring_down(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
