"""`kubectl dtool cp`: writes a DtoolDataset and applies it; the operator copies."""

from collections.abc import Sequence
from typing import Any

from dtool_operator.cli.display import showing
from dtool_operator.cli.failure import CommandFailed, ExitCode
from dtool_operator.cli.follow import wait
from dtool_operator.cli.kubectl import Body, Kubectl
from dtool_operator.cli.output import Format, write_document, write_table
from dtool_operator.cli.session import Session
from dtool_operator.cli.source_text import parse_place, parse_source
from dtool_operator.cli.view import Goal, read_view
from dtool_operator.names import API_VERSION, DATASET_KIND, GROUP


def run_cp(session: Session) -> ExitCode:
    """Apply, print what was applied; with --wait end when it is Ready, or cannot be."""
    body = build_object(session)
    return preview_all(session, [body]) if session.arguments.dry_run else apply_all(session, [body])


def build_object(session: Session) -> dict[str, Any]:
    """Write the manifest; raises CommandFailed where the arguments contradict each other."""
    given = session.arguments
    source = parse_source(given.source)
    is_new = source.is_new or given.new_identity
    if given.dataset_name is not None and not is_new:
        raise CommandFailed(
            "--dataset-name is for new datasets: a copy keeps the name of its source",
            "leave it out, or make a derived dataset with --new-identity",
            code=ExitCode.USAGE,
        )
    if given.new_identity and source.is_new:
        raise CommandFailed(
            "--new-identity is for datasets: files and objects become a new one anyway",
            "leave it out",
            code=ExitCode.USAGE,
        )
    if given.to_volume is not None and (given.tag or is_new):
        raise CommandFailed(
            "onto a volume only a dataset that is in a bucket can be brought, as it is",
            "make it in a bucket first, then bring that",
            code=ExitCode.USAGE,
        )
    spec = {
        **parse_place(given.to_bucket, given.to_volume),
        "source": source.spec,
        **({"identity": "New"} if given.new_identity else {}),
        **({"name": given.dataset_name} if given.dataset_name is not None else {}),
        **({"tags": given.tag} if given.tag else {}),
    }
    return build_dataset(given.name or source.name, given.namespace, spec)


def build_dataset(name: str, namespace: str | None, spec: dict[str, Any]) -> dict[str, Any]:
    """Write a DtoolDataset; without a namespace it goes into that of the context."""
    metadata = {"name": name, **({} if namespace is None else {"namespace": namespace})}
    return {"apiVersion": API_VERSION, "kind": DATASET_KIND, "metadata": metadata, "spec": spec}


def preview_all(session: Session, bodies: Sequence[Body]) -> ExitCode:
    """Print what would be applied."""
    form = session.arguments.output
    if form is Format.TABLE:
        _write_results(session, bodies, "applied (dry run)")
        return ExitCode.DONE
    form = Format.YAML if form is Format.NAME else form
    for number, body in enumerate(bodies):
        session.stdout.write("---\n" if number and form is Format.YAML else "")
        write_document(session.stdout, body, form)
    return ExitCode.DONE


def apply_all(session: Session, bodies: list[dict[str, Any]]) -> ExitCode:
    """Apply each, say so, and wait for all where it is asked."""
    arguments = session.arguments
    applied = [_apply(session.kubectl, body) for body in bodies]
    _tell(session, applied)
    if not arguments.wait:
        return ExitCode.DONE
    views = [read_view(body) for body in applied]
    # the result was printed already: what is waited for is told beside it
    with showing(session.stderr, Format.TABLE) as show:
        return wait(
            session, views, lambda v: v.judge(Goal.READY), show=show, timeout_seconds=arguments.timeout
        )


def _tell(session: Session, applied: Sequence[Body]) -> None:
    match session.arguments.output:
        case Format.NAME:
            session.stdout.writelines(f"dtooldataset.{GROUP}/{one['metadata']['name']}\n" for one in applied)
        case Format.TABLE:
            _write_results(session, applied, "applied")
        case form:
            documents = [_without_status(body) for body in applied]
            several = {"kind": "List", "apiVersion": "v1", "items": documents}
            write_document(session.stdout, documents[0] if len(documents) == 1 else several, form)
    session.stdout.flush()


def _write_results(session: Session, bodies: Sequence[Body], result: str) -> None:
    """Print a row for each; one that names no namespace goes into that of the context."""
    named = [(body["metadata"].get("namespace"), body["metadata"]["name"]) for body in bodies]
    here = "" if all(namespace for namespace, _ in named) else session.kubectl.find_namespace()
    rows = [[namespace or here, name, result] for namespace, name in named]
    write_table(session.stdout, ["NAMESPACE", "NAME", "RESULT"], rows)


def _apply(kubectl: Kubectl, body: dict[str, Any]) -> Body:
    try:
        return kubectl.apply(body)
    except CommandFailed as error:
        if "immutable" not in error.message:
            raise
        name = body["metadata"]["name"]
        message = f"DtoolDataset {name} is there already, with another source or place"
        raise CommandFailed(message, "choose another --name", reason="Invalid") from error


def _without_status(body: Body) -> dict[str, Any]:
    """Return what a user would keep in a file."""
    metadata = {key: body["metadata"][key] for key in ("name", "namespace") if key in body["metadata"]}
    kept = {key: body[key] for key in ("apiVersion", "kind") if key in body}
    return {**kept, "metadata": metadata, "spec": body.get("spec", {})}
