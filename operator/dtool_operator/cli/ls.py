"""`kubectl dtool ls`: the datasets of a namespace or of all, or every place of one dataset. Reads only."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase

from dtool_operator.cli.failure import CommandFailed, ExitCode
from dtool_operator.cli.kubectl import EVERYWHERE, Body, Place
from dtool_operator.cli.output import Format, write_document, write_table
from dtool_operator.cli.session import Session
from dtool_operator.cli.view import DatasetView, format_age, read_view
from dtool_operator.names import DATASET_PLURAL, GROUP, LABEL_UUID

RESOURCE = f"{DATASET_PLURAL}.{GROUP}"

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def run_ls(session: Session) -> ExitCode:
    """List; exit code 0 also where there is none."""
    arguments = session.arguments
    found = [read_view(body) for body in _read(session)]
    if arguments.uuid is not None:
        # a label says what anybody wrote there
        found = [one for one in found if one.uuid == arguments.uuid]
    shown = sorted((one for one in found if _is_asked_for(one, session)), key=lambda one: one.key)
    _print(session, shown)
    return ExitCode.DONE


def _read(session: Session) -> list[Body]:
    uuid, place = session.arguments.uuid, session.place
    if uuid is None:
        return session.kubectl.list_all(RESOURCE, place)
    if not _UUID.fullmatch(uuid):
        raise CommandFailed(f"{uuid!r} is no UUID", "use --name to look for a name", code=ExitCode.USAGE)
    selector = f"{LABEL_UUID}={uuid}"
    if place.namespace is not None:
        return session.kubectl.list_all(RESOURCE, place, selector=selector)
    try:
        return session.kubectl.list_all(RESOURCE, EVERYWHERE, selector=selector)
    except CommandFailed as error:
        if error.reason != "Forbidden" or place.is_everywhere:
            raise
        session.note("one namespace only: you may not list the datasets of all; --namespace names another")
        return session.kubectl.list_all(RESOURCE, Place(), selector=selector)


def _is_asked_for(one: DatasetView, session: Session) -> bool:
    asked = session.arguments
    states = {state.lower() for state in asked.state or ()}
    names = (one.name, one.dataset_name)
    return (
        (not states or one.state.lower() in states)
        and (asked.bucket is None or _lies_in(one, asked.bucket))
        and set(asked.tag or ()) <= set(one.tags)
        and (asked.name is None or any(fnmatchcase(name, asked.name) for name in names))
        and (one.is_imported or not asked.imported)
    )


def _lies_in(one: DatasetView, bucket: str) -> bool:
    place = one.place.removeprefix("bucket ")
    return place == bucket or ("/" not in bucket and place.rpartition("/")[2] == bucket)


def _print(session: Session, shown: Sequence[DatasetView]) -> None:
    output, form = session.stdout, session.arguments.output
    match form:
        case Format.JSON | Format.YAML:
            write_document(output, {"datasets": [one.document() for one in shown]}, form)
        case Format.NAME:
            output.writelines(f"dtooldataset.{GROUP}/{one.name}\n" for one in shown)
        case _ if not shown:
            session.note(f"no DtoolDataset{session.place} is as asked")
        case _:
            is_wide = form is Format.WIDE
            has_namespaces = session.place.is_everywhere or session.arguments.uuid is not None
            headings = ["NAME", "STATE", "ITEMS", "SIZE", "PLACE", "VERIFIED", "AGE"]
            wide = ["DATASET", "UUID", "URI", "MESSAGE"] if is_wide else []
            rows = [_row(one, is_wide=is_wide, has_namespace=has_namespaces) for one in shown]
            write_table(output, [*(["NAMESPACE"] if has_namespaces else []), *headings, *wide], rows)


def _row(one: DatasetView, *, is_wide: bool, has_namespace: bool) -> list[str]:
    now = datetime.now(UTC)
    items = "" if one.items is None else str(one.items)
    if one.progress is not None:
        items = f"{one.progress.items}/{one.progress.items_total}"
    place = one.place.removeprefix("bucket ")
    verified = format_age(one.verified, now) and f"{format_age(one.verified, now)} ago"
    row = [one.name, one.state, items, one.size, place, verified, format_age(one.created, now)]
    more = [one.dataset_name, one.uuid, one.uri, one.message] if is_wide else []
    return [*([one.namespace] if has_namespace else []), *row, *more]
