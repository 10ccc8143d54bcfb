"""How a wait looks: bars at a terminal, a line for each change elsewhere, documents for programs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TextIO

from dtool_operator.cli.follow import Change
from dtool_operator.cli.output import Format, write_document, write_line
from dtool_operator.cli.view import DatasetView
from dtool_s3.console.output import format_size, printable

Show = Callable[[Change], None]

_WORKING = frozenset({"Pending", "Copying", "Verifying", "Freezing", "Deleting"})


@contextmanager
def showing(output: TextIO, form: Format) -> Iterator[Show]:
    """Give a function that shows a change."""
    if form is Format.JSON:
        yield lambda change: write_line(output, _document(change))
    elif form is Format.YAML:
        yield lambda change: _write_yaml(output, change)
    elif output.isatty():
        with _drawing(output) as show:
            yield show
    else:
        yield _telling(output)


def describe(view: DatasetView) -> str:
    """Say in a few words how far a dataset is, or why it does not go on."""
    words = [view.state]
    if view.progress is not None and view.state in _WORKING:
        now = view.progress
        words += [now.percent, f"{now.items}/{now.items_total} items"]
        words += [f"{format_size(now.bytes)} of {format_size(now.bytes_total)}"] if now.bytes_total else []
        words += [f"{format_size(now.bytes_per_second)}/s"] if now.bytes_per_second else []
    elif view.ready == "True" and view.items is not None:
        words += [f"{view.items} items", view.size]
    if view.ready == "False" and view.reason != view.state:
        words += [f"{view.reason}: {view.message}" if view.message else view.reason]
    return printable(" ".join(word for word in words if word))


def _document(change: Change) -> dict[str, Any]:
    return {**change.view.document(), "deleted": change.is_gone}


def _write_yaml(output: TextIO, change: Change) -> None:
    output.write("---\n")
    write_document(output, _document(change), Format.YAML)
    output.flush()


def _telling(output: TextIO) -> Show:
    """Print a line where what is said of a dataset changed."""
    said: dict[tuple[str, str], str] = {}

    def show(change: Change) -> None:
        words = "deleted" if change.is_gone else describe(change.view)
        if said.get(change.view.key) == words:
            return
        said[change.view.key] = words
        name = printable("/".join(change.view.key))
        output.write(f"{datetime.now(UTC):%H:%M:%SZ} {name} {words}\n")
        output.flush()

    return show


@contextmanager
def _drawing(output: TextIO) -> Iterator[Show]:
    """Draw a bar for what goes on; what has come to rest becomes a line above."""
    from rich.console import Console  # noqa: PLC0415 - 40 ms, at a terminal only
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn  # noqa: PLC0415

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[words]}", markup=False),
    )
    console = Console(file=output, highlight=False)
    with Progress(*columns, console=console, transient=True) as bars:
        drawn: dict[tuple[str, str], Any] = {}
        tell = _telling_above(console)

        def show(change: Change) -> None:
            view, key = change.view, change.view.key
            if change.is_gone or view.state not in _WORKING:
                if key in drawn:
                    bars.remove_task(drawn.pop(key))
                tell(change)
                return
            if key not in drawn:
                drawn[key] = bars.add_task(printable("/".join(key)), total=None, words="")
            now = view.progress
            done, total = (
                (0, None) if now is None else _share(now.bytes, now.bytes_total, now.items, now.items_total)
            )
            bars.update(drawn[key], completed=done, total=total, words=describe(view))

        yield show


def _share(size: int, size_total: int, items: int, items_total: int) -> tuple[int, int | None]:
    """Return what a bar measures: a dataset of empty items has no bytes to be counted by."""
    return (size, size_total) if size_total else (items, items_total or None)


def _telling_above(console: Any) -> Show:
    said: dict[tuple[str, str], str] = {}

    def show(change: Change) -> None:
        words = "deleted" if change.is_gone else describe(change.view)
        if said.get(change.view.key) != words:
            said[change.view.key] = words
            console.print(f"{printable('/'.join(change.view.key))} {words}", markup=False)

    return show
