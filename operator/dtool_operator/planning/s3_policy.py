"""S3 policies for people: what a user of a namespace may do with keys of his own. Pure.

Builds documents for AWS, MinIO and SeaweedFS out of a bucket object and a namespace. Makes no request, and
knows nothing of accounts, users and keys.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from dtool_operator.api.bucket import DtoolBucket
from dtool_operator.api.choice import AccessMode, ReadAccess
from dtool_operator.api.conditions import ConditionStatus, ConditionType
from dtool_operator.api.reasons import Reason
from dtool_operator.names import OWNER_MARKER
from dtool_operator.planning.prefix_policy import derive_prefix, is_admitted

_REGISTRATION: Final = "dtool-*"
# dtool lists datasets by the prefix `dtool`, without the dash
_REGISTRATION_LISTING: Final = "dtool*"
_WRITES: Final = ["s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
_WILDCARDS: Final = frozenset("*?$\\")
# A prefix that is not settled must not be handed to anybody.
_UNSETTLED: Final = frozenset(
    {Reason.PREFIX_OVERLAPS, Reason.RESERVED_FOR_ADMINISTRATORS, Reason.INVALID_SPEC}
)


class PolicyFormat(StrEnum):
    """For which server."""

    AWS = "aws"
    MINIO = "minio"
    SEAWEEDFS = "seaweedfs"
    SEAWEEDFS_ACTIONS = "seaweedfs-actions"


class NotExpressible(ValueError):
    """The server's language has no words for what is asked; the message says which."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What a user of `namespace` gets: all or his prefix to read, his prefix or nothing to write."""

    namespace: str
    bucket: str
    prefix: str
    reads_bucket: bool
    writes: bool
    region: str | None = None


def find_refusal(bucket: DtoolBucket, namespace: str, labels: Mapping[str, str]) -> str | None:
    """Say why a user of the namespace gets no rights in the bucket; None if he does.

    `labels` are the namespace's, looked at only where `allowedNamespaces` has a selector.
    """
    place = f"DtoolBucket {bucket.namespace}/{bucket.name}"
    if not is_admitted(bucket, namespace, labels):
        return f"{place} does not admit namespace {namespace}: see spec.allowedNamespaces"
    prefix = derive_prefix(bucket.spec, namespace)
    for override in bucket.spec.prefix_overrides:
        if override.namespace != namespace and _nest(prefix, override.prefix):
            return (
                f"{place}: prefix {prefix!r} of namespace {namespace} overlaps {override.prefix!r}, "
                f"which spec.prefixOverrides gives to namespace {override.namespace}"
            )
    for condition in bucket.status.conditions:
        if condition.type is ConditionType.READY and condition.reason in _UNSETTLED:
            return f"{place} is not Ready: {condition.reason}: {condition.message}"
    return None


def is_settled(bucket: DtoolBucket) -> bool:
    """Tell whether the operator found the present spec to be valid and the bucket to be reachable."""
    is_ready = any(
        condition.type is ConditionType.READY and condition.status is ConditionStatus.TRUE
        for condition in bucket.status.conditions
    )
    return is_ready and bucket.status.observed_generation == bucket.meta.generation


def build_grant(bucket: DtoolBucket, namespace: str) -> Grant:
    """Say what the bucket object gives to users of an admitted namespace (rules 3 and 5, `readAccess`)."""
    return Grant(
        namespace=namespace,
        bucket=bucket.spec.bucket,
        prefix=derive_prefix(bucket.spec, namespace),
        reads_bucket=bucket.spec.read_access is ReadAccess.BUCKET,
        writes=bucket.spec.access_mode is AccessMode.READ_WRITE,
        region=bucket.spec.region,
    )


def build_policy(grant: Grant, form: PolicyFormat, *, strict: bool = False) -> dict[str, Any]:
    """Build the document for a server; raises NotExpressible.

    `strict`: registration keys can be created where there is none, never overwritten or deleted.
    aws, minio: a policy document. seaweedfs: a part of its S3 configuration file, a policy with an identity
    that has it; seaweedfs-actions: the same in the older form, which has no Deny.
    """
    if unsafe := _WILDCARDS.intersection(grant.prefix):
        raise NotExpressible(
            f"prefix {grant.prefix!r} has {' '.join(sorted(unsafe))}, which a policy would take for a pattern"
        )
    if strict and form is not PolicyFormat.AWS:
        raise NotExpressible(
            "only AWS can tie a right to If-None-Match: neither MinIO nor SeaweedFS knows the condition key "
            "s3:if-none-match. Leave out --strict, or give users of this namespace no keys and let the "
            "operator write their datasets"
        )
    match form:
        case PolicyFormat.AWS | PolicyFormat.MINIO:
            return _build_document(grant, form, strict=strict)
        case PolicyFormat.SEAWEEDFS:
            return _build_seaweedfs(grant)
        case PolicyFormat.SEAWEEDFS_ACTIONS:  # pragma: no branch
            return {"identities": [{"name": grant.namespace, "actions": _list_actions(grant)}]}


def _build_document(grant: Grant, form: PolicyFormat, *, strict: bool = False) -> dict[str, Any]:
    """Build a policy in the language of AWS IAM, version 2012-10-17."""
    arn = f"arn:{_find_partition(grant, form)}:s3:::{grant.bucket}"
    statements = _build_reading(grant, form, arn)
    if grant.writes:
        statements += _build_writing(grant, arn, strict=strict)
    return {"Version": "2012-10-17", "Statement": statements}


def _build_reading(grant: Grant, form: PolicyFormat, arn: str) -> list[dict[str, Any]]:
    actions = ["s3:ListBucket"]
    # AWS and MinIO cannot limit the listing of uploads to a prefix: it would show everybody's keys
    if grant.reads_bucket or form is PolicyFormat.SEAWEEDFS:
        actions.append("s3:ListBucketMultipartUploads")
    listing: dict[str, Any] = {"Sid": "List", "Effect": "Allow", "Action": actions, "Resource": [arn]}
    objects = [f"{arn}/*"]
    if not grant.reads_bucket:
        shown = [f"{grant.prefix}*", _REGISTRATION_LISTING]
        listing["Condition"] = {"StringLike": {"s3:prefix": shown}}
        objects = [f"{arn}/{grant.prefix}*", f"{arn}/{_REGISTRATION}"]
    return [listing, {"Sid": "Read", "Effect": "Allow", "Action": ["s3:GetObject"], "Resource": objects}]


def _build_writing(grant: Grant, arn: str, *, strict: bool) -> list[dict[str, Any]]:
    registration = f"{arn}/{_REGISTRATION}"
    statements: list[dict[str, Any]] = [
        {
            "Sid": "Write",
            "Effect": "Allow",
            "Action": list(_WRITES),
            "Resource": [f"{arn}/{grant.prefix}*", registration],
        },
        {
            "Sid": "KeepOwnerMarker",
            "Effect": "Deny",
            "Action": ["s3:PutObject", "s3:DeleteObject"],
            "Resource": [f"{arn}/{grant.prefix}{OWNER_MARKER}"],
        },
    ]
    if not strict:
        return statements
    # Denied, not just left out: with the prefix "" the first statement covers registration keys as well
    return [
        *statements,
        {
            "Sid": "RegisterOnce",
            "Effect": "Deny",
            "Action": ["s3:PutObject"],
            "Resource": [registration],
            "Condition": {"Null": {"s3:if-none-match": "true"}},
        },
        {
            "Sid": "KeepRegistrations",
            "Effect": "Deny",
            "Action": ["s3:DeleteObject"],
            "Resource": [registration],
        },
    ]


def _build_seaweedfs(grant: Grant) -> dict[str, Any]:
    name = f"dtool-{grant.bucket}-{grant.namespace}"
    document = _build_document(grant, PolicyFormat.SEAWEEDFS)
    return {
        "identities": [{"name": grant.namespace, "actions": [], "policyNames": [name]}],
        "policies": [{"name": name, "content": json.dumps(document)}],
    }


def _list_actions(grant: Grant) -> list[str]:
    """List SeaweedFS's own actions, `ACTION:BUCKET/PREFIX*`; Write includes deleting and uploads in parts."""
    own, registration = f"{grant.bucket}/{grant.prefix}*", f"{grant.bucket}/{_REGISTRATION}"
    reads = [f"Read:{grant.bucket}", f"List:{grant.bucket}"]
    if not grant.reads_bucket:
        listed = f"{grant.bucket}/{_REGISTRATION_LISTING}"
        reads = [f"Read:{own}", f"Read:{registration}", f"List:{own}", f"List:{listed}"]
    return reads + ([f"Write:{own}", f"Write:{registration}"] if grant.writes else [])


def _find_partition(grant: Grant, form: PolicyFormat) -> str:
    """Find the first part of an ARN; AWS has others in China and for the US government."""
    region = (grant.region or "") if form is PolicyFormat.AWS else ""
    if region.startswith("cn-"):
        return "aws-cn"
    return "aws-us-gov" if region.startswith("us-gov-") else "aws"


def _nest(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)
