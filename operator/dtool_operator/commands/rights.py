"""What the operator must be allowed to do, and asking the API server whether it is.

The table is that of the chart's roles; a test compares the two.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dtool_operator.adapters.access_review import may
from dtool_operator.adapters.connection import Connection
from dtool_operator.commands.finding import Finding
from dtool_operator.names import BUCKET_PLURAL, DATASET_PLURAL, GROUP


@dataclass(frozen=True, slots=True)
class Right:
    """One verb on one resource; `namespace` empty: in all of them; `name` empty: every object."""

    verb: str
    group: str
    resource: str
    subresource: str = ""
    namespace: str = ""
    name: str = ""

    def __str__(self) -> str:
        resource = f"{self.resource}/{self.subresource}" if self.subresource else self.resource
        what = f"{resource}.{self.group}" if self.group else resource
        name = f" {self.name}" if self.name else ""
        where = f" in namespace {self.namespace}" if self.namespace else ""
        return f"{self.verb} {what}{name}{where}"


def list_rights(
    namespace: str, lease_name: str, *, jobs: bool = False, signing: bool = False
) -> tuple[Right, ...]:
    """Return all rights of an operator whose own namespace this is.

    `jobs`: it runs Jobs (a worker image is set); `signing`: it serves their signing endpoint.
    """
    rights = list(_build_rights(namespace, lease_name))
    if jobs:
        rights += _build_job_rights(namespace)
    if signing:
        rights.append(Right("create", "authentication.k8s.io", "tokenreviews"))
    return tuple(rights)


def _build_rights(namespace: str, lease_name: str) -> Iterator[Right]:
    for plural in (BUCKET_PLURAL, DATASET_PLURAL):
        for verb in ("get", "list", "watch", "patch"):
            yield Right(verb, GROUP, plural)
        yield Right("patch", GROUP, plural, "status")
    for verb in ("create", "delete"):
        yield Right(verb, GROUP, DATASET_PLURAL)
    for verb in ("get", "list", "watch"):
        yield Right(verb, "", "namespaces")
    for verb in ("create", "patch"):
        yield Right(verb, "", "events")
    for resource in ("secrets", "configmaps"):
        yield Right("get", "", resource, namespace=namespace)
    leases = "coordination.k8s.io"
    yield Right("create", leases, "leases", namespace=namespace)
    for verb in ("get", "update"):
        yield Right(verb, leases, "leases", namespace=namespace, name=lease_name)


def _build_job_rights(namespace: str) -> Iterator[Right]:
    for verb in ("create", "update", "delete"):
        yield Right(verb, "", "secrets", namespace=namespace)
    for verb in ("create", "get", "list", "patch", "delete"):
        yield Right(verb, "batch", "jobs", namespace=namespace)
    for verb in ("get", "list"):
        yield Right(verb, "", "pods", namespace=namespace)
    yield Right("get", "", "pods", "log", namespace=namespace)
    yield Right("list", "", "events", namespace=namespace)


async def check_rights(connection: Connection, rights: Sequence[Right]) -> Finding:
    """Ask for each right. Raises ApiFailure."""
    missing = [right for right in rights if not await _has_right(connection, right)]
    if not missing:
        return Finding(
            "rights", ok=True, message=f"all {len(rights)} rights of the chart's roles are granted"
        )
    return Finding(
        "rights",
        ok=False,
        message=f"not allowed: {', '.join(map(str, missing))}",
        advice="apply the roles and bindings of the chart, for this ServiceAccount",
    )


async def _has_right(connection: Connection, right: Right) -> bool:
    return await may(
        connection,
        right.verb,
        right.group,
        right.resource,
        subresource=right.subresource,
        namespace=right.namespace,
        name=right.name,
    )
