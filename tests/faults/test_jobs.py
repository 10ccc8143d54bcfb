"""What happens in the middle of an upload by a Job without keys: to the operator, the Job, and its rights."""

from __future__ import annotations

import pytest

from sandbox.errors import KubectlError
from tests.support.eventually import eventually
from tests.support.fault_lab import DONE, ITEMS, FaultLab
from tests.support.fault_proxy import Fault, refusal
from tests.support.lab import ADMIN_NAMESPACE, find_condition
from tests.support.play_kubelet import Worker
from tests.support.rights import wait_allowed
from tests.support.uploads import (
    ask_to_sign,
    check_no_job,
    check_uploaded,
    consent,
    delete_job,
    find_job,
    put_job,
    start_upload,
    upload,
    uploaders,
    withdraw_consent,
)

CERTIFICATE = "dtool-operator-signing"


# ---- the operator ------------------------------------------------------------------------------------


def test_an_upload_goes_on_without_its_operator_and_with_the_next_one(lab: FaultLab) -> None:
    done = start_upload(lab)
    certificate = lab.get("secret", CERTIFICATE, ADMIN_NAMESPACE)["data"]

    lab.operator.kill()
    lab.let_go()
    lab.operator.start()
    lab.wait_state("raw", "Frozen", within=60)

    check_uploaded(lab, done)
    assert len(uploaders(lab)) == 1
    assert lab.get("secret", CERTIFICATE, ADMIN_NAMESPACE)["data"] == certificate
    assert "job" not in lab.status("raw")


def test_an_operator_that_is_killed_between_upload_and_publication_sends_nothing_twice(lab: FaultLab) -> None:
    upload(lab)
    eventually(lambda: _assert_state(lab, "Freezing", "Verifying"), within=40)

    lab.operator.kill()
    done, since = lab.data(), len(lab.s3.requests)
    assert len(done) == len(ITEMS)
    lab.operator.start()
    lab.wait_state("raw", "Frozen", within=60)

    check_uploaded(lab, done)
    assert not lab.writes(since)


# ---- the Job -----------------------------------------------------------------------------------------


def test_a_job_that_is_deleted_by_hand_is_begun_again_once_its_name_is_free(lab: FaultLab) -> None:
    done = start_upload(lab)

    put_job(lab, delete_job(lab))
    eventually(lambda: _assert_reason(lab, "JobRefused"), within=20)
    assert [line for line in lab.logged("job_failed") if line["reason"] == "JobLost"]
    tenants = eventually(lambda: _find_uploader(lab, 2), within=20)
    assert ask_to_sign(tenants) == "NoGrant"
    lab.let_go()
    delete_job(lab)
    lab.wait_state("raw", "Frozen", within=60)

    check_uploaded(lab, done)
    assert len(uploaders(lab)) == 3


def test_a_job_that_a_tenant_disguises_while_the_operator_is_away_is_not_trusted(lab: FaultLab) -> None:
    done = start_upload(lab)

    lab.operator.kill()
    disguised = put_job(lab, delete_job(lab), "labels", "annotations", "ownerReferences")
    other = eventually(lambda: _find_uploader(lab, 2), within=20)
    lab.operator.start()
    eventually(lambda: _assert_other_job(lab, disguised), within=40)
    assert other.process.wait(timeout=20) != 0
    assert lab.data() == done
    lab.let_go()
    lab.wait_state("raw", "Frozen", within=60)

    check_uploaded(lab, done)


def test_nobody_of_the_namespace_says_which_job_the_operator_follows(lab: FaultLab) -> None:
    place = ("--namespace", lab.alice)
    lab.control_plane.kubectl("create", "rolebinding", "team", "--clusterrole=admin", "--user=alice", *place)
    wait_allowed(lab.control_plane, "alice", f"patch dtooldatasets --namespace={lab.alice}")
    lab.dataset("new")
    forged = f'{{"status":{{"job":{{"namespace":"{lab.alice}","name":"x","uid":"x"}}}}}}'
    patch = ("patch", "dtooldataset", "new", *place, "--type=merge", f"--patch={forged}", "--as=alice")

    with pytest.raises(KubectlError, match=r"[Ff]orbidden"):
        lab.control_plane.kubectl(*patch, "--subresource=status")
    lab.control_plane.kubectl(*patch)

    assert "job" not in lab.get("dtooldataset", "new").get("status", {})


# ---- its rights --------------------------------------------------------------------------------------


def test_a_bucket_that_is_closed_to_the_namespace_ends_the_job_and_all_signing(lab: FaultLab) -> None:
    done = start_upload(lab)
    worker = uploaders(lab)[0]

    _admit(lab, {"from": "Same", "selector": None})
    eventually(lambda: _assert_reason(lab, "NamespaceNotAllowed"), within=20)
    eventually(lambda: check_no_job(lab), within=20)
    lab.let_go()
    assert ask_to_sign(worker) in {"NoGrant", "401"}
    assert lab.data() == done
    _admit(lab, {"from": "Selector", "selector": {"matchLabels": lab.label}})
    lab.wait_state("raw", "Frozen", within=60)

    check_uploaded(lab, done)


def test_a_team_that_takes_its_consent_back_gets_no_more_urls_until_it_gives_it_again(lab: FaultLab) -> None:
    done = start_upload(lab)
    (worker,) = uploaders(lab)
    assert ask_to_sign(worker) == ""

    withdraw_consent(lab)
    eventually(lambda: _assert_reason(lab, "JobsForbidden"), within=20)
    assert ask_to_sign(worker) == "NoGrant"
    consent(lab)
    lab.let_go()
    lab.wait_state("raw", "Frozen", within=60)

    check_uploaded(lab, done)
    assert uploaders(lab) == [worker]


def test_keys_that_are_revoked_and_corrected_in_the_middle_of_an_upload(lab: FaultLab) -> None:
    done = start_upload(lab)

    lab.secret(secret_key="0" * 40)
    lab.let_go()
    lab.s3.faults.append(Fault(refusal(403, "InvalidAccessKeyId"), times=None))
    eventually(lambda: _assert_reason(lab, "CredentialsRejected", "BucketNotReady"), within=40)
    eventually(lambda: _assert_ended(uploaders(lab)), within=20)
    before = lab.data()
    assert before.items() >= done.items()
    lab.let_go()
    lab.secret()
    lab.request("dtoolbucket", lab.bucket, namespace=ADMIN_NAMESPACE)
    lab.wait_state("raw", "Frozen", within=60)

    check_uploaded(lab, before)


# ---- the object --------------------------------------------------------------------------------------


def test_an_upload_that_is_suspended_in_its_middle_goes_on_where_it_was(lab: FaultLab) -> None:
    done = start_upload(lab)

    lab.patch("dtooldataset", "raw", {"spec": {"suspend": True}})
    lab.wait_state("raw", "Suspended")
    eventually(lambda: check_no_job(lab), within=20)
    lab.let_go()
    lab.patch("dtooldataset", "raw", {"spec": {"suspend": False}})
    lab.wait_state("raw", "Frozen", within=60)

    check_uploaded(lab, done)


def test_an_upload_that_is_deleted_in_its_middle_is_removed(lab: FaultLab) -> None:
    start_upload(lab)

    lab.delete("dtooldataset", "raw", wait=False)
    lab.let_go()
    eventually(lambda: _assert_gone(lab), within=40)

    check_no_job(lab)
    assert list(lab.keys(lab.bucket)) == [f"u/{lab.alice}/.dtool-owner"]


def test_a_namespace_that_is_deleted_in_the_middle_of_an_upload_goes(lab: FaultLab) -> None:
    start_upload(lab)
    (worker,) = uploaders(lab)

    lab.delete("namespace", lab.alice, wait=False)
    eventually(lambda: _assert_namespace_gone(lab), within=60)

    assert worker.process.wait(timeout=20) != 0
    lab.let_go()
    assert len(lab.data()) <= DONE
    assert not any(key.endswith("/manifest.json") for key in lab.keys(lab.bucket))


def _assert_state(lab: FaultLab, *states: str) -> None:
    status = lab.status("raw")
    assert status.get("state") in states, status


def _assert_reason(lab: FaultLab, *reasons: str) -> None:
    ready = find_condition(lab.status("raw"), "Ready")
    assert ready.get("reason") in reasons, ready


def _assert_ended(workers: list[Worker]) -> None:
    assert all(one.process.poll() is not None for one in workers)


def _assert_gone(lab: FaultLab) -> None:
    assert not lab.is_there("dtooldataset", "raw")


def _assert_namespace_gone(lab: FaultLab) -> None:
    assert not lab.is_there("namespace", lab.alice), lab.get("namespace", lab.alice)["status"]


def _assert_other_job(lab: FaultLab, uid: str) -> None:
    job = find_job(lab)
    assert job is not None
    assert job["metadata"]["uid"] != uid


def _find_uploader(lab: FaultLab, count: int) -> Worker:
    assert len(uploaders(lab)) == count
    return uploaders(lab)[-1]


def _admit(lab: FaultLab, namespaces: dict[str, object]) -> None:
    lab.patch("dtoolbucket", lab.bucket, {"spec": {"allowedNamespaces": namespaces}}, ADMIN_NAMESPACE)
