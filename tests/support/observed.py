"""Builders of what a planner sees, for the tests of `planning`; `told` writes its plans."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from dtool_operator.api.bucket import DtoolBucket, parse_bucket
from dtool_operator.api.bucket_status import DtoolBucketStatus
from dtool_operator.api.conditions import Condition
from dtool_operator.api.dataset import DtoolDataset, parse_dataset
from dtool_operator.api.dataset_status import DtoolDatasetStatus
from dtool_operator.api.reasons import Reason
from dtool_operator.api.work_status import InspectedSource, JobReference
from dtool_operator.names import FINALIZER, LABEL_UUID
from dtool_operator.planning import plan as actions
from dtool_operator.planning.dataset import DatasetPlan, plan_dataset
from dtool_operator.planning.manifests import build_job_name
from dtool_operator.planning.observed import (
    ClusterView,
    JobPolicy,
    NamespaceView,
    ObservedDataset,
    Policy,
    Refusal,
    Slots,
    StorageView,
    Usage,
)
from dtool_operator.planning.task import DatasetFacts, ErrorLine, ProgressLine, SourceFacts, Task
from dtool_operator.planning.transfer import JobRef, TransferRecord, TransferState
from dtool_s3.documents import AdminMetadata, DatasetType
from dtool_s3.metadata import MetadataChange
from dtool_s3.ownership import Owner
from tests.support.datasets import UUID

NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
ADMIN = "dtool-system"
CLUSTER = "cluster-1"
ENDPOINT = "https://s3.example.org"
POLICY = Policy(admin_namespaces=frozenset({ADMIN}))
JOBS = JobPolicy(ADMIN, has_signing=True)
WITH_JOBS = replace(POLICY, jobs=JOBS)
ADMITTED = {"from": "Selector", "selector": {"matchLabels": {"lab": "true"}}}
URI = {"uri": f"s3://instrument-data/{UUID}"}
OWNER = Owner(CLUSTER, "ns-alice", "alice", "u/alice/")
OTHER = Owner("cluster-2", "ns-other", "bob", "u/alice/")

NAMESPACES = (
    NamespaceView("alice", "ns-alice", {"lab": "true"}),
    NamespaceView("bob", "ns-bob", {"lab": "true"}),
    NamespaceView("mallory", "ns-mallory"),
    NamespaceView(ADMIN, "ns-admin", {"lab": "true"}),
)


def moment(value: datetime) -> str:
    """Write a time as Kubernetes does."""
    return value.strftime("%Y-%m-%dT%H:%M:%SZ")


def meta(name: str, namespace: str, **fields: Any) -> dict[str, Any]:
    """Metadata of an object; `age` is the number of seconds after EPOCH at which it was created."""
    created = EPOCH + timedelta(seconds=fields.pop("age", 0))
    return {
        "name": name,
        "namespace": namespace,
        "uid": fields.pop("uid", None) or f"{namespace}-{name}",
        "generation": 1,
        "resourceVersion": "1",
        "creationTimestamp": moment(created),
        **fields,
    }


# ---- buckets ------------------------------------------------------------------------------------------


def bucket(name: str = "lab", namespace: str = ADMIN, **spec: Any) -> DtoolBucket:
    """A bucket object that was found Ready: lab-data, shared with the namespaces labelled for it."""
    shared = ADMITTED if namespace == ADMIN else {"from": "Same"}
    full = {
        "bucket": "lab-data",
        "endpoint": ENDPOINT,
        "credentials": {"secretRef": {"name": f"{name}-s3"}},
        "allowedNamespaces": shared,
        **spec,
    }
    body = {"metadata": meta(name, namespace), "spec": {k: v for k, v in full.items() if v is not None}}
    return judged(parse_bucket(body))


def instruments(**spec: Any) -> DtoolBucket:
    """The bucket object of the source: read-only, readable by everybody who is admitted."""
    fields = {"bucket": "instrument-data", "accessMode": "ReadOnly", "readAccess": "Bucket"}
    return bucket("instruments", **{**fields, **spec})


def changed(one: DtoolBucket, **fields: Any) -> DtoolBucket:
    """The same object with other metadata (`uid`, `age`, `generation`, `annotations`)."""
    if "age" in fields:
        fields["creation_timestamp"] = EPOCH + timedelta(seconds=fields.pop("age"))
    return replace(one, meta=replace(one.meta, **fields))


def judged(one: DtoolBucket, reason: Reason = Reason.SUCCEEDED, *, generation: int = 1) -> DtoolBucket:
    """The same object after a look that ended with this reason."""
    ready = "True" if reason is Reason.SUCCEEDED else "False"
    condition = {"type": "Ready", "status": ready, "reason": reason, "observed_generation": generation}
    return replace(one, status=DtoolBucketStatus(conditions=(Condition.model_validate(condition),)))


def fresh(one: DtoolBucket) -> DtoolBucket:
    """The same object before anything was reported of it."""
    return replace(one, status=DtoolBucketStatus())


def cluster(*buckets: DtoolBucket, namespaces: tuple[NamespaceView, ...] = NAMESPACES) -> ClusterView:
    """A cluster with these bucket objects."""
    return ClusterView(CLUSTER, buckets, {one.name: one for one in namespaces})


def invalid_bucket(name: str, *buckets: DtoolBucket) -> ClusterView:
    """A cluster in which an administrator's bucket object means nothing."""
    return replace(cluster(*buckets), invalid_buckets=frozenset({(ADMIN, name)}))


# ---- datasets -----------------------------------------------------------------------------------------


def dataset(name: str = "raw", /, namespace: str = "alice", **spec: Any) -> DtoolDataset:
    """An object that was just applied: a copy of URI into lab, unless the spec says otherwise."""
    source = {} if "uuid" in spec else {"source": URI}
    full = {"bucketRef": {"name": "lab", "namespace": ADMIN}, **source, **spec}
    metadata = meta(name, namespace, uid=object_uid(namespace, name))
    return parse_dataset({"metadata": metadata, "spec": {k: v for k, v in full.items() if v is not None}})


def object_uid(namespace: str, name: str) -> str:
    """The uid of a dataset's object, which may become a dataset's uuid: a UUID, larger than letters to f."""
    return f"f{str(uuid5(NAMESPACE_URL, f'{namespace}/{name}'))[1:]}"


def adopted(**spec: Any) -> DtoolDataset:
    """An object that describes a dataset which is there."""
    return dataset(uuid=UUID, **spec)


def marked(one: DtoolDataset, *, finalizer: bool = False, label: str | None = UUID) -> DtoolDataset:
    """The same object with the operator's marks."""
    return replace(
        one,
        meta=replace(
            one.meta,
            finalizers=(FINALIZER,) if finalizer else (),
            labels={} if label is None else {LABEL_UUID: label},
        ),
    )


def deleted(one: DtoolDataset, *, ago: timedelta = timedelta(0)) -> DtoolDataset:
    """The same object, deleted so long ago."""
    return replace(one, meta=replace(one.meta, deletion_timestamp=NOW - ago))


def older(one: DtoolDataset, name: str = "older", **fields: Any) -> DtoolDataset:
    """Another object with the same spec, created before."""
    fields = {"creation_timestamp": EPOCH - timedelta(hours=1), "uid": name, **fields}
    return replace(one, meta=replace(one.meta, name=name, **fields))


def reported(one: DtoolDataset, plan: DatasetPlan) -> DtoolDataset:
    """The same object after its status was written and read back."""
    assert plan.status is not None
    body = json.loads(json.dumps(plan.status.dump()))
    return replace(one, status=DtoolDatasetStatus.model_validate(body))


def admin_metadata(kind: str | None = "frozen") -> AdminMetadata | None:
    """What a dataset's `dtool` says; None: there is none."""
    if kind is None:
        return None
    type_ = DatasetType.FROZEN if kind == "frozen" else DatasetType.PROTO
    return AdminMetadata(uuid=UUID, type=type_, name="sample", creator_username="olssont")


def stored(
    at: str | None = None,
    *,
    registered: str | None = None,
    source: str | None = "frozen",
    owner: Owner | None = OWNER,
    **fields: Any,
) -> StorageView:
    """What S3 says; `at`: what lies under the own prefix, `source`: what lies at the source."""
    values = {"source_prefix": "", "credentials_version": "1|1", **fields}
    return StorageView(owner, registered, admin_metadata(at), source_admin=admin_metadata(source), **values)


HERE = stored("frozen", registered="u/alice/")
"""The dataset is there, as reported."""

UID = object_uid("alice", "raw")
"""Of the object that `dataset()` makes."""


def seen(one: DtoolDataset | None = None, *buckets: DtoolBucket, **fields: Any) -> ObservedDataset:
    """One look at a dataset; by default lab and instruments are there, and S3 holds the source alone."""
    values = {
        "now": NOW,
        "dataset": one or dataset(),
        "cluster": cluster(*(buckets or (bucket(), instruments()))),
        "policy": POLICY,
        "storage": stored(),
        **fields,
    }
    return ObservedDataset(**values)


def was_frozen(one: DtoolDataset | None = None) -> DtoolDataset:
    """An object whose copy has ended and was reported."""
    look = seen(marked(dataset()), storage=HERE)
    copied = reported(look.dataset, plan_dataset(replace(look, transfer=ended(look, facts()))))
    return replace(marked(one or dataset()), status=copied.status)


def verified_long_ago(one: DtoolDataset) -> DtoolDataset:
    """The same object when its last verification is years ago."""
    assert one.status.verified is not None
    verified = one.status.verified.model_copy(update={"time": NOW - timedelta(days=999)})
    return replace(one, status=one.status.model_copy(update={"verified": verified}))


# ---- work ---------------------------------------------------------------------------------------------


def task_of(look: ObservedDataset) -> Task:
    """The task that a look would start."""
    plan = plan_dataset(replace(look, transfer=None, slots=Slots()))
    return next(action.task for action in plan.actions if isinstance(action, actions.StartTransfer))


def running(look: ObservedDataset, *, phase: str | None = None, **fields: Any) -> TransferRecord:
    """A worker that does what the look would start; `phase`: it has shown progress."""
    line = None
    if phase is not None:
        line = ProgressLine(phase=phase, items=1, items_total=4, bytes=512, bytes_total=1024)
    task = fields.pop("task", None) or task_of(look)
    values = {"started_at": NOW - timedelta(seconds=10), "progress": line, **fields}
    return TransferRecord(task, TransferState.RUNNING, values.pop("attempts", 1), **values)


def ended(
    look: ObservedDataset,
    outcome: DatasetFacts | SourceFacts | Reason | str | None,
    *,
    ago: timedelta = timedelta(0),
    **fields: Any,
) -> TransferRecord:
    """A worker that has ended, with facts, or with an error of this reason."""
    record = running(look, **fields)
    ending = {"finished_at": NOW - ago}
    if outcome is None or isinstance(outcome, DatasetFacts):
        return replace(record, state=TransferState.SUCCEEDED, facts=outcome, **ending)
    if isinstance(outcome, SourceFacts):
        return replace(record, state=TransferState.SUCCEEDED, source=outcome, **ending)
    error = ErrorLine(reason=str(outcome), message=f"it says {outcome}", retryable=False)
    return replace(record, state=TransferState.FAILED, error=error, **ending)


def job_of(task: Task, uid: str = "job-1") -> JobRef:
    """The Job that a task is."""
    assert task.job is not None
    return JobRef(task.job.namespace, build_job_name(task), uid)


def recorded(one: DtoolDataset, job: JobRef | None) -> DtoolDataset:
    """The same object after the uid of its Job was recorded, or taken out again."""
    known = None if job is None else JobReference(namespace=job.namespace, name=job.name, uid=job.uid)
    return replace(one, status=one.status.model_copy(update={"job": known}))


def in_job(record: TransferRecord, *, is_released: bool = True, **fields: Any) -> TransferRecord:
    """The same work as a Job; its worker's process is a Pod."""
    return replace(record, job=job_of(record.task), is_released=is_released, **fields)


DIGESTS = {"manifest_sha256": "a" * 64, "content_sha256": "c" * 64}


def inspected(one: DtoolDataset, **fields: Any) -> DtoolDataset:
    """The same object after somebody looked what its source is."""
    values = {"uuid": UUID, "name": "sample", "creator_username": "olssont", "items": 3, "size_bytes": 209}
    found = InspectedSource(**{**values, **DIGESTS, **fields})
    return replace(one, status=one.status.model_copy(update={"source": found}))


def source_facts(**fields: Any) -> SourceFacts:
    """What an inspection finds: as `inspected` records it."""
    values = {"uuid": UUID, "name": "sample", "creator_username": "olssont", "items": 3, "size_bytes": 209}
    times = {"created_at": 1_795_329_207.5, "frozen_at": 1_795_329_208.5}
    return SourceFacts(**{**values, **times, **DIGESTS, **fields})


def facts(**fields: Any) -> DatasetFacts:
    """What a worker found: three items, all proven by their ETags."""
    values = {
        "name": "sample",
        "creator_username": "olssont",
        "created_at": 1_795_329_207.5,
        "frozen_at": 1_795_329_208.5,
        "items": 3,
        "size_bytes": 209,
        "etag_md5": 3,
        "read": 0,
        "same_as_source": 0,
        "unproven": 0,
    }
    return DatasetFacts(**{**values, **fields})


def carried_out(look: ObservedDataset, plan: DatasetPlan) -> ObservedDataset:
    """The next look, right after a plan was carried out and its status written."""
    one, record, storage = look.dataset, look.transfer, look.storage
    for action in plan.actions:
        if isinstance(action, actions.MarkObject):
            label = one.meta.labels.get(LABEL_UUID) if action.uuid is None else action.uuid
            one = marked(one, finalizer=action.has_finalizer, label=label)
        elif isinstance(action, actions.EnsureOwner | actions.CreateProto | actions.SyncMetadata):
            assert isinstance(storage, StorageView)
            storage = _written(storage, action)
        else:
            record = _directed(look, record, action)
    if plan.status is not None:
        one = reported(one, plan)
    return replace(look, dataset=one, transfer=record, storage=storage)


def _written(
    storage: StorageView, action: actions.EnsureOwner | actions.CreateProto | actions.SyncMetadata
) -> StorageView:
    match action:
        case actions.EnsureOwner(owner):
            return replace(storage, owner=owner)
        case actions.CreateProto(uuid):
            admin = admin_metadata("proto")
            return replace(storage, admin=admin, registered_prefix="u/alice/", uuid=uuid)
        case actions.SyncMetadata():  # pragma: no branch
            return replace(storage, change=MetadataChange())


def _directed(
    look: ObservedDataset, record: TransferRecord | None, action: actions.DatasetAction
) -> TransferRecord | None:
    match action:
        case actions.StartTransfer(task, _):
            begun = TransferRecord(task, TransferState.RUNNING, 1, started_at=look.now)
            return begun if task.job is None else replace(begun, job=job_of(task), is_released=False)
        case actions.AdoptJob(task, job, _):
            begun = TransferRecord(task, TransferState.RUNNING, 1, started_at=look.now)
            return replace(begun, job=job, is_released=False)
        case actions.ReleaseJob():
            assert record is not None
            return replace(record, is_released=True)
        case actions.RefreshCredentials(task, _):
            assert record is not None
            return replace(record, task=task)
        case actions.CancelTransfer() | actions.ForgetTransfer():
            return None
        case _:
            return record


def refuse(reason: Reason) -> Refusal:
    """Why S3 was asked in vain."""
    return Refusal(reason, f"it says {reason}")


def with_annotations(one: DtoolDataset, annotations: Mapping[str, str]) -> DtoolDataset:
    """The same object with other annotations."""
    return replace(one, meta=replace(one.meta, annotations=annotations))


def usage(**fields: int) -> Usage:
    """What the namespace keeps in the bucket already."""
    return Usage(**fields)
