"""What one more dataset may add to what its namespace keeps in a bucket (rules 8 and 17); pure.

Quotas count what DtoolDatasets describe, and are checked before anything is copied.
"""

from dtool_operator.api.reasons import Reason
from dtool_operator.planning.observed import Refusal, Usage
from dtool_operator.planning.placement import Target


def check_quota(target: Target, usage: Usage, namespace: str) -> Refusal | None:
    """Refuse a new dataset where the namespace keeps as many, or as much, as it may."""
    limits = target.bucket.spec.limits.per_namespace
    name = f"DtoolBucket {target.bucket.namespace}/{target.bucket.name}"
    if limits.datasets is not None and usage.datasets >= limits.datasets:
        return Refusal(
            Reason.QUOTA_EXCEEDED,
            f"{name} lets a namespace keep {limits.datasets} datasets, and {namespace!r} has "
            f"{usage.datasets}: delete some, or have limits.perNamespace raised.",
        )
    if limits.size_bytes is not None and usage.size_bytes > limits.size_bytes:
        return Refusal(
            Reason.QUOTA_EXCEEDED,
            f"{name} lets a namespace keep {limits.size_bytes} bytes, and {namespace!r} has "
            f"{usage.size_bytes}: delete some, or have limits.perNamespace raised.",
        )
    return None


def find_room(target: Target, usage: Usage) -> int | None:
    """Return how many bytes one more dataset may have; None: any number."""
    limit = target.bucket.spec.limits.per_namespace.size_bytes
    return None if limit is None else max(0, limit - usage.size_bytes)
