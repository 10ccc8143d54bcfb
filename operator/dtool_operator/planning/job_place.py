"""Where and with which keys a Job works; pure. Rule 5: keys of a bucket stay in its namespace and ours."""

from math import ceil

from dtool_operator.api.bucket import DtoolBucket
from dtool_operator.api.reasons import Reason
from dtool_operator.api.workers import Workers
from dtool_operator.planning.observed import JobPolicy, ObservedDataset, Refusal
from dtool_operator.planning.task import JobPlace, KeysFrom, PodChoices, Toleration

NO_JOBS = Refusal(
    Reason.JOBS_DISABLED,
    "Volumes need Jobs, and this operator runs none: its administrator sets DTOOL_OPERATOR_WORKER_IMAGE.",
)


def place_volume_job(seen: ObservedDataset, bucket: DtoolBucket | None) -> JobPlace | Refusal:
    """Say how a Job beside the volume gets at the bucket; None: it needs none."""
    jobs, dataset = seen.policy.jobs, seen.dataset
    if jobs is None:
        return NO_JOBS
    if bucket is None:
        return JobPlace(namespace=dataset.namespace, keys=KeysFrom.NONE, owner=dataset.name)
    credentials = bucket.spec.credentials
    place = JobPlace(
        namespace=dataset.namespace,
        keys=KeysFrom.SIGNING,
        owner=dataset.name,
        pod=_choose_pod(bucket.spec.workers),
    )
    if bucket.namespace == dataset.namespace and credentials is not None:
        return place.model_copy(update={"keys": KeysFrom.BUCKET, "secret": credentials.secret_ref.name})
    if jobs.has_signing:
        return place
    return Refusal(
        Reason.JOBS_DISABLED,
        f"A Job beside this volume may not have the keys of DtoolBucket {bucket.namespace}/{bucket.name}, "
        "and the operator has no signing endpoint: its administrator sets DTOOL_OPERATOR_SIGNING_URL.",
    )


def place_copy_job(jobs: JobPolicy, bucket: DtoolBucket, *, items: int) -> JobPlace:
    """Say how a copy between buckets runs in the operator's own namespace."""
    shards = min(jobs.max_shards, max(1, ceil(items / jobs.items_per_shard)))
    return JobPlace(
        namespace=jobs.operator_namespace,
        keys=KeysFrom.OPERATOR,
        shards=shards,
        pod=_choose_pod(bucket.spec.workers),
    )


def _choose_pod(workers: Workers | None) -> PodChoices:
    if workers is None:
        return PodChoices()
    return PodChoices(
        node_selector=tuple(workers.node_selector.items()),
        tolerations=tuple(Toleration(**one.model_dump(mode="json")) for one in workers.tolerations),
        priority_class_name=workers.priority_class_name,
        requests=tuple(workers.resources.requests.items()),
        limits=tuple(workers.resources.limits.items()),
    )
