"""What a user may see of the cluster, gathered for the planner; owns what is hidden from him.

Reads through kubectl only. What he may not read is named, so that the planner's "not found" is not believed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dtool_operator.api.source import BucketRef
from dtool_operator.cli.failure import CommandFailed
from dtool_operator.cli.kubectl import EVERYWHERE, Body, Kubectl, Place
from dtool_operator.names import BUCKET_PLURAL, DATASET_PLURAL, GROUP
from dtool_operator.reconcile.world import NAMESPACE_PLURAL, World

BUCKETS: Final = f"{BUCKET_PLURAL}.{GROUP}"
DATASETS: Final = f"{DATASET_PLURAL}.{GROUP}"

_UNKNOWN_UID: Final = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True)
class Sight:
    """The operator's picture of the cluster, as far as the user may see it; `hidden` names the rest."""

    world: World
    hidden: tuple[str, ...]


def gather(kubectl: Kubectl, namespace: str, given: Iterable[Body], admins: Iterable[str]) -> Sight:
    """Read buckets, datasets and namespaces; `given` are manifests that count instead of what is there.

    Who may not list all namespaces may often read the buckets of those of the administrators, `admins`.
    """
    world, hidden = World(), list[str]()
    given = list(given)
    for body in given:
        _put(world, body)
    kinds = ((BUCKET_PLURAL, BUCKETS), (DATASET_PLURAL, DATASETS))
    for plural, resource in kinds:
        bodies, is_all = _list(kubectl, resource, [namespace, *(admins if plural == BUCKET_PLURAL else ())])
        hidden += [] if is_all else [f"{plural} of other namespaces"]
        for body in bodies:
            world.put(plural, body)
    if hidden:
        datasets = [body for body in given if body.get("kind") == "DtoolDataset"]
        for body in datasets:
            hidden += _read_named(kubectl, world, body)
    hidden += _read_namespaces(kubectl, world, {namespace, *(_namespace(body) for body in given)} - {""})
    return Sight(world, tuple(dict.fromkeys(hidden)))


def _put(world: World, body: Body) -> None:
    plural = {"DtoolBucket": BUCKET_PLURAL, "DtoolDataset": DATASET_PLURAL}.get(str(body.get("kind")))
    if plural is not None:
        world.put(plural, body)


def _list(kubectl: Kubectl, resource: str, namespaces: Sequence[str]) -> tuple[list[Body], bool]:
    """List a kind everywhere or, where the user may not, in some namespaces; tell whether these are all."""
    found = _attempt(kubectl, resource, EVERYWHERE)
    if found is not None:
        return found, True
    return [body for one in namespaces for body in _attempt(kubectl, resource, Place(one)) or ()], False


def _attempt(kubectl: Kubectl, resource: str, place: Place) -> list[Body] | None:
    try:
        return kubectl.list_all(resource, place)
    except CommandFailed as error:
        if error.reason != "Forbidden":
            raise
        return None


def _read_named(kubectl: Kubectl, world: World, body: Body) -> list[str]:
    """Read the objects of other namespaces that a dataset names; return those that may not be read."""
    own, spec = _namespace(body), body.get("spec") or {}
    source = spec.get("source") or {}
    refs = [
        spec.get("bucketRef"),
        *((source.get(kind) or {}).get("bucketRef") for kind in ("stored", "objects")),
    ]
    hidden = [text for ref in refs if ref for text in _read(kubectl, world, BUCKETS, ref, own)]
    other = source.get("dataset")
    if other:
        hidden += _read(kubectl, world, DATASETS, other, own)
        found = world.find_dataset(other.get("namespace") or own, other.get("name", ""))
        ref = None if found is None else found.spec.bucket_ref
        if found is not None and isinstance(ref, BucketRef):
            place = {"name": ref.name, "namespace": ref.namespace or found.namespace}
            hidden += _read(kubectl, world, BUCKETS, place, own)
    return hidden


def _read(kubectl: Kubectl, world: World, resource: str, ref: dict[str, Any], own: str) -> list[str]:
    namespace, name = ref.get("namespace") or own, str(ref.get("name"))
    plural = resource.partition(".")[0]
    try:
        world.put(plural, kubectl.read(resource, name, namespace=namespace))
    except CommandFailed as error:
        if error.reason == "NotFound":
            return []
        if error.reason != "Forbidden":
            raise
        return [f"{plural.removesuffix('s')} {namespace}/{name}"]
    return []


def _read_namespaces(kubectl: Kubectl, world: World, needed: set[str]) -> list[str]:
    try:
        found: list[Body] = kubectl.list_all(NAMESPACE_PLURAL)
    except CommandFailed as error:
        if error.reason != "Forbidden":
            raise
        found, hidden = [], list[str]()
        for name in sorted(needed):
            found.append(_read_namespace(kubectl, name))
            hidden += [f"labels of namespace {name}"] if found[-1]["metadata"]["uid"] == _UNKNOWN_UID else []
    else:
        hidden = []
    for body in found:
        world.put(NAMESPACE_PLURAL, body)
        if body["metadata"]["name"] == "kube-system":
            world.cluster_uid = body["metadata"]["uid"]
    return hidden


def _read_namespace(kubectl: Kubectl, name: str) -> Body:
    try:
        return kubectl.read(NAMESPACE_PLURAL, name)
    except CommandFailed as error:
        if error.reason != "Forbidden":
            raise
        return _blank(name)


def _blank(name: str) -> Body:
    return {"metadata": {"name": name, "uid": _UNKNOWN_UID, "creationTimestamp": "2000-01-01T00:00:00Z"}}


def _namespace(body: Body) -> str:
    return str(body["metadata"].get("namespace") or "")
