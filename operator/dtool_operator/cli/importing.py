"""`kubectl dtool import`: describes datasets that are in a bucket already, one DtoolDataset each.

Has no keys, so it cannot look into a bucket: which UUIDs there are is the user's to say (`dtool ls`), or the
operator's, which imports by itself where the DtoolBucket asks for it.
"""

import re
import sys
from collections.abc import Mapping
from typing import Any, Final

from dtool_operator.cli.cp import apply_all, build_dataset, preview_all
from dtool_operator.cli.failure import CommandFailed, ExitCode
from dtool_operator.cli.kubectl import Place
from dtool_operator.cli.ls import RESOURCE
from dtool_operator.cli.output import Format, write_document, write_table
from dtool_operator.cli.session import Session
from dtool_operator.cli.source_text import parse_bucket_ref
from dtool_operator.cli.view import read_view
from dtool_operator.names import BUCKET_PLURAL, GROUP

BUCKETS: Final = f"{BUCKET_PLURAL}.{GROUP}"

_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def run_import(session: Session) -> ExitCode:
    """Adopt the named ones, have the operator import all, or say how many there are."""
    arguments = session.arguments
    ref = parse_bucket_ref(arguments.bucket)
    if arguments.is_all:
        if arguments.uuids or arguments.name:
            raise CommandFailed("--all goes with neither UUID nor --name", code=ExitCode.USAGE)
        return _import_all(session, ref)
    if not arguments.uuids:
        return _survey(session, ref)
    bodies = [_build(session, uuid, ref) for uuid in _read_uuids(arguments.uuids)]
    if arguments.name is not None and len(bodies) != 1:
        raise CommandFailed("--name is for one UUID", "leave it out", code=ExitCode.USAGE)
    return preview_all(session, bodies) if arguments.dry_run else apply_all(session, bodies)


def _read_uuids(given: list[str]) -> list[str]:
    lines = [line for word in given for line in (sys.stdin if word == "-" else [word])]
    uuids = [_UUID.search(line.strip()) for line in lines if line.strip()]
    wrong = next(
        (line for line, uuid in zip(filter(str.strip, lines), uuids, strict=True) if uuid is None), None
    )
    if wrong is not None:
        raise CommandFailed(f"there is no UUID in {wrong.strip()!r}", code=ExitCode.USAGE)
    return list(dict.fromkeys(uuid[0] for uuid in uuids if uuid is not None))


def _build(session: Session, uuid: str, ref: Mapping[str, str]) -> dict[str, Any]:
    name = session.arguments.name or f"dataset-{uuid[:8]}"
    return build_dataset(name, session.arguments.namespace, {"bucketRef": dict(ref), "uuid": uuid})


def _import_all(session: Session, ref: Mapping[str, str]) -> ExitCode:
    """Leave it to the operator, which lists the bucket and knows whose each prefix is (rule 9)."""
    place = Place(ref.get("namespace", session.arguments.namespace))
    change = {"spec": {"listing": {"import": "Frozen"}}}
    if session.arguments.dry_run:
        _preview_import(session, ref["name"], change, place)
        return ExitCode.DONE
    session.kubectl.patch(BUCKETS, ref["name"], change, place)
    _tell_import(session, ref["name"], place)
    session.note(
        "the operator imports with its next listing; `kubectl dtool ls -A --imported` shows what came"
    )
    return ExitCode.DONE


def _preview_import(session: Session, name: str, change: Mapping[str, Any], place: Place) -> None:
    form = session.arguments.output
    if form is Format.TABLE:
        _write_result(session, name, place, "listing.import: Frozen (dry run)")
    else:
        write_document(session.stdout, change, Format.YAML if form is Format.NAME else form)


def _tell_import(session: Session, name: str, place: Place) -> None:
    match session.arguments.output:
        case Format.NAME:
            session.stdout.write(f"dtoolbucket.{GROUP}/{name} listing.import: Frozen\n")
        case Format.TABLE:
            _write_result(session, name, place, "listing.import: Frozen")
        case form:
            bucket = f"{place.namespace or session.kubectl.find_namespace()}/{name}"
            write_document(session.stdout, {"bucket": bucket, "import": "Frozen"}, form)


def _write_result(session: Session, name: str, place: Place, result: str) -> None:
    namespace = place.namespace or session.kubectl.find_namespace()
    write_table(session.stdout, ["NAMESPACE", "NAME", "RESULT"], [[namespace, name, result]])


def _survey(session: Session, ref: Mapping[str, str]) -> ExitCode:
    """Compare what the last listing counted under the namespace's prefix with what is described there."""
    kubectl = session.kubectl
    namespace = session.arguments.namespace or kubectl.find_namespace()
    bucket_namespace = ref.get("namespace", namespace)
    bucket = kubectl.read(BUCKETS, ref["name"], namespace=bucket_namespace)
    views = map(read_view, kubectl.list_all(RESOURCE, Place(namespace)))
    described = [
        view for view in views if view.place == f"bucket {bucket_namespace}/{ref['name']}" and view.uuid
    ]
    found = _count(bucket, namespace)
    mode = bucket.get("spec", {}).get("listing", {}).get("import", "Never")
    survey = {
        "namespace": namespace,
        "bucket": f"{bucket_namespace}/{ref['name']}",
        "found": found,
        "described": len(described),
        "import": mode,
    }
    match session.arguments.output:
        case Format.NAME:
            _tell_survey(session, survey, bucket.get("spec", {}).get("bucket", "BUCKET"))
        case Format.TABLE:
            row = ["" if value is None else str(value) for value in survey.values()]
            write_table(session.stdout, [key.upper() for key in survey], [row])
        case form:
            write_document(session.stdout, survey, form)
    return ExitCode.DONE


def _tell_survey(session: Session, survey: Mapping[str, Any], s3_bucket: str) -> None:
    found, described = survey["found"], survey["described"]
    if found is None:
        session.stdout.write("The bucket's last listing shows no dataset under this namespace's prefix.\n")
        return
    session.stdout.write(
        f"{found} datasets under the prefix of {survey['namespace']}, {described} described here.\n"
    )
    if found > described:
        session.note(
            f"`dtool ls s3://{s3_bucket}` shows their UUIDs to those who have keys; listing.import is "
            f"{survey['import']}"
        )


def _count(bucket: Mapping[str, Any], namespace: str) -> int | None:
    """Return how many datasets the last listing counted; None where it shows none for the namespace."""
    shown = bucket.get("status", {}).get("namespaces", [])
    return next((one.get("datasets", 0) for one in shown if one.get("namespace") == namespace), None)
