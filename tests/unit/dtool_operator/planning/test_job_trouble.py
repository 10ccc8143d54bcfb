"""What a Job's and its Pods' documents mean: troubles while it runs, reasons once it failed."""

from typing import Any

import pytest

from dtool_operator.planning.job_state import JobState, Words, parse_job, parse_pods, parse_warnings
from dtool_operator.planning.job_trouble import (
    build_lost,
    explain_failure,
    explain_refusal,
    find_trouble,
    is_worth_asking,
)
from dtool_operator.planning.transfer import JobRef

JOB = JobState(JobRef("alice", "dtool-upload-1", "job-1"), "7")


def pod(status: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    owner = {"kind": "Job", "uid": "job-1", "controller": True}
    given = {"name": "pod-1", "uid": "pod-1", "creationTimestamp": "1", "ownerReferences": [owner]}
    return {"metadata": given | metadata, "spec": {"nodeName": "node-1"}, "status": status}


def waiting(reason: str) -> dict[str, Any]:
    state = {"waiting": {"reason": reason, "message": "its words"}}
    return {"phase": "Pending", "containerStatuses": [{"state": state}]}


def ended(code: int, reason: str = "Error") -> dict[str, Any]:
    state = {"terminated": {"exitCode": code, "reason": reason}}
    return {"phase": "Failed", "containerStatuses": [{"state": state}]}


def unscheduled(message: str) -> dict[str, Any]:
    return {"conditions": [{"type": "PodScheduled", "status": "False", "message": message}]}


RUNNING: dict[str, Any] = {
    "phase": "Running",
    "conditions": [{"type": "Ready", "status": "True"}],
    "containerStatuses": [{"state": {"running": {}}}],
}


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (RUNNING, None),
        ({"phase": "Succeeded"}, None),
        ({}, None),
        (ended(1), None),
        (waiting("ErrImagePull"), "ImagePullFailed"),
        (waiting("ImagePullBackOff"), "ImagePullFailed"),
        (waiting("InvalidImageName"), "ImagePullFailed"),
        (waiting("CreateContainerConfigError"), "JobRefused"),
        (unscheduled("0/3 nodes are available: 3 Insufficient cpu."), "Unschedulable"),
        (unscheduled('persistentvolumeclaim "scratch" not found'), "VolumeNotFound"),
        (unscheduled("pod has unbound immediate PersistentVolumeClaims."), "VolumeNotFound"),
        ({"phase": "Failed", "reason": "Evicted", "message": "low on memory"}, "PodEvicted"),
        (RUNNING | {"conditions": [{"type": "Ready", "status": "False"}]}, "PodEvicted"),
        ({"phase": "Unknown"}, "PodEvicted"),
        (
            RUNNING | {"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "X"}]},
            "PodEvicted",
        ),
    ],
)
def test_a_pod_shows_why_it_does_not_get_on(status: dict[str, Any], reason: str | None) -> None:
    found = find_trouble(JOB, parse_pods([pod(status)], JOB.ref), (), ())

    assert (None if found is None else found.reason) == reason


def test_events_are_asked_for_where_a_pod_has_a_node_and_says_nothing() -> None:
    (silent,) = parse_pods([pod(waiting("ContainerCreating"))], JOB.ref)
    warnings = parse_warnings(
        [
            {"type": "Normal", "reason": "Scheduled", "message": "x", "lastTimestamp": "3"},
            {"type": "Warning", "reason": "FailedMount", "message": "no such share", "lastTimestamp": "2"},
        ]
    )

    found = find_trouble(JOB, (silent,), (), warnings)

    assert is_worth_asking(silent)
    assert found is not None
    assert (found.reason, found.message) == ("VolumeUnavailable", "FailedMount: no such share")
    sandbox = find_trouble(JOB, (silent,), (), (Words("FailedCreatePodSandBox", "x"),))
    assert sandbox is not None
    assert sandbox.reason == "JobRefused"
    assert find_trouble(JOB, (silent,), (), (Words("DNSConfigForming", "x"),)) is None


def test_what_kept_a_pod_from_a_node_is_no_trouble_once_it_has_one() -> None:
    (bound,) = parse_pods([pod(waiting("ContainerCreating"))], JOB.ref)

    assert find_trouble(JOB, (bound,), (), (Words("FailedScheduling", "0/1 nodes are available"),)) is None


def test_a_job_without_pods_is_explained_by_its_own_events() -> None:
    quota = 'pods "x" is forbidden: exceeded quota: small, requested: pods=1, used: pods=1, limited: pods=1'

    found = find_trouble(JOB, (), (Words("FailedCreate", quota),), ())

    assert found is not None
    assert found.reason == "PodQuotaExceeded"
    assert find_trouble(JOB, (), (), ()) is None


def test_a_refusal_that_is_no_quota_has_its_own_words() -> None:
    assert explain_refusal('violates PodSecurity "restricted:latest"').reason == "JobRefused"


def test_a_job_that_somebody_suspended_is_queued() -> None:
    body = {
        "metadata": {"namespace": "alice", "name": "x", "uid": "job-1"},
        "spec": {"suspend": True},
    }

    found = find_trouble(parse_job(body), (), (), ())

    assert found is not None
    assert found.reason == "Queued"


@pytest.mark.parametrize(
    ("status", "reason", "words"),
    [
        (ended(137, "OOMKilled"), "OutOfMemory", "limit"),
        (ended(137), "TransferFailed", "SIGKILL"),
        (ended(2), "TransferFailed", "status 2"),
        (ended(255), "TransferFailed", "status 255"),
        ({"phase": "Failed", "reason": "Evicted", "message": "low on memory"}, "PodEvicted", "low on memory"),
    ],
)
def test_a_failed_job_is_explained_by_its_pod(status: dict[str, Any], reason: str, words: str) -> None:
    found = explain_failure(JOB, parse_pods([pod(status)], JOB.ref))

    assert found.reason == reason
    assert words in found.message
    assert found.retryable


def test_a_failed_job_without_pods_has_the_words_of_its_condition() -> None:
    condition = {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "too often"}
    body = {
        "metadata": {"namespace": "alice", "name": "x", "uid": "job-1"},
        "status": {"conditions": [condition]},
    }

    found = explain_failure(parse_job(body), ())

    assert "BackoffLimitExceeded: too often" in found.message


def test_pods_count_by_their_controllers_uid_and_no_label() -> None:
    other = {"kind": "Job", "uid": "job-2", "controller": True}
    loose = {"kind": "Job", "uid": "job-1"}
    bodies = [
        pod(RUNNING),
        pod(RUNNING, name="forged", ownerReferences=[other], labels={"controller-uid": "job-1"}),
        pod(RUNNING, name="loose", ownerReferences=[loose]),
    ]

    assert [one.name for one in parse_pods(bodies, JOB.ref)] == ["pod-1"]


def test_the_newest_pod_of_an_index_counts() -> None:
    bodies = [
        pod({"phase": "Failed", "reason": "Evicted"}, name="old", creationTimestamp="1"),
        pod(RUNNING, name="new", creationTimestamp="2"),
    ]

    assert find_trouble(JOB, parse_pods(bodies, JOB.ref), (), ()) is None


EVICTED: dict[str, Any] = {
    "phase": "Failed",
    "conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}],
}


@pytest.mark.parametrize(
    ("former", "status", "reason"),
    [
        (EVICTED, {"phase": "Pending"}, "PodEvicted"),
        (EVICTED, RUNNING, None),
        (ended(1), {"phase": "Pending"}, None),
    ],
    ids=["evicted, its successor not begun", "evicted, its successor works", "failed by itself"],
)
def test_a_pod_that_takes_the_place_of_another_says_why(
    former: dict[str, Any], status: dict[str, Any], reason: str | None
) -> None:
    first = pod(former, name="pod-0", uid="pod-0", creationTimestamp="0")
    pods = parse_pods([first, pod(status)], JOB.ref)

    trouble = find_trouble(JOB, pods, (), ())

    assert (None if trouble is None else trouble.reason) == reason


def test_texts_of_others_are_sanitized() -> None:
    (found,) = parse_pods([pod(unscheduled("bad\x1b[31m\nwords" + "x" * 9000))], JOB.ref)

    assert found.unschedulable is not None
    assert found.unschedulable.isprintable()
    assert len(found.unschedulable) <= 500


def test_a_job_that_is_gone_is_begun_again() -> None:
    line = build_lost("the Job alice/dtool-upload-1 is gone")

    assert (line.reason, line.retryable) == ("JobLost", True)


def test_a_pod_that_ended_well_does_not_say_why_its_job_failed() -> None:
    pods = parse_pods([pod(ended(0, "Completed"))], JOB.ref)

    line = explain_failure(parse_job({"metadata": {"namespace": "alice", "name": "a", "uid": "1"}}), pods)

    assert line.reason == "TransferFailed"
    assert "no Pod of it is left to ask" in line.message


def test_words_are_written_as_the_cluster_gives_them() -> None:
    assert [str(one) for one in (Words("Evicted", "low on memory"), Words("NodeLost"))] == [
        "Evicted: low on memory",
        "NodeLost",
    ]


@pytest.mark.parametrize(
    ("status", "is_ended"), [(RUNNING, False), ({"phase": "Succeeded"}, True), (ended(1), True)]
)
def test_a_pod_has_ended_whose_container_never_runs_again(status: dict[str, Any], is_ended: bool) -> None:
    [found] = parse_pods([pod(status)], JOB.ref)

    assert found.is_ended is is_ended
