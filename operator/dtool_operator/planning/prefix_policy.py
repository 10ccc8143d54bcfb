"""Who may keep datasets where: admission, derived prefixes, overlap, readable prefixes. Pure.

Rules 3, 5 and 12 of the API. A prefix is derived from the namespace, never chosen.
"""

import re
from collections.abc import Iterable, Mapping
from itertools import zip_longest
from typing import Final
from urllib.parse import urlsplit

from dtool_operator.api.bucket import DtoolBucket, DtoolBucketSpec, LabelSelector, SelectorRequirement
from dtool_operator.api.choice import FromNamespaces, ReadAccess, SelectorOperator
from dtool_operator.api.prefixes import NAMESPACE_PLACEHOLDER

AWS: Final = "aws"
"""Stands for the endpoint of a bucket without `spec.endpoint`."""

_OWN_PORTS: Final = {"https": ":443", "http": ":80"}
_NAMESPACE_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def derive_prefix(spec: DtoolBucketSpec, namespace: str) -> str:
    """Return the prefix of `namespace`: the template, filled in."""
    return spec.prefix_template.replace(NAMESPACE_PLACEHOLDER, namespace)


def endpoint_key(spec: DtoolBucketSpec) -> str:
    """Return the endpoint in a form that can be compared: scheme, lower-case host and port, or `aws`."""
    if spec.endpoint is None:
        return AWS
    return normalize_endpoint(spec.endpoint)


def normalize_endpoint(url: str) -> str:
    """Return `scheme://host[:port]` in lower case, without path and without the scheme's own port."""
    if url == AWS:
        return AWS
    parts = urlsplit(url.lower())
    return f"{parts.scheme}://{parts.netloc.removesuffix(_OWN_PORTS.get(parts.scheme, ''))}"


def storage_key(spec: DtoolBucketSpec) -> tuple[str, str]:
    """Return what makes two bucket objects speak of the same bucket: endpoint and bucket name."""
    return endpoint_key(spec), spec.bucket


def is_admitted(bucket: DtoolBucket, namespace: str, labels: Mapping[str, str]) -> bool:
    """Tell whether the bucket's `allowedNamespaces` admit the namespace (the second of the two consents)."""
    allowed = bucket.spec.allowed_namespaces
    match allowed.from_:
        case FromNamespaces.SAME:
            return namespace == bucket.namespace
        case FromNamespaces.ALL:
            return True
        case FromNamespaces.SELECTOR:  # pragma: no branch
            return allowed.selector is not None and matches(allowed.selector, labels)


def matches(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """Evaluate a label selector as Kubernetes does; an empty one matches everything."""
    equal = all(labels.get(key) == value for key, value in selector.match_labels.items())
    return equal and all(_holds(requirement, labels) for requirement in selector.match_expressions)


def _holds(requirement: SelectorRequirement, labels: Mapping[str, str]) -> bool:
    value = labels.get(requirement.key)
    match requirement.operator:
        case SelectorOperator.IN:
            return value is not None and value in requirement.values
        case SelectorOperator.NOT_IN:
            return value is None or value not in requirement.values
        case SelectorOperator.EXISTS:
            return value is not None
        case SelectorOperator.DOES_NOT_EXIST:  # pragma: no branch
            return value is None


def may_read(bucket: DtoolBucket, namespace: str, prefix: str) -> bool:
    """Tell whether an admitted namespace may read a dataset that lies under `prefix`."""
    return bucket.spec.read_access is ReadAccess.BUCKET or prefix == derive_prefix(bucket.spec, namespace)


def find_winner(bucket: DtoolBucket, others: Iterable[DtoolBucket], *, admins: frozenset[str]) -> str | None:
    """Return `namespace/name` of the object that this one must yield to because prefixes overlap; or None.

    An administrator's wins over a team's, then the older, then the smaller uid.
    """

    def rank(one: DtoolBucket) -> tuple[bool, float, str]:
        return one.namespace not in admins, one.meta.creation_timestamp.timestamp(), one.uid

    rivals = [
        other
        for other in others
        if other.uid != bucket.uid
        and storage_key(other.spec) == storage_key(bucket.spec)
        and rank(other) < rank(bucket)
        and could_overlap(prefix_pattern(bucket), prefix_pattern(other))
    ]
    winner = min(rivals, key=rank, default=None)
    return None if winner is None else f"{winner.namespace}/{winner.name}"


def prefix_pattern(bucket: DtoolBucket) -> str:
    """Return the template, with the only possible namespace filled in where others are not admitted."""
    if bucket.spec.allowed_namespaces.from_ is FromNamespaces.SAME:
        return derive_prefix(bucket.spec, bucket.namespace)
    return bucket.spec.prefix_template


def could_overlap(one: str, other: str) -> bool:
    """Tell whether prefixes made from two templates could coincide or nest."""
    for left, right in zip_longest(one.split("/")[:-1], other.split("/")[:-1]):
        if left is None or right is None:
            return True
        if not (_could_be(left, right) or _could_be(right, left)):
            return False
    return True


def _could_be(pattern: str, segment: str) -> bool:
    """Tell whether a template's segment could be this one for some namespace."""
    if pattern == NAMESPACE_PLACEHOLDER != segment:
        return _NAMESPACE_NAME.fullmatch(segment) is not None
    return pattern == segment
