"""When prefixOverrides come into force (rule 3): not while the present prefix carries an owner marker. Pure.

Those in force are kept in the status; without one (a new object, a restore) each override counts as added.
"""

from collections.abc import Mapping

from dtool_operator.api.bucket import DtoolBucket
from dtool_operator.api.bucket_status import OverrideInForce
from dtool_operator.api.reasons import Reason
from dtool_operator.planning.observed import Refusal
from dtool_operator.planning.prefix_policy import derive_prefix, template_prefix


def find_changed(bucket: DtoolBucket) -> Mapping[str, str]:
    """Return the present prefix of each namespace to which the spec gives another one."""
    in_force = {one.namespace: one.prefix for one in bucket.status.prefix_overrides}
    names = sorted(in_force.keys() | bucket.spec.override_by_namespace.keys())
    present = {name: in_force.get(name, template_prefix(bucket.spec, name)) for name in names}
    return {name: prefix for name, prefix in present.items() if prefix != derive_prefix(bucket.spec, name)}


def build_in_force(bucket: DtoolBucket) -> tuple[OverrideInForce, ...]:
    """Return the overrides of the spec as the status keeps them."""
    found = sorted(bucket.spec.override_by_namespace.items())
    return tuple(OverrideInForce(namespace=name, prefix=prefix) for name, prefix in found)


def refuse_change(bucket: DtoolBucket, namespace: str, present: str) -> Refusal:
    """Refuse a change for a namespace whose present prefix carries its owner marker."""
    wanted = derive_prefix(bucket.spec, namespace)
    return Refusal(
        Reason.INVALID_SPEC,
        f"spec.prefixOverrides: namespace {namespace!r} has its data under {present!r}, which carries its "
        f"owner marker; its prefix cannot become {wanted!r}. Take the change back, or move the data and the "
        "marker.",
    )
