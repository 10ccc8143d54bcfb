"""Plans as short texts, so that a test's table shows a whole plan in a few words.

A look after about ten minutes is a `resync`, one after a computed time a `pause`.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from dtool_operator.api.conditions import Condition, ConditionType
from dtool_operator.planning import plan as actions
from dtool_operator.planning.plan import Backoff, Plan
from dtool_operator.planning.task import JobPlace, Task, TaskKind, VolumePlace
from dtool_s3.metadata import MetadataChange
from dtool_s3.transfer.verify import VerifyMethod


@dataclass(frozen=True)
class Told:
    """A plan as a table shows it: everything but messages, in order."""

    do: tuple[str, ...] = ()
    state: str | None = None
    says: tuple[str, ...] | None = None
    look: str | None = "back off"


def tell(plan: Plan[Any, Any]) -> Told:
    """Write a plan as short texts; without a status `state` and `says` are None."""
    done = tuple(_tell_action(action) for action in plan.actions)
    look = _tell_look(plan.look_again)
    if plan.status is None:
        return Told(done, look=look)
    state = getattr(plan.status, "state", None)
    says = tuple(f"{c.type} {c.status} {c.reason}" for c in plan.status.conditions)
    return Told(done, state, says, look)


def _tell_look(look_again: timedelta | Backoff | None) -> str | None:
    match look_again:
        case None:
            return None
        case Backoff():
            return "back off"
        case _ if timedelta(minutes=9) <= look_again <= timedelta(minutes=11):
            return "resync"
        case _ if look_again.microseconds:
            return "pause"
        case _:
            return f"{int(look_again.total_seconds())}s"


def _tell_action(action: object) -> str:
    if isinstance(
        action, actions.SelfTest | actions.ListDatasets | actions.ImportDataset | actions.PruneImported
    ):
        return _tell_bucket_action(action)
    match action:
        case actions.MarkObject(has_finalizer, uuid):
            finalizer = "put finalizer" if has_finalizer else "no finalizer"
            return finalizer if uuid is None else f"{finalizer}, label"
        case actions.EnsureOwner(owner, replaces):
            return f"own {owner.prefix} as {owner}" + ("" if replaces is None else f", not {replaces}")
        case actions.StartTransfer(task, source):
            return f"start {_tell_task(task)}" + ("" if source is None else f" with keys of {source}")
        case actions.RefreshCredentials(_, source):
            return "refresh keys" + ("" if source is None else f" of {source}")
        case actions.ReportLeftBehind(message):
            return f"left behind: {message}"
        case _:
            return _tell_short_action(action)


def _tell_short_action(action: object) -> str:
    match action:
        case actions.CreateProto(_, name, creator, _):
            return f"create {name} by {creator}"
        case actions.AdoptJob(task, job, _):
            return f"adopt Job {job.uid} to {task.kind}"
        case actions.RemoveJob(job):
            return f"remove Job {job.uid}"
        case actions.SyncMetadata(_, change, is_frozen):
            return f"sync {_tell_change(change)}" + (", frozen" if is_frozen else "")
        case _:
            return _SIMPLE[type(action).__name__]


_SIMPLE = {
    "CancelTransfer": "cancel",
    "ForgetTransfer": "forget",
    "ReleaseJob": "release",
    "RemoveImported": "remove the object",
}


def _tell_change(change: MetadataChange) -> str:
    words = {
        "readme": () if change.readme is None else ("",),
        "+": change.put_tags,
        "-": change.delete_tags,
        "+@": tuple(change.put_annotations),
        "-@": change.delete_annotations,
    }
    return " ".join(f"{sign}{name}" for sign, names in words.items() for name in names)


def _tell_bucket_action(
    action: actions.SelfTest | actions.ListDatasets | actions.ImportDataset | actions.PruneImported,
) -> str:
    match action:
        case actions.SelfTest(_, prefix, attempt):
            return f"test {prefix or 'by reading'} #{attempt}"
        case actions.ListDatasets(attempt):
            return f"list #{attempt}"
        case actions.ImportDataset(namespace, _, names, _, _):
            return f"import {namespace}/{names[0]}"
        case actions.PruneImported():  # pragma: no branch
            why = "superseded" if action.is_superseded else "gone"
            return f"prune {action.namespace}/{action.name}, {why}"


def _tell_task(task: Task) -> str:
    return _tell_work(task) + ("" if task.job is None else f" by {_tell_job(task.job)}")


def _tell_job(job: JobPlace) -> str:
    pods = "a Job" if job.shards == 1 else f"{job.shards} Pods of a Job"
    return f"{pods} in {job.namespace}, keys {job.secret or job.keys}"


def _tell_work(task: Task) -> str:
    target = "" if task.target is None else f"{task.target.bucket}/{task.target.prefix}"
    if task.kind is TaskKind.INSPECT and task.source is not None:
        return f"inspect {task.source.bucket}/{task.source.prefix}"
    if task.volume is not None:
        return _tell_volume_work(task, task.volume, target)
    new = "" if task.new is None else f" as {task.new.name}"
    if task.source is not None:
        how = "server-side" if task.server_side else "streamed"
        return f"{how} {task.kind} {task.source.bucket}/{task.source.prefix} to {target}{new}"
    if task.source_url is not None:
        return f"{task.kind} {task.source_url} to {target}{new}"
    return f"{task.kind} {target}{_tell_manner(task)}"


def _tell_volume_work(task: Task, volume: VolumePlace, target: str) -> str:
    place = f"volume {volume.claim}/{volume.path}" + ("" if volume.name is None else f"{volume.name}")
    if task.source is not None:
        return f"{task.kind} {task.source.bucket}/{task.source.prefix} to {place}"
    if target:
        new = "" if task.new is None else f" as {task.new.name}"
        return f"{task.kind} {place} to {target}{new}"
    return f"{task.kind} {place}" + ("" if task.kind is TaskKind.INSPECT else _tell_manner(task))


def _tell_manner(task: Task) -> str:
    is_read = task.method is VerifyMethod.CONTENT and task.kind is TaskKind.VERIFY
    how = " by reading" if is_read else ""
    asked = "" if task.request is None else f" as asked {task.request}"
    whole = " wholly" if task.kind is TaskKind.REMOVE and not task.only_proto else ""
    return f"{how}{asked}{whole}"


def not_ready(reason: str, second: str = "Reconciling") -> tuple[str, ...]:
    """The conditions of a dataset of which nothing is known but why it is not Ready."""
    return (f"Ready False {reason}", f"{second} True {reason}", *unknown(reason))


def stalled(reason: str) -> tuple[str, ...]:
    """The same, where only an edit helps."""
    return not_ready(reason, "Stalled")


def unknown(reason: str) -> tuple[str, ...]:
    """What is said of the data while there is none."""
    return f"Frozen False {reason}", f"Verified Unknown {reason}", f"MetadataSynced Unknown {reason}"


FROZEN = ("Frozen True Frozen", "Verified True ContentVerified", "MetadataSynced True Synced")
"""What is said of the data of a copy that is complete and proven."""

READY = ("Ready True Succeeded", *FROZEN)


def damaged(reason: str) -> tuple[str, ...]:
    """What is said of a dataset that changed after freezing."""
    return (
        f"Ready False {reason}",
        f"Reconciling True {reason}",
        "Frozen True Frozen",
        f"Verified False {reason}",
        f"MetadataSynced Unknown {reason}",
    )


def ready_message(plan: Plan[Any, Any]) -> str:
    """The message of the condition Ready."""
    conditions: tuple[Condition, ...] = plan.status.conditions
    return next(c.message for c in conditions if c.type is ConditionType.READY)
