"""The progress bar of `dtool-s3`: rich, on stderr, at a terminal only; owns how progress looks.

The bar comes with the first progress and is gone before anything else is printed, or the line after it would
begin in the middle of it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from dtool_s3.console.output import Output, format_count
from dtool_s3.transfer.progress import Progress, ProgressSink, no_progress


@contextmanager
def showing_progress(output: Output) -> Iterator[tuple[ProgressSink, Output]]:
    """Give a sink that draws one bar, and an output to print by, which takes the bar away first.

    Nothing is drawn where nobody watches.
    """
    if not output.shows_progress:
        yield no_progress, output
        return
    from rich.console import Console  # noqa: PLC0415 - 60 ms, at a terminal only
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        DownloadColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.progress import Progress as Bars  # noqa: PLC0415

    bars = Bars(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[items]}"),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(file=output.stderr),
        transient=True,
    )
    bar = bars.add_task("", total=None, items="")

    def tell(now: Progress) -> None:
        # a dataset of empty items has no bytes to be counted by
        done, total = (now.bytes, now.bytes_total) if now.bytes_total else (now.items, now.items_total)
        bars.update(
            bar,
            description=now.phase.value,
            completed=done,
            total=total,
            items=f"{now.items}/{format_count(now.items_total, 'item')}",
        )
        bars.start()

    try:
        yield tell, replace(output, before_printing=bars.stop)
    finally:
        bars.stop()
