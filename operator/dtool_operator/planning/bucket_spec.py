"""What a DtoolBucket's spec may ask for, before its bucket is touched; pure. Rules 1 to 3 of the API."""

from dtool_operator.api.bucket import DtoolBucket
from dtool_operator.api.choice import FromNamespaces
from dtool_operator.api.reasons import Reason
from dtool_operator.planning.observed import ClusterView, Policy, Refusal
from dtool_operator.planning.prefix_policy import (
    AWS,
    ancestors,
    endpoint_key,
    find_winner,
    normalize_endpoint,
)


def check_bucket_spec(bucket: DtoolBucket, cluster: ClusterView, policy: Policy) -> Refusal | None:
    """Refuse reserved powers, then contradictions, then endpoints and overlapping prefixes."""
    return (
        _check_reserved(bucket, policy)
        or _check_overrides(bucket)
        or _check_endpoint(bucket, cluster, policy)
        or _check_overlap(bucket, cluster, policy)
    )


def _check_reserved(bucket: DtoolBucket, policy: Policy) -> Refusal | None:
    """Rule 1: a team's own bucket serves its own namespace with its own Secret."""
    if bucket.namespace in policy.admin_namespaces:
        return None
    field = find_reserved_field(bucket)
    if field is None:
        return None
    return Refusal(
        Reason.RESERVED_FOR_ADMINISTRATORS,
        f"{field} is for DtoolBuckets in an administrator's namespace "
        f"({', '.join(sorted(policy.admin_namespaces))}): change it here, or have one made there.",
    )


def find_reserved_field(bucket: DtoolBucket) -> str | None:
    """Name the first field by which a bucket object takes an administrator's power."""
    spec = bucket.spec
    others = [t.namespace for t in spec.take_over if t.namespace != bucket.namespace]
    checks: tuple[tuple[bool, str], ...] = (
        (spec.credentials is None, "spec.credentials absent (the operator's own identity)"),
        (
            spec.allowed_namespaces.from_ is not FromNamespaces.SAME,
            "spec.allowedNamespaces.from other than Same",
        ),
        (bool(spec.prefix_overrides), "spec.prefixOverrides"),
        (spec.workers is not None, "spec.workers"),
        (bool(others), "spec.takeOver of another namespace's prefix"),
    )
    return next((name for is_used, name in checks if is_used), None)


def _check_overrides(bucket: DtoolBucket) -> Refusal | None:
    """Rule 3: two namespaces never share or nest prefixes, also not by overrides."""
    by_prefix: dict[str, str] = {}
    for namespace, prefix in bucket.spec.override_by_namespace.items():
        if prefix in by_prefix:
            return _contradiction(by_prefix[prefix], prefix, namespace, prefix)
        by_prefix[prefix] = namespace
    for prefix, namespace in by_prefix.items():
        outer = next((one for one in ancestors(prefix)[1:] if one in by_prefix), None)
        if outer is not None:
            return _contradiction(by_prefix[outer], outer, namespace, prefix)
    return None


def _contradiction(one: str, outer: str, other: str, inner: str) -> Refusal:
    return Refusal(
        Reason.INVALID_SPEC,
        f"spec.prefixOverrides: {outer!r} of namespace {one!r} and {inner!r} of namespace {other!r} "
        "are equal or nest: change one of them.",
    )


def _check_endpoint(bucket: DtoolBucket, cluster: ClusterView, policy: Policy) -> Refusal | None:
    """Rule 2: the administrator's list, or by default AWS and the endpoints of administrators' buckets."""
    endpoint = endpoint_key(bucket.spec)
    if endpoint in allowed_endpoints(cluster, policy):
        return None
    return Refusal(
        Reason.ENDPOINT_NOT_ALLOWED,
        f"Endpoint {bucket.spec.endpoint or 'AWS'} is not on the operator's list of allowed endpoints; "
        "its administrator extends DTOOL_OPERATOR_ALLOWED_ENDPOINTS.",
    )


def allowed_endpoints(cluster: ClusterView, policy: Policy) -> frozenset[str]:
    """Return the endpoints that may be asked, in the form of `endpoint_key`."""
    if policy.allowed_endpoints:
        return frozenset(normalize_endpoint(url) for url in policy.allowed_endpoints)
    admins = (b for b in cluster.buckets if b.namespace in policy.admin_namespaces)
    return frozenset({AWS, *(endpoint_key(b.spec) for b in admins)})


def _check_overlap(bucket: DtoolBucket, cluster: ClusterView, policy: Policy) -> Refusal | None:
    # a bucket object that takes a power it does not have keeps nobody away
    entitled = [other for other in cluster.buckets if _check_reserved(other, policy) is None]
    winner = find_winner(bucket, entitled, admins=policy.admin_namespaces)
    if winner is None:
        return None
    return Refusal(
        Reason.PREFIX_OVERLAPS,
        f"Its prefixes could nest or coincide with those of DtoolBucket {winner} for the same bucket, which "
        "counts: use that one, or create this one anew with a prefixTemplate apart from it.",
    )
