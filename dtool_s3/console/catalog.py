"""`dtool-s3 ls`: a table at a terminal, tab-separated lines for pipes, one JSON document a dataset."""

from collections.abc import Sequence
from typing import Any

from dtool_s3 import api
from dtool_s3.catalog import CatalogEntry, EntryState
from dtool_s3.console.exit_code import ExitCode
from dtool_s3.console.output import Output
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
    if not catalog.entries:
        output.note(f"no datasets are registered in s3://{bucket}")
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


def _print_table(output: Output, entries: Sequence[CatalogEntry]) -> None:
    from rich.console import Console  # noqa: PLC0415 - 60 ms, at a terminal only
    from rich.text import Text  # noqa: PLC0415

    from dtool_s3.console.table import Row, lay_out  # noqa: PLC0415

    if not entries:
        return
    rows = [
        Row((e.state.value, e.name, e.uuid, e.creator_username, e.prefix), detail=_detail(e)) for e in entries
    ]
    output.before_printing()
    console = Console(file=output.stdout)
    for line in lay_out(rows, console.width):
        state = line.partition(" ")[0]
        shown = Text(line)  # brackets in names are no markup
        if state in _STYLES:
            shown.stylize(_STYLES[EntryState(state)], 0, len(state))
        console.print(shown, soft_wrap=True)
