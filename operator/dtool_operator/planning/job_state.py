"""What a Job and its Pods look like, read from the API server's documents; frozen values, pure.

Whoever may edit Pods writes these documents: texts are sanitized here, and nothing in them is evidence.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from dtool_operator import names
from dtool_operator.api.schema import sanitize
from dtool_operator.planning.transfer import JobRef

_MESSAGE_MAXIMUM: Final = 500
_INDEX: Final = "batch.kubernetes.io/job-completion-index"

Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Words:
    """A reason in CamelCase and a sentence, as the cluster gives them."""

    reason: str
    message: str = ""

    def __str__(self) -> str:
        """Both, or the one there is."""
        return f"{self.reason}: {self.message}" if self.message else self.reason


@dataclass(frozen=True, slots=True)
class JobState:
    """A Job. `failure`: it ended without success; `fingerprint`, `key`: of the task it was made for."""

    ref: JobRef
    resource_version: str
    fingerprint: str | None = None
    key: str | None = None
    is_managed: bool = False
    is_suspended: bool = False
    is_deleting: bool = False
    is_complete: bool = False
    failure: Words | None = None

    @property
    def is_finished(self) -> bool:
        """Whether no Pod of it will run any more."""
        return self.is_complete or self.failure is not None


@dataclass(frozen=True, slots=True)
class ContainerEnd:
    """How the worker's container ended."""

    reason: str
    exit_code: int


@dataclass(frozen=True, slots=True)
class PodState:
    """A Pod of a Job.

    `unschedulable`: the scheduler's words; `waiting`: why its container does not run; `status`: why the Pod
    is as it is (Evicted, NodeLost); `disruption`: why the cluster ends it; `is_ready`: as its node says.
    """

    name: str
    uid: str
    created_at: str
    phase: str
    index: int = 0
    is_bound: bool = False
    is_deleting: bool = False
    is_ready: bool = False
    unschedulable: str | None = None
    waiting: Words | None = None
    status: Words | None = None
    disruption: Words | None = None
    end: ContainerEnd | None = None

    @property
    def is_ended(self) -> bool:
        """Whether its container will never run again."""
        return self.phase in ("Succeeded", "Failed")


def parse_job(body: Body) -> JobState:
    """Read a batch/v1 Job."""
    metadata, spec = body["metadata"], body.get("spec") or {}
    annotations = metadata.get("annotations") or {}
    labels = metadata.get("labels") or {}
    conditions = _true_conditions(body)
    failed = conditions.get("Failed")
    return JobState(
        ref=JobRef(metadata["namespace"], metadata["name"], metadata["uid"]),
        resource_version=str(metadata.get("resourceVersion") or ""),
        fingerprint=annotations.get(names.ANNOTATION_FINGERPRINT),
        key=annotations.get(names.ANNOTATION_DATASET_UID),
        is_managed=labels.get(names.LABEL_MANAGED_BY) == names.FIELD_MANAGER,
        is_suspended=bool(spec.get("suspend")),
        is_deleting=bool(metadata.get("deletionTimestamp")),
        is_complete="Complete" in conditions,
        failure=None if failed is None else _words(failed.get("reason") or "Failed", failed.get("message")),
    )


def parse_pods(bodies: Iterable[Body], job: JobRef) -> tuple[PodState, ...]:
    """Read the Pods that a Job controls, by the uid of their owner and no label; oldest first."""
    found = [_parse_pod(body) for body in bodies if _is_controlled(body, job)]
    return tuple(sorted(found, key=lambda pod: (pod.created_at, pod.name)))


def find_newest(pods: Iterable[PodState]) -> dict[int, PodState]:
    """Return the Pod that counts for each index: the newest; of a plain Job all have index 0."""
    return {pod.index: pod for pod in pods}


def parse_warnings(bodies: Iterable[Body]) -> tuple[Words, ...]:
    """Read core/v1 Events of type Warning, the newest last."""
    warnings = [body for body in bodies if body.get("type") == "Warning"]
    warnings.sort(key=lambda body: str(body.get("lastTimestamp") or body.get("eventTime") or ""))
    return tuple(_words(body.get("reason") or "", body.get("message")) for body in warnings)


def _parse_pod(body: Body) -> PodState:
    metadata, status = body["metadata"], body.get("status") or {}
    conditions = _conditions(body)
    scheduled = conditions.get("PodScheduled") or {}
    is_refused = scheduled.get("status") == "False"
    containers = status.get("containerStatuses") or [{}]
    state = containers[0].get("state") or {}
    waiting, ended = state.get("waiting"), state.get("terminated")
    disruption = _true_conditions(body).get("DisruptionTarget")
    return PodState(
        name=metadata["name"],
        uid=metadata["uid"],
        created_at=str(metadata.get("creationTimestamp") or ""),
        phase=str(status.get("phase") or "Pending"),
        index=_parse_index((metadata.get("annotations") or {}).get(_INDEX)),
        is_bound=bool((body.get("spec") or {}).get("nodeName")),
        is_deleting=bool(metadata.get("deletionTimestamp")),
        is_ready=(conditions.get("Ready") or {}).get("status") == "True",
        unschedulable=_text(scheduled.get("message")) if is_refused else None,
        waiting=_words(waiting.get("reason") or "", waiting.get("message")) if waiting else None,
        status=_words(status["reason"], status.get("message")) if status.get("reason") else None,
        disruption=_words(disruption.get("reason") or "", disruption.get("message")) if disruption else None,
        end=_parse_end(ended) if ended else None,
    )


def _parse_end(terminated: Body) -> ContainerEnd:
    code = terminated.get("exitCode")
    reason = sanitize(str(terminated.get("reason") or ""), _MESSAGE_MAXIMUM)
    return ContainerEnd(reason, code if isinstance(code, int) else -1)


def _parse_index(text: object) -> int:
    return int(text) if isinstance(text, str) and text.isdecimal() and len(text) < 7 else 0


def _is_controlled(body: Body, job: JobRef) -> bool:
    owners = body["metadata"].get("ownerReferences") or ()
    return any(one.get("controller") and one.get("uid") == job.uid for one in owners)


def _conditions(body: Body) -> dict[str, Body]:
    return {str(one.get("type")): one for one in (body.get("status") or {}).get("conditions") or ()}


def _true_conditions(body: Body) -> dict[str, Body]:
    return {kind: one for kind, one in _conditions(body).items() if one.get("status") == "True"}


def _words(reason: object, message: object) -> Words:
    return Words(sanitize(str(reason), 100), _text(message))


def _text(message: object) -> str:
    return sanitize(str(message or ""), _MESSAGE_MAXIMUM)
