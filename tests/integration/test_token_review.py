"""Rule 5: whom the API server itself vouches for: tokens of Pods, bound as the kubelet has them bound."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from dtool_operator.adapters.connection import Connection
from dtool_operator.adapters.own_secrets import KubernetesOwnSecrets, SecretOwner
from dtool_operator.adapters.token_review import TokenReviewer
from dtool_operator.errors import Conflict, Gone
from dtool_operator.planning.transfer import JobRef
from dtool_operator.transfers.signing.certificate import ensure_certificate
from dtool_operator.transfers.signing.wire import AUDIENCE
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from sandbox.controlplane import ControlPlane


@pytest.fixture
async def connection(control_plane: ControlPlane) -> AsyncIterator[Connection]:
    found = Connection(environment={"KUBECONFIG": str(control_plane.admin_kubeconfig)})
    yield found
    await found.close()


@pytest.fixture
def reviewer(connection: Connection) -> TokenReviewer:
    return TokenReviewer(connection, audience=AUDIENCE)


def create(control_plane: ControlPlane, manifest: dict[str, Any]) -> dict[str, Any]:
    """Create an object as a user does; return it."""
    created: dict[str, Any] = json.loads(
        control_plane.kubectl("create", "--output=json", "--filename=-", stdin=json.dumps(manifest))
    )
    return created


def create_job(control_plane: ControlPlane, namespace: str, name: str = "upload") -> JobRef:
    """Create a Job that waits, so that no controller makes or removes Pods of it."""
    container = {"name": "worker", "image": "none.invalid/none"}
    spec = {"restartPolicy": "Never", "containers": [container]}
    body = create(
        control_plane,
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"managedBy": "dtool.dev/test", "template": {"spec": spec}},
        },
    )
    return JobRef(namespace, name, body["metadata"]["uid"])


def create_pod(control_plane: ControlPlane, namespace: str, *, name: str, owner: JobRef | None) -> str:
    """Create a Pod that no node runs; return its uid."""
    metadata: dict[str, Any] = {"name": name, "namespace": namespace}
    if owner is not None:
        reference = {"apiVersion": "batch/v1", "kind": "Job", "name": owner.name, "uid": owner.uid}
        metadata["ownerReferences"] = [{**reference, "controller": True}]
    container = {"name": "worker", "image": "none.invalid/none"}
    spec = {"containers": [container], "automountServiceAccountToken": False}
    body = create(control_plane, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    return str(body["metadata"]["uid"])


def create_token(
    control_plane: ControlPlane, namespace: str, *, pod: tuple[str, str] | None, audience: str = AUDIENCE
) -> str:
    """Have a token made, as the kubelet does for a projected volume."""
    eventually(lambda: find_account(control_plane, namespace), within=20)
    bound = [] if pod is None else ["--bound-object-kind=Pod", f"--bound-object-name={pod[0]}"]
    bound += [] if pod is None else [f"--bound-object-uid={pod[1]}"]
    made = control_plane.kubectl(
        "create", "token", "default", f"--namespace={namespace}", f"--audience={audience}", *bound
    )
    return made.strip()


def find_account(control_plane: ControlPlane, namespace: str) -> None:
    found = control_plane.kubectl("get", "serviceaccounts", f"--namespace={namespace}", "--output=name")
    assert "default" in found


@pytest.fixture
def account(control_plane: ControlPlane, namespace: str) -> str:
    """A namespace with its ServiceAccount, without which no Pod is admitted."""
    eventually(lambda: find_account(control_plane, namespace), within=20)
    return namespace


async def test_the_pod_of_a_job_is_known_by_its_token(
    control_plane: ControlPlane, account: str, reviewer: TokenReviewer
) -> None:
    job = create_job(control_plane, account)
    uid = create_pod(control_plane, account, name="worker", owner=job)

    token = create_token(control_plane, account, pod=("worker", uid))

    assert await reviewer.find_job(token) == job


async def test_tokens_of_others_are_nobodys(
    control_plane: ControlPlane, account: str, reviewer: TokenReviewer
) -> None:
    """Another audience, no Pod, a Pod of no Job, forged and broken ones."""
    job = create_job(control_plane, account)
    pod = "worker", create_pod(control_plane, account, name="worker", owner=job)
    alone = "alone", create_pod(control_plane, account, name="alone", owner=None)
    good = create_token(control_plane, account, pod=pod)
    head, payload, signature = good.split(".")

    for token in (
        create_token(control_plane, account, pod=pod, audience="https://kubernetes.default.svc"),
        create_token(control_plane, account, pod=pod, audience="another"),
        create_token(control_plane, account, pod=None),
        create_token(control_plane, account, pod=alone),
        f"{head}.{payload}.{signature[::-1]}",
        f"{head}.{payload}.",
        "x",
    ):
        assert await reviewer.find_job(token) is None


async def test_a_job_that_was_made_again_is_another(
    control_plane: ControlPlane, account: str, reviewer: TokenReviewer
) -> None:
    """The Pod of a Job that was deleted speaks for that one's uid, as long as it is there at all."""
    first = create_job(control_plane, account)
    uid = create_pod(control_plane, account, name="worker", owner=first)
    token = create_token(control_plane, account, pod=("worker", uid))
    control_plane.kubectl("delete", "job", "upload", f"--namespace={account}", "--cascade=orphan")

    second = create_job(control_plane, account)

    assert second.uid != first.uid
    assert await reviewer.find_job(token) != second


async def test_a_pod_that_has_gone_or_was_made_again_is_nobody(
    control_plane: ControlPlane, account: str, reviewer: TokenReviewer
) -> None:
    job = create_job(control_plane, account)
    uid = create_pod(control_plane, account, name="worker", owner=job)
    token = create_token(control_plane, account, pod=("worker", uid))
    assert await reviewer.find_job(token) == job

    control_plane.kubectl("delete", "pod", "worker", f"--namespace={account}", "--grace-period=0", "--force")
    create_pod(control_plane, account, name="worker", owner=job)

    async def is_nobodys() -> bool:
        return await reviewer.find_job(token) is None

    assert await is_nobodys()


async def test_the_operators_own_secrets_are_made_read_replaced_and_removed(
    control_plane: ControlPlane, account: str, connection: Connection
) -> None:
    kept, name = KubernetesOwnSecrets(connection, namespace=account), f"s-{secrets.token_hex(3)}"
    job = create_job(control_plane, account)
    assert await kept.read(name) is None

    await kept.create(name, {"a": "1"}, owner=SecretOwner("batch/v1", "Job", job.name, job.uid))
    with pytest.raises(Conflict):
        await kept.create(name, {"a": "2"})
    await kept.replace(name, {"b": "ü"})

    found = await kept.read(name)
    assert found is not None
    assert dict(found.data) == {"b": "ü"}
    body = json.loads(control_plane.kubectl("get", "secret", name, f"--namespace={account}", "--output=json"))
    assert body["metadata"]["ownerReferences"][0]["uid"] == job.uid
    assert body["metadata"]["labels"] == {"app.kubernetes.io/managed-by": "dtool-operator"}
    await kept.delete(name)
    await kept.delete(name)
    with pytest.raises(Gone):
        await kept.replace(name, {})


async def test_the_certificate_is_made_once_and_kept(account: str, connection: Connection) -> None:
    from datetime import UTC, datetime

    kept, now = KubernetesOwnSecrets(connection, namespace=account), datetime.now(UTC)

    first = await ensure_certificate(kept, "dtool-operator-signing", host="127.0.0.1", now=now)
    again = await ensure_certificate(kept, "dtool-operator-signing", host="127.0.0.1", now=now)
    other = await ensure_certificate(kept, "dtool-operator-signing", host="signing.dtool.svc", now=now)

    assert first == again
    assert other.ca_pem != first.ca_pem
    assert replace(other, key_pem="") != replace(first, key_pem="")
    assert first.key_pem not in repr(first)
