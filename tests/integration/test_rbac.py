"""The RBAC rules on a real API server: what the operator and users may do, and what not."""

import contextlib
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.controlplane import ControlPlane
from sandbox.readiness import wait_until_ready
from tests.support.rights import is_allowed, wait_allowed

ROOT = Path(__file__).parents[2]
OPERATOR = "system:serviceaccount:dtool-system:dtool-operator"

ALLOWED_TO_OPERATOR = [
    "list dtoolbuckets --all-namespaces",
    "watch dtooldatasets --all-namespaces",
    "patch dtooldatasets --namespace=TEAM",
    "create dtooldatasets --namespace=TEAM",
    "delete dtooldatasets --namespace=TEAM",
    "patch dtooldatasets --subresource=status --namespace=TEAM",
    "patch dtoolbuckets --subresource=status --namespace=TEAM",
    "watch namespaces",
    "get namespaces",
    "create events --namespace=TEAM",
    "get secrets --namespace=dtool-system",
    "get configmaps --namespace=dtool-system",
    "create leases --namespace=dtool-system",
    "get leases/dtool-operator --namespace=dtool-system",
    "update leases/dtool-operator --namespace=dtool-system",
    "create secrets --namespace=dtool-system",
    "create jobs --namespace=dtool-system",
    "delete jobs --namespace=dtool-system",
    "get pods --subresource=log --namespace=dtool-system",
    "list events --namespace=dtool-system",
    "create tokenreviews",
]
FORBIDDEN_TO_OPERATOR = [
    "update dtooldatasets --namespace=TEAM",
    "deletecollection dtooldatasets --namespace=TEAM",
    "create dtoolbuckets --namespace=TEAM",
    "delete dtoolbuckets --namespace=TEAM",
    "update dtoolbuckets --namespace=TEAM",
    "get secrets --namespace=TEAM",
    "get configmaps --namespace=TEAM",
    "list configmaps --namespace=dtool-system",
    "list secrets --namespace=dtool-system",
    "watch secrets --all-namespaces",
    "create secrets --namespace=TEAM",
    "patch secrets --namespace=dtool-system",
    "create pods --namespace=dtool-system",
    "delete pods --namespace=dtool-system",
    "create jobs --namespace=TEAM",
    "list pods --namespace=TEAM",
    "get pods --subresource=log --namespace=TEAM",
    "list events --namespace=TEAM",
    "create serviceaccounts --subresource=token --namespace=TEAM",
    "create rolebindings --namespace=TEAM",
    "patch namespaces",
    "update leases/another --namespace=dtool-system",
    "delete leases/dtool-operator --namespace=dtool-system",
    "get leases/dtool-operator --namespace=TEAM",
]
USERS = {
    "view": (
        ["list dtooldatasets", "get dtoolbuckets"],
        ["create dtooldatasets", "patch dtoolbuckets", "patch dtooldatasets --subresource=status"],
    ),
    "edit": (
        ["create dtooldatasets", "delete dtooldatasets", "watch dtoolbuckets"],
        ["create dtoolbuckets", "patch dtoolbuckets", "patch dtooldatasets --subresource=status"],
    ),
    "admin": (
        ["create dtooldatasets", "create dtoolbuckets", "delete dtoolbuckets"],
        ["patch dtoolbuckets --subresource=status", "update dtooldatasets --subresource=status"],
    ),
}


@pytest.fixture(scope="module")
def team(control_plane: ControlPlane) -> Iterator[str]:
    """A namespace of users, beside the operator's own; rules are applied and aggregated."""
    control_plane.kubectl("apply", "--filename", str(ROOT / "crds"))
    control_plane.kubectl(
        "apply", "--filename=-", stdin="{apiVersion: v1, kind: Namespace, metadata: {name: dtool-system}}"
    )
    control_plane.kubectl("apply", "--filename", str(ROOT / "charts/dtool-operator/rbac"))
    wait_until_ready(
        lambda: all("dtool.dev" in control_plane.kubectl("describe", "clusterrole", role) for role in USERS),
        what="aggregation of the users' roles",
        processes=control_plane.processes,
        within_seconds=30,
    )
    name = f"rbac-{uuid.uuid4().hex[:8]}"
    control_plane.kubectl("create", "namespace", name)
    for role in USERS:
        control_plane.kubectl(
            "create",
            "rolebinding",
            role,
            f"--clusterrole={role}",
            f"--user={role}-user",
            f"--namespace={name}",
        )

    yield name

    control_plane.kubectl("delete", "namespace", name, "--wait=false")


@pytest.mark.parametrize("question", ALLOWED_TO_OPERATOR)
def test_the_operator_may_do_what_it_needs(control_plane: ControlPlane, team: str, question: str) -> None:
    assert is_allowed(control_plane, OPERATOR, question.replace("TEAM", team))


@pytest.mark.parametrize("question", FORBIDDEN_TO_OPERATOR)
def test_the_operator_may_do_nothing_else(control_plane: ControlPlane, team: str, question: str) -> None:
    assert not is_allowed(control_plane, OPERATOR, question.replace("TEAM", team))


@pytest.mark.parametrize("role", USERS)
def test_users_may_do_what_their_role_says_and_nobody_writes_a_status(
    control_plane: ControlPlane, team: str, role: str
) -> None:
    """Rule 22."""
    allowed, forbidden = USERS[role]

    def may(question: str) -> bool:
        return is_allowed(control_plane, f"{role}-user", f"{question} --namespace={team}")

    assert [question for question in allowed if not may(question)] == []
    assert [question for question in forbidden if may(question)] == []


def test_a_team_lets_the_operator_read_its_secrets_by_one_rolebinding(
    control_plane: ControlPlane, team: str
) -> None:
    """Rule 5."""
    with bound(control_plane, team, "dtool-operator-secret-reader"):
        wait_allowed(control_plane, OPERATOR, f"get secrets --namespace={team}")
        assert is_allowed(control_plane, OPERATOR, f"get configmaps --namespace={team}")
        assert not is_allowed(control_plane, OPERATOR, f"list secrets --namespace={team}")
        assert not is_allowed(control_plane, OPERATOR, "get secrets --namespace=default")


def test_a_team_lets_the_operator_run_jobs_by_one_rolebinding(control_plane: ControlPlane, team: str) -> None:
    with bound(control_plane, team, "dtool-operator-job-runner"):
        wait_allowed(control_plane, OPERATOR, f"create jobs --namespace={team}")
        assert is_allowed(control_plane, OPERATOR, f"get pods --subresource=log --namespace={team}")
        assert not is_allowed(control_plane, OPERATOR, f"list jobs --namespace={team}")
        assert not is_allowed(control_plane, OPERATOR, f"create pods --namespace={team}")
        assert not is_allowed(control_plane, OPERATOR, f"get secrets --namespace={team}")
        assert not is_allowed(control_plane, OPERATOR, "create jobs --namespace=default")


@contextlib.contextmanager
def bound(control_plane: ControlPlane, team: str, role: str) -> Iterator[None]:
    """Bind a role to the operator in the team's namespace, as the team does."""
    control_plane.kubectl(
        *("create", "rolebinding", role, f"--clusterrole={role}"),
        *("--serviceaccount=dtool-system:dtool-operator", f"--namespace={team}"),
    )
    try:
        yield
    finally:
        control_plane.kubectl("delete", "rolebinding", role, f"--namespace={team}")
