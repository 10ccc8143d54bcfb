"""How the work for a dataset goes on: it is started, waited for, tried again, reported, or given up. Pure.

What the work is, `dataset` and its neighbours say; here it is one task and what became of it.
"""

from dataclasses import dataclass, replace
from datetime import timedelta

from dtool_operator.api.bucket import DtoolBucket
from dtool_operator.api.conditions import ConditionType, find_condition
from dtool_operator.api.reasons import Reason, find_reason, is_stalled_reason
from dtool_operator.planning.conclusion import (
    WORK_LOOK,
    DatasetPlan,
    conclude,
    give_up,
    mark_finished,
    resync,
)
from dtool_operator.planning.history import is_edited, is_look_requested, was_frozen
from dtool_operator.planning.imported import is_imported
from dtool_operator.planning.manifests import is_job_of
from dtool_operator.planning.metadata import expect_metadata
from dtool_operator.planning.observed import ObservedDataset, Refusal, StorageView
from dtool_operator.planning.placement import Target
from dtool_operator.planning.plan import (
    AdoptJob,
    Backoff,
    CancelTransfer,
    DatasetAction,
    ForgetTransfer,
    MarkObject,
    Plan,
    RemoveImported,
    spread_interval,
    time_left,
)
from dtool_operator.planning.standing import Standing, find_failure, find_pause, find_standing, is_running
from dtool_operator.planning.task import Task, TaskKind
from dtool_operator.planning.transfer import TransferRecord, read_job
from dtool_operator.planning.verdict import Done, Kept, Refused, Suspended, Verdict, Working
from dtool_operator.planning.work import build_refresh, build_start, name_source, plan_owner

#: A new object that waits for a place says nothing for so long.
QUEUE_PATIENCE = timedelta(seconds=10)

#: Whoever waits for a place and is not called looks again so often.
QUEUE_LOOK = timedelta(minutes=1)

#: Outcomes that only a worker reports, and that stay until the object is edited or a look is requested.
_FINAL_REASONS = frozenset({Reason.CONTENT_DIFFERS, Reason.UNSAFE_PATH, Reason.INVALID_MANIFEST})


@dataclass(frozen=True, slots=True)
class Work:
    """A task for a dataset, and what it is done with.

    `target`, `storage`: where it leads and what S3 said of that; None: to a volume. `source`: the bucket
    object through which the source is read. `is_undone`: its success does not show, or not any more.
    """

    task: Task
    target: Target | None = None
    storage: StorageView | None = None
    source: DtoolBucket | None = None
    is_undone: bool = False


def follow(seen: ObservedDataset, work: Work) -> DatasetPlan:
    """Go by what became of the work so far."""
    record, target, task = seen.transfer, work.target, work.task
    if record is None:
        outcome = find_final_outcome(seen)
        return start(seen, work) if outcome is None else refuse(seen, outcome, target)
    working = Working(record, task.kind)
    match find_standing(seen, task):
        case Standing.ABSENT | Standing.RETRY:
            return start(seen, work)
        case Standing.OTHER_RUNS:
            return conclude(seen, working, target=target, actions=[CancelTransfer()], look_again=timedelta(0))
        case Standing.RUNNING:
            fresh_keys = build_refresh(record.task, task, work.source)
            return conclude(seen, working, target=target, actions=fresh_keys, look_again=WORK_LOOK)
        case Standing.DONE if work.is_undone:
            # its end was not reported at once, because nothing was to go on
            return start(seen, work)
        case Standing.DONE:
            return _report_done(seen, target, record)
        case Standing.PAUSED:  # pragma: no branch
            return _report_failure(seen, target, record)


def start(seen: ObservedDataset, work: Work) -> DatasetPlan:
    """Finalizer first, then the owner marker, then the worker; or wait for a slot.

    A Job that an earlier operator started for the same is followed instead.
    """
    target, task, job = work.target, work.task, seen.dataset.status.job
    if seen.transfer is None and job is not None and task.job is not None and is_job_of(job, task):
        adopt = AdoptJob(task, read_job(job), name_source(work.source))
        working = Working(None, task.kind)
        return conclude(seen, working, target=target, actions=[adopt], look_again=timedelta(0))
    ending = find_ending(seen)
    if ending is not None:
        return conclude(seen, Refused(ending), target=target, look_again=Backoff())
    if not seen.slots.is_free:
        return queue(seen, target)
    actions = _mark(seen, work)
    if target is not None and work.storage is not None:
        actions += plan_owner(seen, target, work.storage)
    if seen.transfer is not None and _is_other_job(seen.transfer, task):
        actions.append(ForgetTransfer())
    actions.append(build_start(task, work.source))
    # a Job begins once its uid is recorded, which takes another look
    later = WORK_LOOK if task.job is None else timedelta(0)
    return conclude(seen, Working(None, task.kind), target=target, actions=actions, look_again=later)


def _is_other_job(record: TransferRecord, task: Task) -> bool:
    """Tell whether a Job of other work, which is over, is to be cleared away first."""
    return record.job is not None and record.task.fingerprint != task.fingerprint


def _mark(seen: ObservedDataset, work: Work) -> list[DatasetAction]:
    """Put the finalizer on before anything is written; a look at the source begins and ends nothing."""
    match work.task.kind:
        case TaskKind.INSPECT:
            return []
        case TaskKind.VERIFY:
            return [mark_finished(seen, work.task.uuid)]
        case _:
            return [MarkObject(has_finalizer=True, uuid=work.task.uuid)]


def queue(seen: ObservedDataset, target: Target | None) -> DatasetPlan:
    """Wait for a place; whoever ends calls those who wait, so that looks in between are rare.

    Of thousands that are applied at once most have their turn soon: a wait is told once it has lasted.
    """
    is_new = seen.dataset.status.observed_generation is None
    told_in = time_left(seen.dataset.meta.creation_timestamp, QUEUE_PATIENCE, seen.now)
    if is_new and told_in:
        return Plan((), None, told_in, is_waiting=True)
    waiting = Refusal(Reason.QUEUED, "Waits for a running transfer to end.")
    later = spread_interval(QUEUE_LOOK, key=seen.dataset.uid)
    plan = conclude(seen, Refused(waiting), target=target, look_again=later)
    return replace(plan, is_waiting=True)


def find_ending(seen: ObservedDataset) -> Refusal | None:
    """Refuse to begin in a namespace that ends.

    A new object cannot be in it: the namespace was created again, and the watch has not told its uid.
    """
    if not seen.cluster.namespaces[seen.dataset.namespace].is_terminating:
        return None
    return Refusal(Reason.PENDING, f"Namespace {seen.dataset.namespace!r} is being deleted.")


def _report_done(seen: ObservedDataset, target: Target | None, record: TransferRecord) -> DatasetPlan:
    actions: list[DatasetAction] = [mark_finished(seen, record.task.uuid), ForgetTransfer()]
    # README, tags and annotations of the spec come on top of what a copy has of its source
    metadata = expect_metadata(seen.dataset)
    return conclude(
        seen, Done(record), target=target, actions=actions, look_again=resync(seen), metadata=metadata
    )


def _report_failure(seen: ObservedDataset, target: Target | None, record: TransferRecord) -> DatasetPlan:
    failure = find_failure(record)
    assert failure is not None
    pause = find_pause(seen, record, failure)
    later = resync(seen) if pause is None else pause
    return conclude(seen, Refused(failure), target=target, look_again=later)


def refuse(seen: ObservedDataset, refusal: Refusal, target: Target | None = None) -> DatasetPlan:
    """Cancel what runs, say why, look again later; a frozen dataset stays what it is."""
    if refusal.reason is Reason.CLAIMED_BY_ANOTHER and is_imported(seen.dataset):
        return Plan((*give_up(seen, refusal), RemoveImported()), None, None)
    if was_frozen(seen.dataset) and refusal.reason is Reason.BUCKET_NOT_READY:
        return conclude(seen, Kept(), target=target, actions=give_up(seen, refusal), look_again=Backoff())
    if refusal.is_passing and _is_begun(seen):
        return _let_go_on(seen, refusal, target)
    is_suspended = refusal.reason is Reason.SUSPENDED
    verdict: Verdict = Suspended() if is_suspended else Refused(refusal)
    is_final = is_suspended or is_stalled_reason(refusal.reason)
    return conclude(
        seen,
        verdict,
        target=target,
        actions=give_up(seen, refusal),
        look_again=resync(seen) if is_final else Backoff(),
    )


def wait_for_storage(seen: ObservedDataset, refusal: Refusal, target: Target | None = None) -> DatasetPlan:
    """A worker has its own patience with S3: what this look could not see does not end it."""
    if refusal.reason is Reason.PREFIX_OWNED_BY_OTHER or not _is_begun(seen):
        return refuse(seen, refusal, target)
    return _let_go_on(seen, refusal, target)


def _is_begun(seen: ObservedDataset) -> bool:
    """Tell whether a worker runs, or a Job that an earlier operator started may."""
    is_left = seen.transfer is None and seen.dataset.status.job is not None
    return is_left or is_running(seen.transfer)


def _let_go_on(seen: ObservedDataset, refusal: Refusal, target: Target | None) -> DatasetPlan:
    """Watch what runs; a Job of an earlier operator is followed once it is known again what for."""
    record = seen.transfer
    if record is None:
        return conclude(seen, Refused(refusal), target=target, look_again=Backoff(), sees_to_job=False)
    working = Working(record, record.task.kind)
    return conclude(seen, working, target=target, look_again=WORK_LOOK)


def find_final_outcome(seen: ObservedDataset) -> Refusal | None:
    """Recall, after a restart, an outcome that only an edit can change: it is not tried again."""
    ready = find_condition(seen.dataset.status.conditions, ConditionType.READY)
    if ready is None or is_edited(seen.dataset) or is_look_requested(seen.dataset):
        return None
    reason = find_reason(ready.reason, Reason.PENDING)
    return Refusal(reason, ready.message) if reason in _FINAL_REASONS else None
