"""Telling the user what a long step does; owns the way it is told."""

from collections.abc import Callable

Say = Callable[[str], None]


def say_at_once(line: str) -> None:
    """Print a line that is seen while the step goes on, also where output goes to a file."""
    print(line, flush=True)
