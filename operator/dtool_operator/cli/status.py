"""`kubectl dtool status`: how datasets are, once or until what is waited for. Reads only."""

from dtool_operator.cli.display import describe, showing
from dtool_operator.cli.failure import CommandFailed, ExitCode
from dtool_operator.cli.follow import Change, follow, wait
from dtool_operator.cli.ls import RESOURCE
from dtool_operator.cli.output import Format, write_document, write_pairs, write_table
from dtool_operator.cli.session import Session
from dtool_operator.cli.view import DatasetView, read_view

_CONDITIONS = ("Ready", "Reconciling", "Stalled", "Frozen", "Verified", "MetadataSynced")


def run_status(session: Session) -> ExitCode:
    """Show once; or watch, with --for until all are as asked or one cannot be."""
    arguments = session.arguments
    if arguments.names and session.place.is_everywhere:
        raise CommandFailed("NAME and --all-namespaces exclude each other", code=ExitCode.USAGE)
    if arguments.timeout is not None and not (arguments.watch or arguments.goal):
        raise CommandFailed("--timeout goes with --watch or --for", code=ExitCode.USAGE)
    goal = arguments.goal
    if goal is not None:
        views = _read(session)
        with showing(session.stdout, arguments.output) as show:
            return wait(session, views, lambda v: v.judge(goal), show=show, timeout_seconds=arguments.timeout)
    if arguments.watch:
        return _watch(session)
    views = _read(session)
    if arguments.output is not Format.TABLE:
        write_document(session.stdout, {"datasets": [_document(view) for view in views]}, arguments.output)
    elif arguments.names:
        for number, view in enumerate(views):
            session.stdout.write("\n" if number else "")
            _write_one(session, view)
    elif views:
        rows = [
            [*(view.key if session.place.is_everywhere else view.key[1:]), describe(view)] for view in views
        ]
        headings = ["NAMESPACE"] if session.place.is_everywhere else []
        write_table(session.stdout, [*headings, "NAME", "STATUS"], rows)
    else:
        session.note(f"there is no DtoolDataset{session.place}")
    return ExitCode.DONE


def _read(session: Session) -> list[DatasetView]:
    names: list[str] = session.arguments.names
    kubectl, place = session.kubectl, session.place
    if names:
        return [read_view(kubectl.read(RESOURCE, name, namespace=place.namespace)) for name in names]
    return sorted(map(read_view, kubectl.list_all(RESOURCE, place)), key=lambda view: view.key)


def _watch(session: Session) -> ExitCode:
    """Show changes until Ctrl-C, or --timeout, which ends a watch without a goal as it should."""
    arguments = session.arguments
    for name in arguments.names:  # a stream says nothing of what is not there
        session.kubectl.read(RESOURCE, name, namespace=session.place.namespace)
    with showing(session.stdout, arguments.output) as show:
        try:
            for change in follow(session, session.place, arguments.names, timeout_seconds=arguments.timeout):
                if isinstance(change, Change):
                    show(change)
        except CommandFailed as error:
            if error.code is not ExitCode.TIMED_OUT:
                raise
    return ExitCode.DONE


def _document(view: DatasetView) -> dict[str, object]:
    conditions = [_condition(view, type_) for type_ in _CONDITIONS if type_ in view.conditions]
    return {**view.document(), "conditions": conditions}


def _condition(view: DatasetView, type_: str) -> dict[str, str]:
    told = view.conditions[type_]
    return {key: told.get(key, "") for key in ("type", "status", "reason", "message")}


def _write_one(session: Session, view: DatasetView) -> None:
    verified = f"{view.verified} ({view.verified_method})" if view.verified else ""
    pairs = [
        ("Name", "/".join(view.key)),
        ("Status", describe(view)),
        ("Dataset", view.dataset_name),
        ("UUID", view.uuid),
        ("Place", view.place),
        ("URI", view.uri),
        ("Tags", ", ".join(view.tags)),
        ("Frozen", view.frozen_at),
        ("Verified", verified),
    ]
    write_pairs(session.stdout, pairs)
    if not view.is_current:
        session.note("the operator has not looked at the present spec yet")
    if view.conditions:
        session.stdout.write("\n")
        rows = [tuple(_condition(view, t).values()) for t in _CONDITIONS if t in view.conditions]
        write_table(session.stdout, ["CONDITION", "STATUS", "REASON", "MESSAGE"], rows)
