"""What the cluster alone decides about a dataset, in the order in which a user would repair it; pure.

spec -> suspended -> namespace -> uuid -> bucket, consent, prefix -> rival objects -> bucket usable -> source
"""

from dataclasses import replace

from dtool_operator.api.reasons import Reason
from dtool_operator.planning.history import was_frozen
from dtool_operator.planning.identity import dataset_uuid
from dtool_operator.planning.observed import ObservedDataset, Refusal
from dtool_operator.planning.placement import (
    Target,
    check_name,
    check_spec,
    check_target,
    find_older_claim,
    resolve_target,
)
from dtool_operator.planning.source_place import Origin, SourcePlace, resolve_source

Places = tuple[Target, Origin | None]


def resolve(seen: ObservedDataset) -> Places | Refusal:
    """Find where a dataset shall be and where it comes from, or say what stands in the way."""
    dataset = seen.dataset
    refusal = check_spec(dataset.spec)
    if refusal is not None:
        return refusal
    refusal = check_name(dataset)
    if refusal is not None:
        return refusal
    if dataset.spec.suspend:
        return Refusal(Reason.SUSPENDED, "spec.suspend is true: nothing is started.")
    if dataset.namespace not in seen.cluster.namespaces:
        return Refusal(Reason.PENDING, f"Namespace {dataset.namespace!r} is not known to the operator yet.")
    target = resolve_target(dataset, dataset_uuid(dataset) or "", seen.cluster)
    if isinstance(target, Refusal):
        return target
    refusal = find_older_claim(dataset, target, seen.siblings, seen.cluster) or check_target(dataset, target)
    if refusal is not None:
        return refusal
    # what was frozen is complete without its source, which may be gone
    if dataset.spec.source is None or was_frozen(dataset):
        return target, None
    origin = resolve_source(seen, target)
    return origin if isinstance(origin, Refusal) else _identify(seen, target, origin)


def _identify(seen: ObservedDataset, target: Target, origin: Origin) -> Places | Refusal:
    """Take the uuid of another object's dataset, where the spec did not decide it."""
    if target.uuid or not isinstance(origin, SourcePlace):
        return target, origin
    target = replace(target, uuid=origin.uuid)
    # only now it is known who else describes it
    return find_older_claim(seen.dataset, target, seen.siblings, seen.cluster) or (target, origin)
