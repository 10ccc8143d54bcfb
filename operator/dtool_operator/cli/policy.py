"""`kubectl dtool policy`: print what an administrator gives to the S3 user of a namespace.

Reads the bucket object and, where it admits by labels, the namespace. Changes nothing anywhere.
"""

import argparse
from collections.abc import Mapping
from typing import Any, Protocol, TextIO

from dtool_operator.api.bucket import DtoolBucket, parse_bucket
from dtool_operator.api.choice import FromNamespaces
from dtool_operator.api.parsing import InvalidObject
from dtool_operator.cli.failure import CommandFailed, ExitCode
from dtool_operator.cli.output import Format, write_document, write_table
from dtool_operator.cli.policy_table import HEADINGS, list_rows
from dtool_operator.cli.session import Session
from dtool_operator.names import BUCKET_PLURAL, GROUP
from dtool_operator.planning.s3_policy import (
    NotExpressible,
    PolicyFormat,
    build_grant,
    build_policy,
    find_refusal,
    is_settled,
)


class Reader(Protocol):
    """How objects of the cluster are read."""

    def read(self, resource: str, name: str, *, namespace: str | None = None) -> Mapping[str, Any]:
        """Get one object; raises CommandFailed."""


def perform(session: Session) -> ExitCode:
    """Run the command."""
    form = session.arguments.output
    run_policy(session.arguments, session.kubectl, session.stdout, session.stderr, shown_as=form)
    return ExitCode.DONE


def run_policy(
    arguments: argparse.Namespace,
    reader: Reader,
    output: TextIO,
    notes: TextIO,
    *,
    shown_as: Format = Format.JSON,
) -> None:
    """Print the document to `output`, and what one should know about it to `notes`; raises CommandFailed."""
    namespace: str = arguments.namespace
    bucket = _find_bucket(reader, arguments)
    if refusal := find_refusal(bucket, namespace, _read_labels(reader, bucket, namespace)):
        raise CommandFailed(refusal)
    grant, form = build_grant(bucket, namespace), PolicyFormat(arguments.format)
    try:
        document = build_policy(grant, form, strict=arguments.strict)
    except NotExpressible as error:
        raise CommandFailed(str(error)) from error
    if shown_as is Format.TABLE:
        write_table(output, HEADINGS, list_rows(document))
    else:
        write_document(output, document, shown_as)
    said = _list_notes(bucket, form, writes=grant.writes)
    notes.writelines(f"note: {note}\n" for note in said)


def _find_bucket(reader: Reader, arguments: argparse.Namespace) -> DtoolBucket:
    """Read the bucket object; without a namespace of its own it is looked for in the users'."""
    try:
        return _read_bucket(reader, arguments.bucket_namespace or arguments.namespace, arguments.bucket)
    except CommandFailed as error:
        if arguments.bucket_namespace is not None:
            raise
        hint = "--bucket-namespace says where else its DtoolBucket is"
        raise CommandFailed(error.message, hint, reason=error.reason) from error


def _read_bucket(reader: Reader, namespace: str, name: str) -> DtoolBucket:
    try:
        return parse_bucket(reader.read(f"{BUCKET_PLURAL}.{GROUP}", name, namespace=namespace))
    except InvalidObject as error:
        raise CommandFailed(f"DtoolBucket {namespace}/{name} is not valid: {error.message}") from error


def _read_labels(reader: Reader, bucket: DtoolBucket, namespace: str) -> Mapping[str, str]:
    """Read the namespace's labels only where they matter: not everybody may read namespaces."""
    if bucket.spec.allowed_namespaces.from_ is not FromNamespaces.SELECTOR:
        return {}
    return reader.read("namespaces", namespace)["metadata"].get("labels") or {}


def _list_notes(bucket: DtoolBucket, form: PolicyFormat, *, writes: bool) -> list[str]:
    notes = []
    if not is_settled(bucket):
        notes.append("the operator has not found this DtoolBucket Ready as it is now; see its conditions")
    if not writes:
        notes.append("the DtoolBucket is ReadOnly: the policy lets nobody write")
    elif form is PolicyFormat.SEAWEEDFS_ACTIONS:
        notes.append("SeaweedFS actions cannot except a key: the user can overwrite the owner marker")
    return notes
