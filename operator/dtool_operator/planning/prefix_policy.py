"""Who may keep datasets where: admission, derived prefixes, overlap, readable prefixes. Pure.

Rules 3, 5 and 12 of the API. A prefix is derived from the namespace, never chosen.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final
from urllib.parse import urlsplit

from dtool_operator.api.bucket import DtoolBucket, DtoolBucketSpec, LabelSelector, SelectorRequirement
from dtool_operator.api.choice import AccessMode, FromNamespaces, ReadAccess, SelectorOperator
from dtool_operator.api.prefixes import NAMESPACE_PLACEHOLDER

AWS: Final = "aws"
"""Stands for the endpoint of a bucket without `spec.endpoint`."""

_OWN_PORTS: Final = {"https": ":443", "http": ":80"}
_NAMESPACE_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def derive_prefix(spec: DtoolBucketSpec, namespace: str) -> str:
    """Return the prefix of `namespace`: its override, or the template, filled in."""
    override = spec.override_by_namespace.get(namespace)
    return template_prefix(spec, namespace) if override is None else override


def template_prefix(spec: DtoolBucketSpec, namespace: str) -> str:
    """Return the prefix that `namespace` has without an override."""
    return spec.prefix_template.replace(NAMESPACE_PLACEHOLDER, namespace)


def find_override_conflict(spec: DtoolBucketSpec, namespace: str) -> str | None:
    """Say with which override the prefix of `namespace` equals or nests, another namespace's; or None.

    Overrides win (rule 3): this namespace keeps nothing in the bucket, `PrefixOverlaps`.
    """
    prefix = derive_prefix(spec, namespace)
    for other, override in spec.override_by_namespace.items():
        if other != namespace and do_nest(prefix, override):
            return (
                f"Prefix {prefix!r} of namespace {namespace!r} equals or nests with {override!r}, which "
                f"prefixOverrides give to namespace {other!r}; the bucket's administrator can give this one "
                "another prefix there."
            )
    return None


def do_nest(one: str, other: str) -> bool:
    """Tell whether two prefixes are equal or one lies below the other."""
    return one.startswith(other) or other.startswith(one)


def find_take_over(bucket: DtoolBucket, namespace: str) -> str | None:
    """Return the owner (`<cluster>/<namespaceUid>`) whom `namespace` may replace under its prefix, or None.

    Rule 4: exactly this one, nobody else; nothing is ever written to a ReadOnly bucket.
    """
    if bucket.spec.access_mode is AccessMode.READ_ONLY:
        return None
    return next((one.from_owner for one in bucket.spec.take_over if one.namespace == namespace), None)


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
    return bucket.spec.read_access is ReadAccess.BUCKET or prefix == find_own_prefix(bucket.spec, namespace)


def find_own_prefix(spec: DtoolBucketSpec, namespace: str) -> str | None:
    """Return the prefix whose data are the namespace's; None where an override gives them to another."""
    return None if find_override_conflict(spec, namespace) else derive_prefix(spec, namespace)


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
        and claims_overlap(prefix_claim(bucket), prefix_claim(other))
    ]
    winner = min(rivals, key=rank, default=None)
    return None if winner is None else f"{winner.namespace}/{winner.name}"


@dataclass(frozen=True, slots=True)
class PrefixClaim:
    """The prefixes that a bucket object may give: from its template, and those of its overrides."""

    template: str
    overrides: frozenset[str] = frozenset()


def prefix_claim(bucket: DtoolBucket) -> PrefixClaim:
    """Return which prefixes a bucket object may give; one only where others are not admitted."""
    if bucket.spec.allowed_namespaces.from_ is FromNamespaces.SAME:
        return PrefixClaim(derive_prefix(bucket.spec, bucket.namespace))
    return PrefixClaim(bucket.spec.prefix_template, frozenset(bucket.spec.override_by_namespace.values()))


def claims_overlap(one: PrefixClaim, other: PrefixClaim) -> bool:
    """Tell whether prefixes of two bucket objects could coincide or nest."""
    return (
        could_overlap(one.template, other.template)
        or any(could_overlap(one.template, prefix) for prefix in other.overrides)
        or any(could_overlap(other.template, prefix) for prefix in one.overrides)
        or find_nested(one.overrides, other.overrides) is not None
    )


def find_nested(prefixes: Iterable[str], others: Iterable[str]) -> tuple[str, str] | None:
    """Return a prefix and one of `others` that equals or nests with it, or None; in linear time.

    A prefix that is in both is found: leave it out of `others` to look for rivals of a set's own members.
    """
    first, second = set(prefixes), set(others)
    for prefix in sorted(second):
        below = next((outer for outer in ancestors(prefix) if outer in first), None)
        if below is not None:
            return below, prefix
    for prefix in sorted(first):
        below = next((outer for outer in ancestors(prefix) if outer in second), None)
        if below is not None:
            return prefix, below
    return None


def ancestors(prefix: str) -> list[str]:
    """Return the prefix and all that it lies below, the longest first; the last is `""`."""
    segments = prefix.split("/")[:-1]
    return ["".join(f"{segment}/" for segment in segments[:depth]) for depth in range(len(segments), -1, -1)]


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
