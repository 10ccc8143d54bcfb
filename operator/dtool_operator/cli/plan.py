"""`kubectl dtool plan`: what would the operator do, and why. Reads only; asks S3 nothing."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from dtool_operator.api.bucket import DtoolBucket, parse_bucket
from dtool_operator.api.dataset import DtoolDataset, parse_dataset
from dtool_operator.api.parsing import InvalidObject
from dtool_operator.cli.failure import CommandFailed, ExitCode
from dtool_operator.cli.foresight import Decided, Foresight, foresee_bucket, foresee_dataset
from dtool_operator.cli.kubectl import Body, Kubectl, Place
from dtool_operator.cli.output import Format, write_document, write_pairs, write_table
from dtool_operator.cli.session import Session
from dtool_operator.cli.sight import BUCKETS, DATASETS, gather
from dtool_operator.names import BUCKET_KIND, DATASET_KIND
from dtool_operator.settings import DEFAULT_NAMESPACE

_NO_UID: Final = "00000000-0000-0000-0000-000000000000"

_DECIDED: Final = {
    Decided.CLUSTER: "by what the cluster says alone",
    Decided.STORAGE: "by S3, which is not asked here; this is the plan if it answers as expected",
    Decided.UNDECIDED: "cannot be told: it rests on what you may not see",
}


def run_plan(session: Session) -> ExitCode:
    """Print a plan for each object; exit code 3 where one would end Stalled, or cannot be told."""
    arguments, kubectl = session.arguments, session.kubectl
    namespace = arguments.namespace or kubectl.find_namespace()
    bodies = (
        _read_file(session, Place(namespace))
        if arguments.filename
        else [_read(kubectl, arguments.name, namespace)]
    )
    admins = frozenset(arguments.admin_namespace or [DEFAULT_NAMESPACE])
    plans = list(_foresee(kubectl, bodies, namespace, admins))
    if arguments.output is not Format.TABLE:
        write_document(session.stdout, {"plans": [_document(plan) for plan in plans]}, arguments.output)
    else:
        for number, plan in enumerate(plans):
            session.stdout.write("\n" if number else "")
            _write(session, plan)
    is_good = not any(plan.is_stalled or plan.decided is Decided.UNDECIDED for plan in plans)
    return ExitCode.DONE if is_good else ExitCode.NOT_AS_ASKED


def _read(kubectl: Kubectl, name: str, namespace: str) -> Body:
    kind, slash, rest = name.partition("/")
    if not slash:
        return kubectl.read(DATASETS, name, namespace=namespace)
    if kind not in {"bucket", "dataset"} or not rest:
        raise CommandFailed(f"{name!r} is not NAME, dataset/NAME or bucket/NAME", code=ExitCode.USAGE)
    return kubectl.read(BUCKETS if kind == "bucket" else DATASETS, rest, namespace=namespace)


def _read_file(session: Session, place: Place) -> list[Body]:
    """Have the API server check the manifests; where the user may not write, do without."""
    path = session.arguments.filename
    try:
        found = session.kubectl.try_file(path, place)
    except CommandFailed as error:
        if error.reason != "Forbidden":
            raise
        session.note("you may not apply this: the API server did not check it")
        found = [_complete(body, place) for body in session.kubectl.read_file(path, place)]
    ours = [body for body in found if body.get("kind") in {BUCKET_KIND, DATASET_KIND}]
    if not ours:
        raise CommandFailed(f"{path} has neither a DtoolDataset nor a DtoolBucket")
    return ours


def _complete(body: Body, place: Place) -> Body:
    """Give an object what the API server would."""
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    given = {"uid": _NO_UID, "creationTimestamp": now, "generation": 1, "namespace": place.namespace}
    metadata = {key: value for key, value in body["metadata"].items() if value is not None}
    return {**body, "metadata": {**given, **metadata}}


def _foresee(
    kubectl: Kubectl, bodies: Sequence[Body], namespace: str, admins: frozenset[str]
) -> Iterable[Foresight]:
    parsed = [_parse(body) for body in bodies]
    sight, now = gather(kubectl, namespace, bodies, admins), datetime.now(UTC)
    for one in parsed:
        if isinstance(one, DtoolBucket):
            yield foresee_bucket(sight, one, admins, now)
        else:
            yield foresee_dataset(sight, one, admins, now)


def _parse(body: Body) -> DtoolBucket | DtoolDataset:
    try:
        return parse_bucket(body) if body.get("kind") == BUCKET_KIND else parse_dataset(body)
    except InvalidObject as error:
        name = f"{body.get('kind')} {error.meta.name}"
        raise CommandFailed(
            f"{name} is not valid: {error.message}", "correct it", code=ExitCode.NOT_AS_ASKED
        ) from error


def _document(plan: Foresight) -> dict[str, Any]:
    return {
        "kind": plan.kind,
        "namespace": plan.namespace,
        "name": plan.name,
        "decided": str(plan.decided),
        "place": plan.place or None,
        "questions": list(plan.questions),
        "expected": list(plan.expected),
        "actions": [{"action": name, "message": words} for name, words in plan.actions],
        "state": plan.state or None,
        "conditions": [
            {"type": str(c.type), "status": str(c.status), "reason": c.reason, "message": c.message}
            for c in plan.conditions
        ],
        "assumed": list(plan.assumed),
        "hidden": list(plan.hidden),
    }


def _write(session: Session, plan: Foresight) -> None:
    output = session.stdout
    pairs = [
        (plan.kind, f"{plan.namespace}/{plan.name}"),
        ("Place", plan.place),
        ("Decided", _DECIDED[plan.decided]),
    ]
    write_pairs(output, pairs)
    parts: tuple[tuple[str, Sequence[str]], ...] = (
        ("Hidden from you", plan.hidden),
        ("S3 would be asked", plan.questions),
        ("Expected", plan.expected),
        ("Actions", [f"{name}: {words}" for name, words in plan.actions]),
    )
    for title, lines in parts:
        _write_part(session, title, lines)
    if not plan.actions:
        output.write("\nNo action.\n")
    if plan.conditions:
        output.write("\n")
        rows = [(str(c.type), str(c.status), c.reason, c.message) for c in plan.conditions]
        write_table(output, ["CONDITION THEN", "STATUS", "REASON", "MESSAGE"], rows)
    _write_part(session, "Taken for granted", plan.assumed)


def _write_part(session: Session, title: str, lines: Sequence[str]) -> None:
    if lines:
        session.stdout.write(f"\n{title}:\n")
        write_pairs(session.stdout, [(f"  {number}.", line) for number, line in enumerate(lines, 1)])
