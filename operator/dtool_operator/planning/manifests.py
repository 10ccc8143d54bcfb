"""From a task to the Kubernetes Job that does it; pure.

The Pod meets Pod Security `restricted`, holds no token of the API server and no key in its manifest. A Job is
suspended until its uid is recorded.
"""

import re
from dataclasses import dataclass, field
from typing import Any, Final

from dtool_operator import names
from dtool_operator.api.work_status import JobReference
from dtool_operator.planning.job_environment import (
    SOURCE_CA_VARIABLE,
    TARGET_CA_VARIABLE,
    TASK_VARIABLE,
    TRUSTED_CA_VARIABLE,
    spread,
)
from dtool_operator.planning.task import (
    JobPlace,
    KeysFrom,
    Location,
    SigningPlace,
    Task,
    TaskKind,
    Toleration,
)
from dtool_operator.planning.worker_pod import WorkerPod

CONTAINER: Final = "worker"
KEYS_DIRECTORY: Final = "/var/run/dtool/keys"
TOKEN_DIRECTORY: Final = "/var/run/dtool/token"  # noqa: S105 - a path
TOKEN_FILE: Final = f"{TOKEN_DIRECTORY}/token"
VOLUME_DIRECTORY: Final = "/volume"
TEMPORARY_DIRECTORY: Final = "/tmp"  # noqa: S108 - an emptyDir of the Pod's own
TARGET_KEYS: Final = "target.json"
SOURCE_KEYS: Final = "source.json"

_TARGET_CA: Final = f"{TEMPORARY_DIRECTORY}/target-ca.pem"
_SOURCE_CA: Final = f"{TEMPORARY_DIRECTORY}/source-ca.pem"
_SECRET_KEYS: Final = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_TOKEN_SECONDS: Final = 3600
_GRACE_SECONDS: Final = 30
_KEPT_SECONDS: Final = 24 * 60 * 60
_TEMPORARY_SIZE: Final = "1Gi"
#: How often a shard that failed is begun again, beside the others; then the operator decides.
_RETRIES_PER_SHARD: Final = 2
_READABLE: Final = 0o444
#: What is done on a volume that others' files lie on; everything else only reads there.
_WRITES_VOLUME: Final = frozenset({TaskKind.DOWNLOAD, TaskKind.REMOVE})
_NOT_DNS: Final = re.compile(r"[^a-z0-9]")
_NOT_PEM: Final = re.compile(r"[^\n -~]")


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What the operator's settings say of its workers' Pods.

    `trusted_ca`: PEM text of the certificates to trust where a bucket names none; None: the public ones.
    """

    image: str
    pull_policy: str = "IfNotPresent"
    pod: WorkerPod = field(default_factory=WorkerPod)
    trusted_ca: str | None = None


@dataclass(frozen=True, slots=True)
class JobInputs:
    """What a task's Pod gets beside the document.

    `target_ca`, `source_ca`: PEM text. `has_target_keys`, `has_source_keys`: of `KeysFrom.OPERATOR`, which
    sides have keys; the others use the ambient chain.
    """

    target_ca: str | None = None
    source_ca: str | None = None
    has_target_keys: bool = True
    has_source_keys: bool = True
    signing: SigningPlace | None = None


def build_job_name(task: Task) -> str:
    """Name the Job of a task: the same for the same work, another for other work; a DNS label."""
    kind, uid, fingerprint = (
        _NOT_DNS.sub("", text.lower()) for text in (task.kind.value, task.key, task.fingerprint)
    )
    return f"dtool-{kind}-{uid[:8]}-{fingerprint[:8]}"


def is_job_of(known: JobReference, task: Task) -> bool:
    """Tell whether a status names a Job of exactly this work."""
    return known.name == build_job_name(task)


def build_job(
    task: Task, *, worker: WorkerSettings, inputs: JobInputs, operator_namespace: str
) -> dict[str, Any]:
    """Return the Job of a task with a JobPlace, suspended.

    Raises ValueError for a task that no Pod can be given: no JobPlace, keys that must not leave the
    operator's namespace, a document or certificates that are too long.
    """
    place = task.job
    if place is None:
        raise ValueError("the task has no place for a Job")
    if place.keys is KeysFrom.OPERATOR and place.namespace != operator_namespace:
        raise ValueError("keys that the operator gives do not leave its own namespace")
    pod = _build_pod(task, place, worker, inputs)
    if place.namespace == operator_namespace and worker.pod.service_account_name:
        pod["serviceAccountName"] = worker.pod.service_account_name
    labels = {
        names.LABEL_MANAGED_BY: names.FIELD_MANAGER,
        names.LABEL_COMPONENT: names.WORKER_COMPONENT,
        "dtool.dev/work": task.kind.value,
    }
    metadata: dict[str, Any] = {
        "name": build_job_name(task),
        "namespace": place.namespace,
        "labels": labels,
        "annotations": {
            names.ANNOTATION_FINGERPRINT: task.fingerprint,
            names.ANNOTATION_DATASET_UID: task.key,
        },
    }
    if place.owner is not None and place.namespace == task.namespace:
        metadata["ownerReferences"] = [_build_owner(place.owner, task.key)]
    template = {"metadata": {"labels": labels}, "spec": pod}
    spec = {**_build_spec(task, place), "template": template}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}


def _build_owner(name: str, uid: str) -> dict[str, str]:
    """Let the Job go with the dataset; without blockOwnerDeletion, which needs a right of its own."""
    return {"apiVersion": names.API_VERSION, "kind": names.DATASET_KIND, "name": name, "uid": uid}


def _build_spec(task: Task, place: JobPlace) -> dict[str, Any]:
    """Say how often Pods are tried: the operator begins work again itself, with pauses and a reason.

    Only a Pod that the cluster ended (drained, preempted, evicted) is replaced by the Job itself, once it is
    known to have ended: two never write to one volume. Shards are tried again beside each other.
    """
    spec: dict[str, Any] = {
        "suspend": True,
        "completions": place.shards,
        "parallelism": place.shards,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {
            "rules": [
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
            ]
        },
        "ttlSecondsAfterFinished": _KEPT_SECONDS,
    }
    if task.kind is TaskKind.COPY_ITEMS:
        return spec | {"completionMode": "Indexed", "backoffLimitPerIndex": _RETRIES_PER_SHARD}
    return spec | {"backoffLimit": 0}


def _build_pod(task: Task, place: JobPlace, worker: WorkerSettings, inputs: JobInputs) -> dict[str, Any]:
    pod, choices = worker.pod, place.pod
    volumes, mounts = _build_volumes(task, place, inputs)
    is_writing = task.kind in _WRITES_VOLUME
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": _GRACE_SECONDS,
        "securityContext": _build_security_context(pod, is_writing=is_writing),
        "volumes": volumes,
        "containers": [_build_container(task, worker, inputs, mounts)],
        "nodeSelector": pod.node_selector | dict(choices.node_selector),
        "tolerations": [*pod.tolerations, *map(_dump_toleration, choices.tolerations)],
        "affinity": pod.affinity,
        "priorityClassName": choices.priority_class_name or pod.priority_class_name,
        "imagePullSecrets": [{"name": one.name} for one in pod.image_pull_secrets],
    }
    return {key: value for key, value in spec.items() if value not in (None, {}, [])}


def _build_security_context(pod: WorkerPod, *, is_writing: bool) -> dict[str, Any]:
    """Meet `restricted`; let the kubelet change the group of files only where the volume is written to."""
    given = pod.security_context
    groups = list(given.supplemental_groups)
    context: dict[str, Any] = {
        "runAsNonRoot": True,
        "runAsUser": given.run_as_user,
        "runAsGroup": given.run_as_group,
        "seccompProfile": {"type": "RuntimeDefault"},
        "seLinuxOptions": given.se_linux_options,
    }
    if given.fs_group is not None and is_writing:
        context["fsGroup"] = given.fs_group
        context["fsGroupChangePolicy"] = given.fs_group_change_policy
    elif given.fs_group is not None and given.fs_group not in groups:
        groups.append(given.fs_group)
    if groups:
        context["supplementalGroups"] = groups
    return {key: value for key, value in context.items() if value is not None}


def _build_container(
    task: Task, worker: WorkerSettings, inputs: JobInputs, mounts: list[dict[str, Any]]
) -> dict[str, Any]:
    choices = worker.pod.resources
    place = task.job
    assert place is not None
    document = place_files(task, inputs).model_dump_json()
    env = spread(TASK_VARIABLE, document)
    certificates = {
        TARGET_CA_VARIABLE: inputs.target_ca,
        SOURCE_CA_VARIABLE: inputs.source_ca,
        TRUSTED_CA_VARIABLE: None if place.keys is KeysFrom.NONE else worker.trusted_ca,
    }
    for name, text in certificates.items():
        if text is not None:
            env += spread(name, _NOT_PEM.sub("", text))
    own = {"HOME": TEMPORARY_DIRECTORY, "TMPDIR": TEMPORARY_DIRECTORY} | worker.pod.env
    env += [{"name": name, "value": value.replace("$", "$$")} for name, value in own.items()]
    return {
        "name": CONTAINER,
        "image": worker.image,
        "imagePullPolicy": worker.pull_policy,
        "args": ["transfer", "-"],
        "env": env,
        "resources": {
            "requests": choices.requests | dict(place.pod.requests),
            "limits": choices.limits | dict(place.pod.limits),
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": mounts,
    }


def _build_volumes(
    task: Task, place: JobPlace, inputs: JobInputs
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the Pod's volumes and where its container has them."""
    volumes: list[dict[str, Any]] = [{"name": "tmp", "emptyDir": {"sizeLimit": _TEMPORARY_SIZE}}]
    mounts: list[dict[str, Any]] = [{"name": "tmp", "mountPath": TEMPORARY_DIRECTORY}]
    if task.volume is not None:
        # the whole claim: the kubelet would follow links in a subPath, the worker follows none
        volumes.append({"name": "volume", "persistentVolumeClaim": {"claimName": task.volume.claim}})
        mount: dict[str, Any] = {"name": "volume", "mountPath": VOLUME_DIRECTORY}
        if task.kind not in _WRITES_VOLUME:
            mount["readOnly"] = True
        mounts.append(mount)
    if (keys := _build_keys(task, place, inputs)) is not None:
        volumes.append({"name": "keys", **keys})
        mounts.append({"name": "keys", "mountPath": KEYS_DIRECTORY, "readOnly": True})
    if place.keys is KeysFrom.SIGNING:
        source = {"audience": names.SIGNING_AUDIENCE, "expirationSeconds": _TOKEN_SECONDS, "path": "token"}
        volumes.append({"name": "token", "projected": {"sources": [{"serviceAccountToken": source}]}})
        mounts.append({"name": "token", "mountPath": TOKEN_DIRECTORY, "readOnly": True})
    return volumes, mounts


def _build_keys(task: Task, place: JobPlace, inputs: JobInputs) -> dict[str, Any] | None:
    """Return the source of the volume with keys; nothing but keys of a bucket's Secret is mounted."""
    match place.keys:
        case KeysFrom.OPERATOR if inputs.has_target_keys or inputs.has_source_keys:
            return {"secret": {"secretName": build_job_name(task), "defaultMode": _READABLE}}
        case KeysFrom.BUCKET:
            items = [{"key": key, "path": key} for key in _SECRET_KEYS]
            secret = {"secretName": place.secret, "items": items, "optional": True}  # a token often is not
            return {"secret": secret | {"defaultMode": _READABLE}}
        case _:
            return None


def place_files(task: Task, inputs: JobInputs) -> Task:
    """Return the document with the paths and addresses that its Pod has."""
    updates: dict[str, Any] = {}
    if task.target is not None:
        updates["target"] = _place(
            task, task.target, TARGET_KEYS, inputs.has_target_keys, inputs.target_ca and _TARGET_CA
        )
    if task.source is not None:
        updates["source"] = _place(
            task, task.source, SOURCE_KEYS, inputs.has_source_keys, inputs.source_ca and _SOURCE_CA
        )
    if task.volume is not None:
        # the worker goes down from the volume's top by itself, through no link
        updates["volume"] = task.volume.model_copy(update={"directory": VOLUME_DIRECTORY})
    if inputs.signing is not None and task.job is not None and task.job.keys is KeysFrom.SIGNING:
        updates["signing"] = inputs.signing.model_copy(update={"token_file": TOKEN_FILE})
    return task.model_copy(update=updates)


def _place(task: Task, location: Location, keys: str, has_keys: bool, ca_file: str | None) -> Location:
    path, keys_from = None, None if task.job is None else task.job.keys
    if keys_from is KeysFrom.OPERATOR and has_keys:
        path = f"{KEYS_DIRECTORY}/{keys}"
    elif keys_from is KeysFrom.BUCKET:
        path = KEYS_DIRECTORY
    return location.model_copy(update={"credentials_file": path, "ca_bundle_file": ca_file})


def _dump_toleration(one: Toleration) -> dict[str, Any]:
    dumped = one.model_dump(exclude_none=True)
    if "toleration_seconds" in dumped:
        dumped["tolerationSeconds"] = dumped.pop("toleration_seconds")
    return dumped
