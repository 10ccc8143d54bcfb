"""`dtool-s3 ls`: a table at a terminal, tab-separated lines for pipes, one JSON document a dataset."""

from collections.abc import Iterable
from typing import Any

from dtool_s3 import api
from dtool_s3.catalog import CatalogEntry, EntryState
from dtool_s3.console.exit_code import ExitCode
from dtool_s3.console.output import Output, printable
from dtool_s3.console.session import Session
from dtool_s3.uri import parse_uri

_STYLES = {
    EntryState.FROZEN: "green",
    EntryState.PROTO: "yellow",
    EntryState.UNREADABLE: "red",
    EntryState.DANGLING: "red",
    EntryState.UNREGISTERED: "red",
}
_EXPLAINED = {EntryState.DANGLING: "a registration key without a dataset: `dtool-s3 rm` removes it"}


async def show(session: Session) -> ExitCode:
    """List a bucket; broken datasets are listed, not failures of the command."""
    arguments, output = session.arguments, session.output
    catalog = await api.list_datasets(
        arguments.base_uri, configure=session.configure, prefixes=arguments.prefix
    )
    bucket = parse_uri(arguments.base_uri).bucket
    entries = catalog.all_entries
    if output.is_json:
        for entry in entries:
            output.result(_document(bucket, entry), [])
    elif output.stdout.isatty():
        _print_table(output, entries)
    else:
        for entry in entries:
            output.row(_cells(bucket, entry))
    for prefix in catalog.unlisted:
        output.note(f"under {prefix!r} the keys may not be listed: unregistered datasets there are not shown")
    return ExitCode.DONE


def _detail(entry: CatalogEntry) -> str:
    told = [entry.detail or _EXPLAINED.get(entry.state, "")]
    if entry.is_outside:
        told.append("outside the prefixes asked for")
    return "; ".join(text for text in told if text)


def _cells(bucket: str, entry: CatalogEntry) -> list[str]:
    """State, URI, name, creator, prefix, detail."""
    return [
        entry.state.value,
        f"s3://{bucket}/{entry.uuid}",
        entry.name,
        entry.creator_username,
        entry.prefix,
        _detail(entry),
    ]


def _document(bucket: str, entry: CatalogEntry) -> dict[str, Any]:
    return {
        "uri": f"s3://{bucket}/{entry.uuid}",
        "uuid": entry.uuid,
        "state": entry.state.value,
        "name": entry.name,
        "creator_username": entry.creator_username,
        "prefix": entry.prefix,
        "created_at": entry.created_at,
        "frozen_at": entry.frozen_at,
        "is_outside": entry.is_outside,
        "detail": entry.detail,
    }


def _print_table(output: Output, entries: Iterable[CatalogEntry]) -> None:
    from rich.console import Console  # noqa: PLC0415 - 60 ms, at a terminal only
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False)
    for heading in ("state", "name", "uuid", "creator", "prefix", "detail"):
        table.add_column(heading, no_wrap=heading == "uuid", overflow="fold")
    for entry in entries:
        cells = (entry.name, entry.uuid, entry.creator_username, entry.prefix, _detail(entry))
        # Text, because brackets in names are no markup
        table.add_row(
            Text(entry.state.value, _STYLES[entry.state]), *(Text(printable(cell)) for cell in cells)
        )
    output.before_printing()
    Console(file=output.stdout).print(table)
