"""`kubectl dtool policy`: print what an administrator gives to the S3 user of a namespace.

Reads the bucket object and, where it admits by labels, the namespace. Changes nothing anywhere.
"""

import argparse
import json
from collections.abc import Mapping
from typing import Any, Protocol, TextIO

from dtool_operator.api.bucket import DtoolBucket, parse_bucket
from dtool_operator.api.choice import FromNamespaces
from dtool_operator.api.parsing import InvalidObject
from dtool_operator.cli.failure import CommandFailed
from dtool_operator.names import BUCKET_PLURAL, GROUP
from dtool_operator.planning.s3_policy import (
    NotExpressible,
    PolicyFormat,
    build_grant,
    build_policy,
    find_refusal,
    is_settled,
)

_DESCRIPTION = """
Print an S3 policy for the users of a namespace: list and read the bucket (readAccess: Bucket) or the
namespace's prefix, write below the prefix, write registration keys. Nothing is changed; hand the document to
your S3 server.
"""


class Reader(Protocol):
    """How objects of the cluster are read."""

    def read(self, resource: str, name: str, *, namespace: str | None = None) -> Mapping[str, Any]:
        """Get one object; raises CommandFailed."""


def add_policy(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", cluster: argparse.ArgumentParser
) -> None:
    """Add the command, with its own arguments and those that choose a cluster."""
    parser = commands.add_parser(
        "policy",
        help="print the S3 policy for users of a namespace",
        description=_DESCRIPTION,
        parents=[cluster],
    )
    parser.add_argument("bucket", metavar="BUCKET", help="name of the DtoolBucket")
    parser.add_argument(
        "-n", "--namespace", required=True, metavar="NS", help="namespace that the user works for"
    )
    parser.add_argument(
        "--bucket-namespace", metavar="NS", help="namespace of the DtoolBucket; default: that of --namespace"
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="registration keys can be created but neither overwritten nor deleted (aws only)",
    )
    parser.add_argument(
        "--format",
        type=PolicyFormat,
        choices=list(PolicyFormat),
        default=PolicyFormat.AWS,
        help="language of the S3 server; default: aws",
    )
    parser.add_argument("-o", "--output", choices=["json"], default="json", help="json, the only one")


def run_policy(arguments: argparse.Namespace, reader: Reader, output: TextIO, notes: TextIO) -> None:
    """Print the document to `output`, and what one should know about it to `notes`; raises CommandFailed."""
    namespace: str = arguments.namespace
    bucket = _find_bucket(reader, arguments)
    if refusal := find_refusal(bucket, namespace, _read_labels(reader, bucket, namespace)):
        raise CommandFailed(refusal)
    grant = build_grant(bucket, namespace)
    try:
        document = build_policy(grant, arguments.format, strict=arguments.strict)
    except NotExpressible as error:
        raise CommandFailed(str(error)) from error
    output.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    said = _list_notes(bucket, arguments.format, writes=grant.writes)
    notes.writelines(f"note: {note}\n" for note in said)


def _find_bucket(reader: Reader, arguments: argparse.Namespace) -> DtoolBucket:
    """Read the bucket object; without a namespace of its own it is looked for in the users'."""
    try:
        return _read_bucket(reader, arguments.bucket_namespace or arguments.namespace, arguments.bucket)
    except CommandFailed as error:
        if arguments.bucket_namespace is not None:
            raise
        raise CommandFailed(f"{error}; --bucket-namespace says where else its DtoolBucket is") from error


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
