"""From tasks to Jobs: what every Pod has, and what none ever has."""

import json
from typing import Any

import pytest

from dtool_operator.planning.job_environment import MAX_CHARACTERS, gather, spread
from dtool_operator.planning.manifests import (
    TEMPORARY_DIRECTORY,
    JobInputs,
    WorkerSettings,
    build_job,
    build_job_name,
)
from dtool_operator.planning.task import (
    JobPlace,
    KeysFrom,
    Location,
    PodChoices,
    SigningPlace,
    Task,
    TaskKind,
    Toleration,
    VolumePlace,
)
from dtool_operator.planning.worker_pod import parse_worker_pod

LAB = Location(bucket="lab-data", prefix="u/alice/")
POD = """
resources: {requests: {cpu: 1, memory: 2Gi}, limits: {memory: 4Gi}}
nodeSelector: {pool: work}
tolerations: [{key: work, operator: Exists}]
priorityClassName: low
imagePullSecrets: [{name: registry}]
serviceAccountName: dtool-worker
env: {HTTPS_PROXY: "http://proxy:3128", PRICE: "$(HOME)"}
"""


def task(kind: TaskKind = TaskKind.UPLOAD, keys: KeysFrom = KeysFrom.SIGNING, **changes: Any) -> Task:
    place = JobPlace(
        namespace="dtool-system" if keys is KeysFrom.OPERATOR else "alice",
        keys=keys,
        secret="lab-s3" if keys is KeysFrom.BUCKET else None,
        owner="raw",
    )
    given: dict[str, Any] = {
        "kind": kind,
        "key": "7e1d0a55-0000-4000-8000-000000000000",
        "namespace": "alice",
        "fingerprint": "0123456789abcdef",
        "uuid": "1c10766c-c4a8-4a5d-9f7a-7e1d0a55b2f1",
        "target": LAB,
        "source": LAB,
        "volume": None if keys is KeysFrom.OPERATOR else VolumePlace(claim="scratch", path="run/17/"),
        "job": place,
        "bucket_key": "dtool-system/lab",
    }
    return Task(**(given | changes))


def build(work: Task, pod: str = "", **inputs: Any) -> dict[str, Any]:
    worker = WorkerSettings("localhost/dtool:1", "Never", parse_worker_pod(pod))
    return build_job(work, worker=worker, inputs=JobInputs(**inputs), operator_namespace="dtool-system")


def pod_of(job: dict[str, Any]) -> dict[str, Any]:
    pod: dict[str, Any] = job["spec"]["template"]["spec"]
    return pod


def document_of(job: dict[str, Any]) -> Task:
    """Read the task as the worker does, after the kubelet expanded `$$`."""
    env = pod_of(job)["containers"][0]["env"]
    text = gather({one["name"]: one["value"].replace("$$", "$") for one in env}, "DTOOL_TASK")
    assert text is not None
    return Task.model_validate_json(text)


def volume_of(job: dict[str, Any], name: str) -> dict[str, Any] | None:
    return next((one for one in pod_of(job)["volumes"] if one["name"] == name), None)


def mount_of(job: dict[str, Any], name: str) -> dict[str, Any]:
    mounts: list[dict[str, Any]] = pod_of(job)["containers"][0]["volumeMounts"]
    return next(one for one in mounts if one["name"] == name)


def test_a_job_is_named_after_its_work() -> None:
    assert build_job_name(task()) == "dtool-upload-7e1d0a55-01234567"
    assert build_job_name(task(TaskKind.COPY_ITEMS)) == "dtool-copyitems-7e1d0a55-01234567"


def test_a_job_is_suspended_tried_once_and_replaced_only_where_the_cluster_ended_its_pod() -> None:
    spec = build(task())["spec"]

    assert spec["suspend"] is True
    assert (spec["backoffLimit"], spec["podReplacementPolicy"]) == (0, "Failed")
    assert spec["podFailurePolicy"]["rules"] == [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    ]
    assert "activeDeadlineSeconds" not in spec
    assert spec["ttlSecondsAfterFinished"] == 86400


def test_shards_are_completions_of_an_indexed_job_each_tried_again_alone() -> None:
    place = JobPlace(namespace="dtool-system", keys=KeysFrom.OPERATOR, shards=4)

    spec = build(task(TaskKind.COPY_ITEMS, KeysFrom.OPERATOR, job=place))["spec"]

    assert (spec["completions"], spec["parallelism"], spec["completionMode"]) == (4, 4, "Indexed")
    assert spec["backoffLimitPerIndex"] == 2
    assert "backoffLimit" not in spec


def test_a_pod_is_restricted_and_has_no_token_of_the_api_server() -> None:
    pod = pod_of(build(task()))

    (container,) = pod["containers"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert "serviceAccountName" not in pod
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["args"] == ["transfer", "-"]
    assert (container["image"], container["imagePullPolicy"]) == ("localhost/dtool:1", "Never")


def test_the_job_goes_with_its_dataset_where_that_is_in_the_same_namespace() -> None:
    (owner,) = build(task())["metadata"]["ownerReferences"]

    assert owner == {
        "apiVersion": "dtool.dev/v1alpha1",
        "kind": "DtoolDataset",
        "name": "raw",
        "uid": "7e1d0a55-0000-4000-8000-000000000000",
    }
    assert "ownerReferences" not in build(task(TaskKind.COPY_ITEMS, KeysFrom.OPERATOR))["metadata"]


@pytest.mark.parametrize("kind", [TaskKind.UPLOAD, TaskKind.INSPECT, TaskKind.VERIFY])
def test_a_volume_that_is_read_is_mounted_so_and_its_files_keep_their_group(kind: TaskKind) -> None:
    job = build(task(kind))

    assert volume_of(job, "volume") == {"name": "volume", "persistentVolumeClaim": {"claimName": "scratch"}}
    assert mount_of(job, "volume") == {"name": "volume", "mountPath": "/volume", "readOnly": True}
    context = pod_of(job)["securityContext"]
    assert "fsGroup" not in context
    assert context["supplementalGroups"] == [65532]


@pytest.mark.parametrize("kind", [TaskKind.DOWNLOAD, TaskKind.REMOVE])
def test_a_volume_that_is_written_to_is_made_writable(kind: TaskKind) -> None:
    job = build(task(kind))

    assert mount_of(job, "volume") == {"name": "volume", "mountPath": "/volume"}
    context = pod_of(job)["securityContext"]
    assert (context["fsGroup"], context["fsGroupChangePolicy"]) == (65532, "OnRootMismatch")


def test_the_document_says_where_the_volume_is_and_the_path_is_never_a_sub_path() -> None:
    job = build(task())

    volume = document_of(job).volume
    assert volume is not None
    assert (volume.directory, volume.path) == ("/volume", "run/17/")
    assert "subPath" not in json.dumps(job)


def test_without_keys_the_pod_has_a_token_for_the_signing_endpoint_alone() -> None:
    signing = SigningPlace(url="https://sign:8443", ca_pem="PEM", token_file="")

    job = build(task(), signing=signing)

    token = volume_of(job, "token")
    assert token is not None
    (source,) = token["projected"]["sources"]
    assert source["serviceAccountToken"] == {
        "audience": "dtool-operator-signing",
        "expirationSeconds": 3600,
        "path": "token",
    }
    assert volume_of(job, "keys") is None
    assert document_of(job).signing == signing.model_copy(update={"token_file": "/var/run/dtool/token/token"})


def test_the_buckets_own_secret_is_mounted_with_its_keys_alone() -> None:
    job = build(task(keys=KeysFrom.BUCKET), signing=SigningPlace(url="https://s", ca_pem="", token_file=""))

    keys = volume_of(job, "keys")
    assert keys is not None
    assert keys["secret"]["secretName"] == "lab-s3"
    assert [item["key"] for item in keys["secret"]["items"]] == [
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
    ]
    document = document_of(job)
    assert document.target is not None
    assert document.target.credentials_file == "/var/run/dtool/keys"
    assert document.signing is None
    assert volume_of(job, "token") is None


def test_in_the_operators_namespace_a_secret_of_the_job_has_the_keys_that_there_are() -> None:
    job = build(task(TaskKind.COPY_ITEMS, KeysFrom.OPERATOR), has_source_keys=False)

    document = document_of(job)
    keys = volume_of(job, "keys")
    assert keys is not None
    assert keys["secret"]["secretName"] == job["metadata"]["name"]
    assert document.target is not None
    assert document.source is not None
    assert document.target.credentials_file == "/var/run/dtool/keys/target.json"
    assert document.source.credentials_file is None


def test_a_job_that_works_on_its_volume_alone_has_neither() -> None:
    job = build(task(TaskKind.INSPECT, KeysFrom.NONE))

    assert {one["name"] for one in pod_of(job)["volumes"]} == {"tmp", "volume"}


def test_keys_that_the_operator_gives_stay_in_its_namespace() -> None:
    place = JobPlace(namespace="alice", keys=KeysFrom.OPERATOR)

    with pytest.raises(ValueError, match="own namespace"):
        build(task(job=place))


def test_a_task_without_a_place_is_no_job() -> None:
    with pytest.raises(ValueError, match="no place"):
        build(task(job=None))


def test_certificates_travel_in_the_environment_without_what_is_no_pem() -> None:
    job = build(task(), target_ca="-----BEGIN\x00é\nabc", source_ca=None)

    env = {one["name"]: one["value"] for one in pod_of(job)["containers"][0]["env"]}
    assert env["DTOOL_TARGET_CA"] == "-----BEGIN\nabc"
    assert "DTOOL_SOURCE_CA" not in env
    target = document_of(job).target
    assert target is not None
    assert target.ca_bundle_file == f"{TEMPORARY_DIRECTORY}/target-ca.pem"


@pytest.mark.parametrize("keys", KeysFrom)
def test_certificates_that_the_administrator_trusts_go_to_every_pod_that_talks_to_s3(keys: KeysFrom) -> None:
    worker = WorkerSettings("localhost/dtool:1", trusted_ca="-----BEGIN")

    job = build_job(task(keys=keys), worker=worker, inputs=JobInputs(), operator_namespace="dtool-system")

    env = {one["name"]: one["value"] for one in pod_of(job)["containers"][0]["env"]}
    assert env.get("DTOOL_TRUSTED_CA") == (None if keys is KeysFrom.NONE else "-----BEGIN")
    assert "DTOOL_TARGET_CA" not in env


def test_settings_and_the_buckets_choices_come_together_and_the_bucket_wins() -> None:
    choices = PodChoices(
        node_selector=(("pool", "big"), ("disk", "fast")),
        tolerations=(Toleration(key="big", operator="Exists", toleration_seconds=5),),
        priority_class_name="high",
        limits=(("memory", "8Gi"),),
    )
    place = JobPlace(namespace="dtool-system", keys=KeysFrom.OPERATOR, pod=choices)

    pod = pod_of(build(task(TaskKind.COPY, KeysFrom.OPERATOR, job=place), POD))

    assert pod["nodeSelector"] == {"pool": "big", "disk": "fast"}
    assert pod["tolerations"] == [
        {"key": "work", "operator": "Exists"},
        {"key": "big", "operator": "Exists", "tolerationSeconds": 5},
    ]
    assert pod["priorityClassName"] == "high"
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    assert pod["containers"][0]["resources"] == {
        "requests": {"cpu": "1", "memory": "2Gi"},
        "limits": {"memory": "8Gi"},
    }
    assert pod["serviceAccountName"] == "dtool-worker"
    env = {one["name"]: one["value"] for one in pod["containers"][0]["env"]}
    assert env["HTTPS_PROXY"] == "http://proxy:3128"
    assert env["PRICE"] == "$$(HOME)"


def test_the_operators_account_of_workers_is_not_used_in_a_tenants_namespace() -> None:
    assert "serviceAccountName" not in pod_of(build(task(), POD))


def test_what_is_null_in_the_security_context_is_left_to_the_cluster() -> None:
    given = "securityContext: {runAsUser: null, runAsGroup: null, fsGroup: null}"

    context = pod_of(build(task(TaskKind.DOWNLOAD), given))["securityContext"]

    assert context == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nodeselector: {}", "workerPod.nodeselector"),
        ("securityContext: {runAsUser: 0}", "workerPod.securityContext.runAsUser"),
        ("resources: {limits: {memory: much}}", "workerPod.resources.limits.memory"),
        ("env: {DTOOL_TASK: x}", "DTOOL_TASK"),
        ("env: {AWS_SECRET_ACCESS_KEY: x}", "AWS_SECRET_ACCESS_KEY"),
        ("[]", "mapping"),
        ("{", "not YAML"),
        ("#" * 70_000, "characters"),
    ],
)
def test_a_pod_file_that_means_nothing_is_refused_with_the_keys_name(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_worker_pod(text)


@pytest.mark.parametrize("text", ["", "short", "$(HOME) $$ $", "é" * 60_000, "x" * 25_000])
def test_a_text_arrives_as_it_was_sent(text: str) -> None:
    env = spread("DTOOL_TASK", text)

    assert all(len(one["value"].encode()) < 128 * 1024 for one in env)
    assert gather({one["name"]: one["value"].replace("$$", "$") for one in env}, "DTOOL_TASK") == text


def test_a_text_that_no_pod_can_be_given_is_refused() -> None:
    with pytest.raises(ValueError, match="DTOOL_TASK"):
        spread("DTOOL_TASK", "x" * (MAX_CHARACTERS + 1))
    assert gather({}, "DTOOL_TASK") is None


def test_only_the_places_that_a_task_has_are_filled_in() -> None:
    work = task(TaskKind.REMOVE, KeysFrom.NONE, target=None, source=None)

    document = document_of(build(work))

    assert (document.target, document.source, document.signing) == (None, None, None)
    assert document.volume is not None
    assert document.volume.directory == "/volume"


@pytest.mark.parametrize(("seconds", "written"), [(None, None), (60, 60)])
def test_a_toleration_says_for_how_long_only_where_it_is_said(
    seconds: int | None, written: int | None
) -> None:
    pods = PodChoices(tolerations=(Toleration(key="work", toleration_seconds=seconds),))
    place = JobPlace(namespace="alice", keys=KeysFrom.SIGNING, pod=pods)

    tolerations = pod_of(build(task(job=place)))["tolerations"]

    assert [one.get("tolerationSeconds") for one in tolerations if one.get("key") == "work"] == [written]
