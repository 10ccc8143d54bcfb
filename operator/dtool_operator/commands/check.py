"""`dtool-operator check`: whether an operator with these settings could work here, before one is started.

Changes nothing but a file that it makes and removes in the state directory.
"""

import os
import tempfile
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final

from dtool_operator.adapters.cluster import KubernetesCluster
from dtool_operator.adapters.connection import Connection, Refused
from dtool_operator.api.bucket import DtoolBucket, parse_bucket
from dtool_operator.api.parsing import InvalidObject
from dtool_operator.commands.endpoints import check_endpoints
from dtool_operator.commands.finding import Finding
from dtool_operator.commands.rights import check_rights, list_rights
from dtool_operator.commands.served import check_kinds
from dtool_operator.errors import ApiFailure
from dtool_operator.names import API_VERSION, BUCKET_PLURAL
from dtool_operator.planning.observed import Policy
from dtool_operator.settings import Settings

_PAGE: Final = "500"


async def run_checks(settings: Settings, connection: Connection) -> list[Finding]:
    """Check everything; what cannot be asked because the API server fails is said once."""
    findings = [
        Finding("settings", ok=True, message=f"all can be read; own namespace: {settings.namespace}"),
        check_state_dir(settings.state_dir),
    ]
    try:
        async with aclosing(_check_cluster(settings, connection)) as found:
            findings += [finding async for finding in found]
    except ApiFailure as failure:
        advice = "see KUBECONFIG, or in a Pod its ServiceAccount and the network; the rest was not checked"
        findings.append(Finding("api server", ok=False, message=failure.message, advice=advice))
    return findings


def check_state_dir(path: Path) -> Finding:
    """Try whether workers' files can be kept there."""
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile(dir=path) as file:
            file.write(b"check")
            file.flush()
    except OSError as error:
        return Finding(
            "state dir",
            ok=False,
            message=f"{path}: {error.strerror}",
            advice=f"mount an emptyDir that user {os.getuid()} may write, or set DTOOL_OPERATOR_STATE_DIR",
        )
    return Finding("state dir", ok=True, message=f"{path} can be written")


async def _check_cluster(settings: Settings, connection: Connection) -> AsyncGenerator[Finding, None]:
    version = await connection.read("/version")
    yield Finding("api server", ok=True, message=f"answers, {version.get('gitVersion', 'unknown version')}")
    kinds = await check_kinds(connection)
    yield kinds
    has_jobs = settings.worker_image is not None
    rights = list_rights(
        settings.namespace,
        settings.lease_name,
        jobs=has_jobs,
        signing=has_jobs and settings.signing_url is not None,
    )
    yield await check_rights(connection, rights)
    yield await _check_lease(settings, connection)
    if not kinds.ok:
        yield Finding("endpoint", ok=False, message="not checked", advice="install the CRDs first")
        return
    buckets = await _list_buckets(connection)
    if buckets is None:
        yield Finding("endpoint", ok=False, message="not checked", advice="grant the rights first")
        return
    if not buckets:
        yield Finding("endpoint", ok=True, message="there are no DtoolBuckets yet")
    cluster = KubernetesCluster(
        connection, operator_namespace=settings.namespace, service_account=settings.service_account
    )
    policy = Policy(admin_namespaces=settings.admin_namespaces, allowed_endpoints=settings.allowed_endpoints)
    for finding in await check_endpoints(cluster, buckets, policy):
        yield finding


async def _check_lease(settings: Settings, connection: Connection) -> Finding:
    """Say who has the Lease; one of an operator that runs already is no fault."""
    path = f"/apis/coordination.k8s.io/v1/namespaces/{settings.namespace}/leases/{settings.lease_name}"
    try:
        lease = await connection.read(path)
    except Refused as refused:
        if refused.status == 404:
            return Finding("lease", ok=True, message=f"{settings.lease_name} does not exist yet")
        advice = "apply the Role of the chart in the operator's own namespace"
        return Finding("lease", ok=False, message=refused.message, advice=advice)
    holder = (lease.get("spec") or {}).get("holderIdentity")
    return Finding("lease", ok=True, message=f"{settings.lease_name} is held by {holder or 'nobody'}")


async def _list_buckets(connection: Connection) -> list[DtoolBucket] | None:
    """List all bucket objects whose spec is valid; None without the right to."""
    query = {"limit": _PAGE}
    found: list[DtoolBucket] = []
    while True:
        try:
            page = await connection.read(f"/apis/{API_VERSION}/{BUCKET_PLURAL}", query=query)
        except Refused as refused:
            if refused.status == 403:
                return None
            raise
        found += [bucket for body in page["items"] if (bucket := _parse(body)) is not None]
        if not (rest := page["metadata"].get("continue")):
            return found
        query = {"limit": _PAGE, "continue": rest}


def _parse(body: Mapping[str, Any]) -> DtoolBucket | None:
    try:
        return parse_bucket(body)
    except InvalidObject:  # its own condition says so
        return None
