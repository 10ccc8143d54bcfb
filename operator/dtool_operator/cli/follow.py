"""Waiting for datasets: owns when a wait ends, and what it says when nobody looks at an object.

How changes are shown is the caller's.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from dtool_operator.cli.failure import CommandFailed, ExitCode
from dtool_operator.cli.kubectl import EVERYWHERE, Place
from dtool_operator.cli.ls import RESOURCE
from dtool_operator.cli.session import Session
from dtool_operator.cli.view import DatasetView, Outcome, read_view
from dtool_operator.cli.watch import Moment, watch

#: An operator that runs has looked at a new object long before.
_PATIENCE_SECONDS: Final = 20.0

Key = tuple[str, str]
"""Namespace and name."""

Judge = Callable[[DatasetView], Outcome]


@dataclass(frozen=True, slots=True)
class Change:
    """What was seen of a dataset; `is_gone`: it was deleted."""

    view: DatasetView
    is_gone: bool = False


def follow(
    session: Session, place: Place, names: Iterable[str], *, timeout_seconds: float | None
) -> Iterator[Change | Moment]:
    """Yield changes of the named datasets, or of all of a place. Has no end."""
    wanted = frozenset(names)
    only = next(iter(wanted)) if len(wanted) == 1 else None
    stream = watch(session.kubectl, RESOURCE, place, name=only, timeout_seconds=timeout_seconds)
    begun, is_told, waiting = time.monotonic(), False, set[Key]()
    for event in stream:
        if isinstance(event, Moment):
            if waiting and not is_told and time.monotonic() - begun > _PATIENCE_SECONDS:
                is_told = True
                session.note("the operator has not looked at it yet; does it run, and watch this namespace?")
            yield event
            continue
        view = read_view(event.body)
        if wanted and view.name not in wanted:
            continue
        is_gone = event.type == "DELETED"
        (waiting.discard if view.is_current or is_gone else waiting.add)(view.key)
        yield Change(view, is_gone)


def wait(
    session: Session,
    views: Iterable[DatasetView],
    judge: Judge,
    *,
    show: Callable[[Change], None],
    timeout_seconds: float | None,
) -> ExitCode:
    """Follow datasets until each is judged met or failed; `views` are the first looks at them."""
    latest = {view.key: view for view in views}
    if not latest:
        raise CommandFailed("there is no DtoolDataset to wait for")
    for view in latest.values():
        show(Change(view))
    judged = {key: judge(view) for key, view in latest.items()}
    changes = _follow_all(session, latest, judged, timeout_seconds)
    while Outcome.OPEN in judged.values():
        change = next(changes)
        latest[change.view.key] = change.view
        judged[change.view.key] = Outcome.FAILED if change.is_gone else judge(change.view)
        show(change)
    return ExitCode.DONE if all(one is Outcome.MET for one in judged.values()) else ExitCode.NOT_AS_ASKED


def _follow_all(
    session: Session,
    latest: Mapping[Key, DatasetView],
    judged: Mapping[Key, Outcome],
    timeout_seconds: float | None,
) -> Iterator[Change]:
    """Yield changes of these; what went while no stream was open is told as gone."""
    namespaces = {namespace for namespace, _ in latest}
    place = Place(next(iter(namespaces))) if len(namespaces) == 1 else EVERYWHERE
    missed: set[Key] = set()
    changes = follow(session, place, {name for _, name in latest}, timeout_seconds=timeout_seconds)
    for change in changes:
        match change:
            case Moment.BEGUN:
                missed = {key for key, outcome in judged.items() if outcome is Outcome.OPEN}
            case Moment.TICK:
                gone = [key for key in missed if not _is_there(session, key)]
                missed = set()
                yield from (Change(latest[key], is_gone=True) for key in gone)
            case Change(view, _) if view.key in latest:
                missed.discard(view.key)
                yield change
            case _:
                pass


def _is_there(session: Session, key: Key) -> bool:
    """Tell whether an object is there; whom nobody answers has not heard that it is gone."""
    try:
        session.kubectl.read(RESOURCE, key[1], namespace=key[0])
    except CommandFailed as error:
        return error.reason != "NotFound"
    return True
