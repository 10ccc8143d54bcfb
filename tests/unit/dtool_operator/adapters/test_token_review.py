"""Rule 5: what is believed of a TokenReview and of a Pod."""

from __future__ import annotations

from typing import Any

import pytest

from dtool_operator.adapters.token_review import find_controlling_job, find_pod
from dtool_operator.planning.transfer import JobRef

AUDIENCE = "dtool-operator-signing"
EXTRA = {
    "authentication.kubernetes.io/pod-name": ["worker-x"],
    "authentication.kubernetes.io/pod-uid": ["pod-1"],
}
STATUS: dict[str, Any] = {
    "authenticated": True,
    "audiences": [AUDIENCE],
    "user": {"username": "system:serviceaccount:alice:default", "extra": EXTRA},
}
OWNER = {"apiVersion": "batch/v1", "kind": "Job", "name": "upload", "uid": "job-1", "controller": True}
POD: dict[str, Any] = {
    "metadata": {"namespace": "alice", "name": "worker-x", "uid": "pod-1", "ownerReferences": [OWNER]},
    "status": {"phase": "Running"},
}


def test_a_pod_that_the_api_server_vouches_for_is_believed() -> None:
    assert find_pod(STATUS, audience=AUDIENCE) == ("alice", "worker-x", "pod-1")


@pytest.mark.parametrize(
    "change",
    [
        {"authenticated": False},
        {"authenticated": "true"},
        {"audiences": []},
        {"audiences": None},
        {"audiences": ["https://kubernetes.default.svc"]},
        {"user": None},
        {"user": {"username": "alice", "extra": EXTRA}},
        {"user": {"username": "system:serviceaccount:alice", "extra": EXTRA}},
        {"user": {"username": "system:serviceaccount:al/ice:default", "extra": EXTRA}},
        {"user": {**STATUS["user"], "extra": None}},
        {"user": {**STATUS["user"], "extra": {**EXTRA, "authentication.kubernetes.io/pod-uid": []}}},
        {"user": {**STATUS["user"], "extra": {**EXTRA, "authentication.kubernetes.io/pod-uid": ["1", "2"]}}},
        {"user": {**STATUS["user"], "extra": {**EXTRA, "authentication.kubernetes.io/pod-name": ["../x"]}}},
    ],
    ids=str,
)
def test_everything_else_is_not(change: dict[str, Any]) -> None:
    assert find_pod({**STATUS, **change}, audience=AUDIENCE) is None


@pytest.mark.parametrize("phase", ["Running", "Pending", None])
def test_a_pod_that_works_speaks_for_the_job_that_controls_it(phase: str | None) -> None:
    assert find_controlling_job({**POD, "status": {"phase": phase}}, uid="pod-1") == JobRef(
        "alice", "upload", "job-1"
    )


@pytest.mark.parametrize(
    "pod",
    [
        {**POD, "status": {"phase": "Succeeded"}},
        {**POD, "status": {"phase": "Failed"}},
        {**POD, "metadata": {**POD["metadata"], "uid": "pod-2"}},
        {**POD, "metadata": {**POD["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}},
        {**POD, "metadata": {**POD["metadata"], "ownerReferences": None}},
        {**POD, "metadata": {**POD["metadata"], "ownerReferences": [{**OWNER, "controller": False}]}},
        {**POD, "metadata": {**POD["metadata"], "ownerReferences": [{**OWNER, "kind": "ReplicaSet"}]}},
        {**POD, "metadata": {**POD["metadata"], "ownerReferences": [{**OWNER, "apiVersion": "x.dev/v1"}]}},
    ],
)
def test_other_pods_speak_for_no_job(pod: dict[str, Any]) -> None:
    assert find_controlling_job(pod, uid="pod-1") is None
