"""Copies between buckets that are too large for a child process of the operator; pure.

Jobs in the operator's own namespace do them. One with very many items is divided: Pods of an Indexed Job
bring the items, each its share; then one copy finds them in place, proves them, and publishes.
"""

from dataclasses import replace

from dtool_operator.planning.conclusion import DatasetPlan
from dtool_operator.planning.following import Work, follow
from dtool_operator.planning.job_place import place_copy_job
from dtool_operator.planning.job_work import build_share, build_source_inspection, with_job
from dtool_operator.planning.manifests import is_job_of
from dtool_operator.planning.observed import JobPolicy, ObservedDataset
from dtool_operator.planning.standing import Standing, find_standing, is_running
from dtool_operator.planning.task import Task, TaskKind
from dtool_operator.planning.upload import inspect
from dtool_operator.planning.work import share_requests


def may_be_job(seen: ObservedDataset, task: Task) -> JobPolicy | None:
    """Return how Jobs are done where this copy may have to be one."""
    jobs = seen.policy.jobs
    if jobs is None or jobs.copy_above_bytes is None:
        return None
    # plain objects have no manifest that says how large they are; what is published by http(s) is no bucket
    if task.kind is not TaskKind.COPY or task.source is None:
        return None
    return jobs


def follow_scaled(seen: ObservedDataset, work: Work, jobs: JobPolicy) -> DatasetPlan:
    """Look how large the source is, then copy it as its size asks."""
    if not work.is_undone:
        return _follow_frozen(seen, work)
    found, target, copy = seen.dataset.status.source, work.target, work.task
    assert target is not None, "a copy between buckets has a target"
    if found is None:
        return inspect(seen, Work(build_source_inspection(copy), target, source=work.source))
    assert jobs.copy_above_bytes is not None
    if found.size_bytes < jobs.copy_above_bytes:
        return follow(seen, work)
    place = place_copy_job(jobs, target.bucket, items=found.items)
    whole = with_job(copy, place.model_copy(update={"shards": 1}))
    in_flight = share_requests(seen, target.bucket, workers=place.shards)
    share = build_share(copy, place, concurrency=in_flight)
    if place.shards > 1 and not _is_moved(seen, share, whole):
        return follow(seen, Work(share, target, work.storage, work.source))
    return follow(seen, Work(whole, target, work.storage, work.source, is_undone=work.is_undone))


def _follow_frozen(seen: ObservedDataset, work: Work) -> DatasetPlan:
    """Have a child process prove what is frozen; a Job that has just done that comes to its end before."""
    record = seen.transfer
    if record is not None and is_running(record) and record.task.job is not None:
        task = with_job(work.task, record.task.job)
        if task.fingerprint == record.task.fingerprint:
            return follow(seen, replace(work, task=task))
    return follow(seen, work)


def _is_moved(seen: ObservedDataset, share: Task, whole: Task) -> bool:
    """Tell whether the shares are all in place, or the copy that comes after them was begun."""
    record, job = seen.transfer, seen.dataset.status.job
    if record is None:
        return job is not None and is_job_of(job, whole)
    if record.task.fingerprint == share.fingerprint:
        return find_standing(seen, share) is Standing.DONE
    return record.task.fingerprint == whole.fingerprint
