"""Why a Job does not get on, or failed, in the API's vocabulary; pure. Advice is in `advice`.

A trouble is not an end: the Job goes on by itself once the cause is gone. Words of the cluster are kept, they
name nodes, images and quotas.
"""

import signal
from collections.abc import Sequence
from typing import Final

from dtool_operator.api.reasons import Reason
from dtool_operator.planning.job_state import JobState, PodState, Words, find_newest
from dtool_operator.planning.task import ErrorLine

#: What the kubelet calls an image that it does not get (pkg/kubelet/images).
_IMAGE: Final = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "ErrImageNeverPull",
        "InvalidImageName",
        "ImageInspectError",
        "RegistryUnavailable",
        "SignatureValidationFailed",
    }
)
#: What it calls a container that it does not make.
_REFUSED: Final = frozenset(
    {
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
        "CreatePodSandboxError",
    }
)
_VOLUME: Final = frozenset({"FailedMount", "FailedAttachVolume", "FailedMapVolume"})
_NOT_SCHEDULED: Final = "FailedScheduling"
_KILLED: Final = 128


def is_worth_asking(pod: PodState) -> bool:
    """Tell whether only Events say why a Pod does not begin: it has a node and nothing else to show."""
    is_silent = pod.waiting is None or pod.waiting.reason in ("", "ContainerCreating", "PodInitializing")
    return pod.phase == "Pending" and pod.is_bound and is_silent


def find_trouble(
    job: JobState, pods: Sequence[PodState], job_warnings: Sequence[Words], pod_warnings: Sequence[Words]
) -> ErrorLine | None:
    """Say why a released Job does not get on; None: it does, or has only begun.

    `job_warnings` are asked for where it has no Pod, `pod_warnings` where `is_worth_asking`.
    """
    if job.is_suspended:
        return _line(Reason.QUEUED, "the Job is suspended: a queue of the cluster or somebody holds it back")
    if not pods:
        return next(
            (_explain_creation(one) for one in reversed(job_warnings) if one.reason == "FailedCreate"), None
        )
    for pod in find_newest(pods).values():
        trouble = _find_pod_trouble(pod, pod_warnings)
        if trouble is not None:
            return trouble
        if pod.phase == "Pending" and (trouble := _find_eviction(pod, pods)) is not None:
            return trouble
    return None


def _find_eviction(pod: PodState, pods: Sequence[PodState]) -> ErrorLine | None:
    """Say that the cluster ended the Pod in whose place a new one does not run yet."""
    for former in reversed(pods):
        ending = None if former.uid == pod.uid or former.index != pod.index else _find_ending(former)
        if ending is not None:
            return _line(Reason.POD_EVICTED, f"Pod {former.name} was ended: {ending}")
    return None


def explain_refusal(message: str) -> ErrorLine:
    """Say what it means that a Job or Pod was not admitted; `message` is the API server's."""
    if "exceeded quota" in message or "failed quota" in message:
        return _line(Reason.POD_QUOTA_EXCEEDED, message)
    return _line(Reason.JOB_REFUSED, message)


def explain_failure(job: JobState, pods: Sequence[PodState]) -> ErrorLine:
    """Say why a Job failed whose worker did not say it itself."""
    for pod in reversed(list(find_newest(pods).values())):
        if pod.end is not None and pod.end.reason == "OOMKilled":
            return _line(Reason.OUT_OF_MEMORY, f"the worker in Pod {pod.name} needed more than its limit")
        if (ending := _find_ending(pod)) is not None:
            return _line(Reason.POD_EVICTED, f"Pod {pod.name} was ended: {ending}")
        if pod.end is not None and pod.end.exit_code != 0:
            how = _describe_code(pod.end.exit_code)
            return _line(Reason.TRANSFER_FAILED, f"the worker in Pod {pod.name} {how} and did not say why")
    return _line(Reason.TRANSFER_FAILED, f"the Job failed ({job.failure}), and no Pod of it is left to ask")


def build_lost(message: str) -> ErrorLine:
    """Say that there is no such Job any more."""
    return _line(Reason.JOB_LOST, message)


def _find_pod_trouble(pod: PodState, warnings: Sequence[Words]) -> ErrorLine | None:
    if pod.phase == "Succeeded":
        return None
    if (ending := _find_ending(pod)) is not None:
        return _line(Reason.POD_EVICTED, f"Pod {pod.name} is ended by the cluster: {ending}")
    if pod.unschedulable is not None:
        return _explain_scheduling(pod.unschedulable)
    if pod.waiting is not None and pod.waiting.reason in _IMAGE:
        return _line(Reason.IMAGE_PULL_FAILED, str(pod.waiting))
    if pod.waiting is not None and pod.waiting.reason in _REFUSED:
        return _line(Reason.JOB_REFUSED, str(pod.waiting))
    if is_worth_asking(pod):
        return next((_explain_start(one) for one in reversed(warnings) if _is_of_start(one)), None)
    # the worker has no readiness probe: only a node that is not heard of makes it unready while it runs
    if pod.phase == "Unknown" or (pod.phase == "Running" and _is_silent(pod)):
        return _line(Reason.POD_EVICTED, f"the node of Pod {pod.name} is not heard of")
    return None


def _is_silent(pod: PodState) -> bool:
    return not pod.is_ready and pod.end is None and pod.waiting is None


def _find_ending(pod: PodState) -> str | None:
    """Say why the cluster ends a Pod, or ended it; None: it does not."""
    if pod.disruption is not None:
        return str(pod.disruption)
    if pod.status is not None and pod.status.reason in ("Evicted", "NodeLost", "Preempting", "Terminated"):
        return str(pod.status)
    return "it was deleted" if pod.is_deleting and not pod.is_ended else None


def _explain_scheduling(message: str) -> ErrorLine:
    is_claim = "persistentvolumeclaim" in message.lower()
    return _line(Reason.VOLUME_NOT_FOUND if is_claim else Reason.UNSCHEDULABLE, message)


def _explain_creation(warning: Words) -> ErrorLine:
    return explain_refusal(warning.message)


def _is_of_start(warning: Words) -> bool:
    if warning.reason == _NOT_SCHEDULED:  # the Pod has a node by now
        return False
    return warning.reason in _VOLUME or warning.reason.startswith("Failed")


def _explain_start(warning: Words) -> ErrorLine:
    if warning.reason in _VOLUME:
        return _line(Reason.VOLUME_UNAVAILABLE, str(warning))
    return _line(Reason.JOB_REFUSED, str(warning))


def _describe_code(code: int) -> str:
    if code > _KILLED:
        try:
            return f"was ended by {signal.Signals(code - _KILLED).name}"
        except ValueError:
            pass
    return f"ended with status {code}"


def _line(reason: Reason, message: str) -> ErrorLine:
    return ErrorLine(reason=reason.value, message=message, retryable=True)
