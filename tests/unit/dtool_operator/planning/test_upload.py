"""From a volume into a bucket: a look, a proto dataset, an upload by a Job, proof and freeze; whole plans."""

from dataclasses import replace
from datetime import timedelta

import pytest

from dtool_operator.api.dataset import DtoolDataset
from dtool_operator.api.reasons import Reason
from dtool_operator.names import ANNOTATION_RECONCILE_REQUESTED
from dtool_operator.planning.dataset import plan_dataset
from dtool_operator.planning.inquiry import find_inquiry
from dtool_operator.planning.observed import JobPolicy, NamespaceView, ObservedDataset, Slots
from dtool_operator.planning.plan import CreateProto, StartTransfer
from dtool_operator.planning.task import ErrorLine, KeysFrom, Toleration
from dtool_operator.planning.transfer import TransferRecord
from tests.support import observed as see
from tests.support.coming_to_rest import assert_comes_to_rest
from tests.support.observed import JOBS, UID, bucket, dataset, seen, stored
from tests.support.told import READY, Told, not_ready, ready_message, stalled, tell

MARK = "put finalizer, label"
OWN = "own u/alice/ as cluster-1/ns-alice"
KEEP = "no finalizer, label"
BY_SIGNING = "by a Job in alice, keys signing"
INSPECT = "start inspect volume results/run by a Job in alice, keys none"
UPLOAD = f"start upload volume results/run to lab-data/u/alice/ as raw {BY_SIGNING}"
UPLOAD_SAME = f"start upload volume results/run to lab-data/u/alice/ {BY_SIGNING}"
PUBLISH = "start publish lab-data/u/alice/"
PREPARING = not_ready("Progressing")
COPYING = not_ready("Copying")
FREEZING = not_ready("Freezing")
VOLUME = {"claimName": "results", "path": "run"}
NOTHING = stored(source=None)
OPEN = stored("proto", registered="u/alice/", source=None)
FROZEN = stored("frozen", registered="u/alice/", source=None)
ENDING = (NamespaceView("alice", "ns-alice", {"lab": "true"}, is_terminating=True),)
PIN = "b" * 64


def files(**spec: object) -> DtoolDataset:
    """An object that makes a dataset of files on a volume."""
    return dataset(source={"volume": VOLUME}, **spec)


def directory(*, manifest: str | None = None, **spec: object) -> DtoolDataset:
    """An object that brings a dataset directory on a volume."""
    volume = {"volume": {**VOLUME, "layout": "Dataset"}}
    pin = {} if manifest is None else {"manifestSHA256": manifest}
    return dataset(source={**volume, **pin}, **spec)


def look(one: DtoolDataset | None = None, *buckets: object, **fields: object) -> ObservedDataset:
    """One look by an operator that runs Jobs."""
    return seen(one or files(), *buckets, **{"policy": see.WITH_JOBS, "storage": OPEN, **fields})


def marked(one: DtoolDataset) -> DtoolDataset:
    """The same object after the proto dataset was created."""
    label = see.UUID if one.status.source is not None and not one.spec.is_new_dataset else UID
    return see.marked(one, finalizer=True, label=label)


KNOWN = see.inspected(directory())
UPLOADING = look(marked(files()))
UPLOADED = replace(UPLOADING, transfer=see.in_job(see.ended(UPLOADING, None)))
PUBLISHING = replace(UPLOADED, transfer=None)


def publication(outcome: object = None, *, ago: float = 0, **fields: object) -> TransferRecord:
    """A publication that runs, or has ended."""
    task = next(a.task for a in plan_dataset(UPLOADED).actions if isinstance(a, StartTransfer))
    if outcome is None:
        return see.running(UPLOADING, task=task, **fields)
    return see.ended(UPLOADING, outcome, task=task, ago=timedelta(seconds=ago), **fields)


STEPS: dict[str, tuple[ObservedDataset, Told]] = {
    "files: finalizer and owner marker come before the proto dataset": (
        look(storage=stored(owner=None, source=None)),
        Told((MARK, OWN, "create raw by alice"), "Pending", PREPARING, "0s"),
    ),
    "files: a Job uploads into the proto dataset": (
        UPLOADING,
        Told((UPLOAD,), "Copying", COPYING, "0s"),
    ),
    "files: what was uploaded is published by a child process, its Job cleared away": (
        UPLOADED,
        Told(("forget", PUBLISH), "Freezing", FREEZING, "30s"),
    ),
    "files: the upload waits for a place": (
        replace(UPLOADING, slots=Slots(running=4)),
        Told((), "Pending", not_ready("Queued"), "pause"),
    ),
    "files: the publication waits for a place": (
        replace(UPLOADED, slots=Slots(running=4)),
        Told((), "Pending", not_ready("Queued"), "pause"),
    ),
    "files: the publication runs": (
        replace(UPLOADING, transfer=publication(phase="Verifying")),
        Told((), "Verifying", not_ready("Verifying"), "30s"),
    ),
    "files: published": (
        replace(UPLOADING, transfer=publication(see.facts()), storage=FROZEN),
        Told((KEEP, "forget"), "Frozen", READY, "resync"),
    ),
    "files: published, and undone before that was reported": (
        replace(UPLOADING, transfer=publication(see.facts())),
        Told((PUBLISH,), "Freezing", FREEZING, "30s"),
    ),
    "files: frozen before the operator was restarted": (
        replace(UPLOADING, storage=FROZEN),
        Told((PUBLISH,), "Freezing", FREEZING, "30s"),
    ),
    "files: after a restart the upload finds in place what it brought": (
        PUBLISHING,
        Told((UPLOAD,), "Copying", COPYING, "0s"),
    ),
    "files: an item is missing, which another upload mends, but not at once": (
        replace(UPLOADING, transfer=publication(Reason.ITEM_MISSING, ago=60)),
        Told((), "Pending", not_ready("ItemMissing"), "pause"),
    ),
    "files: an item is missing, and time enough has passed": (
        replace(UPLOADING, transfer=publication(Reason.ITEM_MISSING, ago=360)),
        Told((UPLOAD,), "Copying", COPYING, "0s"),
    ),
    "files: somebody wrote meanwhile: it is published again": (
        replace(UPLOADING, transfer=publication(Reason.WRITTEN_WHILE_FREEZING, ago=60)),
        Told((PUBLISH,), "Freezing", FREEZING, "30s"),
    ),
    "files: what lies there differs, which only people can change": (
        replace(UPLOADING, transfer=publication(Reason.CONTENT_DIFFERS)),
        Told((), "Failed", stalled("ContentDiffers"), "resync"),
    ),
    "files: the upload fails": (
        replace(UPLOADING, transfer=see.in_job(see.ended(UPLOADING, Reason.VOLUME_UNAVAILABLE))),
        Told((), "Pending", not_ready("VolumeUnavailable"), "pause"),
    ),
    "files: nothing is created in a namespace that ends": (
        look(cluster=see.cluster(bucket(), namespaces=ENDING), storage=NOTHING),
        Told((), "Pending", not_ready("Pending")),
    ),
    "files: the quota of datasets is used up": (
        look(
            None,
            bucket(limits={"perNamespace": {"datasets": 2}}),
            storage=NOTHING,
            usage=see.usage(datasets=2),
        ),
        Told((), "Pending", not_ready("QuotaExceeded")),
    ),
    "files: the prefix is another's": (
        look(storage=stored(owner=see.OTHER, source=None)),
        Told((), "Pending", not_ready("PrefixOwnedByOther")),
    ),
    "no Jobs": (
        look(policy=see.POLICY, storage=NOTHING),
        Told((), "Pending", not_ready("JobsDisabled")),
    ),
    "no signing endpoint, and the keys may not be given": (
        look(policy=replace(see.POLICY, jobs=JobPolicy(see.ADMIN)), storage=NOTHING),
        Told((), "Pending", not_ready("JobsDisabled")),
    ),
    "directory: a Job looks first which dataset it is; nothing is marked": (
        look(directory(), storage=None),
        Told((INSPECT,), "Pending", PREPARING, "0s"),
    ),
    "directory: the look needs Jobs, too": (
        look(directory(), policy=see.POLICY, storage=None),
        Told((), "Pending", not_ready("JobsDisabled")),
    ),
    "directory: it keeps its identity": (
        look(KNOWN, storage=NOTHING),
        Told((MARK, "create sample by olssont"), "Pending", PREPARING, "0s"),
    ),
    "directory: it is uploaded as it is": (
        look(marked(KNOWN)),
        Told((UPLOAD_SAME,), "Copying", COPYING, "0s"),
    ),
    "directory: the look waits for a place": (
        look(directory(), storage=None, slots=Slots(running=4)),
        Told((), "Pending", not_ready("Queued"), "pause"),
    ),
    "directory: it becomes a derived dataset": (
        look(see.inspected(directory(identity="New")), storage=NOTHING),
        Told((MARK, "create raw by alice"), "Pending", PREPARING, "0s"),
    ),
    "directory: the derived one is uploaded under its own name": (
        look(marked(see.inspected(directory(identity="New")))),
        Told((UPLOAD,), "Copying", COPYING, "0s"),
    ),
    "directory: its manifest is not the one that is pinned": (
        look(see.inspected(directory(manifest=PIN)), storage=NOTHING),
        Told((), "Failed", stalled("InvalidManifest"), "resync"),
    ),
    "directory: its manifest is the one that is pinned": (
        look(see.inspected(directory(manifest=PIN), manifest_sha256=PIN), storage=NOTHING),
        Told((MARK, "create sample by olssont"), "Pending", PREPARING, "0s"),
    ),
    "directory: its registration key says otherwise since it was begun": (
        look(marked(KNOWN), storage=stored("proto", registered="u/bob/", source=None)),
        Told((), "Pending", not_ready("RegistrationHijacked")),
    ),
    "directory: the same dataset is in the bucket elsewhere": (
        look(KNOWN, storage=stored(registered="u/bob/", source=None)),
        Told((), "Failed", stalled("AlreadyInBucket"), "resync"),
    ),
}


@pytest.mark.parametrize("case", STEPS)
def test_what_is_done_with_what_lies_on_a_volume(case: str) -> None:
    one, expected = STEPS[case]

    assert tell(plan_dataset(one)) == expected


@pytest.mark.parametrize("case", STEPS)
def test_rule_10_what_was_begun_is_begun_once(case: str) -> None:
    assert_comes_to_rest(STEPS[case][0])


def test_a_look_at_a_directory_is_reported_before_anything_else_is_asked() -> None:
    one = look(directory(), storage=None)
    record = see.in_job(see.ended(one, see.source_facts()))

    plan = plan_dataset(replace(one, transfer=record))

    assert find_inquiry(one) is None
    assert tell(plan) == Told(("forget",), "Pending", PREPARING, "0s")
    assert plan.status is not None
    assert plan.status.source is not None
    assert (plan.status.source.uuid, plan.status.source.items) == (see.UUID, 3)
    assert find_inquiry(replace(one, dataset=see.reported(one.dataset, plan))) is not None


def test_a_look_that_failed_is_repeated_after_a_pause() -> None:
    one = look(directory(), storage=None)

    plan = plan_dataset(replace(one, transfer=see.in_job(see.ended(one, Reason.SOURCE_NOT_FOUND))))

    assert tell(plan) == Told((), "Pending", not_ready("SourceNotFound"), "pause")


def test_a_look_does_not_take_off_the_finalizer_of_what_is_unfinished() -> None:
    one = look(see.marked(directory(), finalizer=True), storage=None)

    assert tell(plan_dataset(one)).do == (INSPECT,)


def test_rule_11_a_derived_directory_has_its_uuid_in_the_status_before_anybody_looked() -> None:
    plan = plan_dataset(look(directory(identity="New"), storage=None))

    assert plan.status is not None
    assert plan.status.uuid == UID


def test_the_proto_dataset_of_a_directory_keeps_its_times() -> None:
    one = look(see.inspected(directory(), created_at=see.EPOCH, frozen_at=see.NOW), storage=NOTHING)

    created = plan_dataset(one).actions[-1]

    assert isinstance(created, CreateProto)
    assert (created.uuid, created.created_at, created.frozen_at) == (
        see.UUID,
        see.EPOCH.timestamp(),
        see.NOW.timestamp(),
    )


def test_rule_5_only_a_bucket_of_the_same_namespace_gives_its_keys() -> None:
    own, whose = bucket("own", "alice"), {"bucketRef": {"name": "own"}}

    same = see.task_of(look(marked(files(**whose)), own))
    ambient = bucket("own", "alice", credentials=None)
    without = see.task_of(look(marked(files(**whose)), ambient))
    other = see.task_of(UPLOADING)

    assert (same.job.keys, same.job.secret) == (KeysFrom.BUCKET, "own-s3")
    assert (without.job.keys, without.job.secret) == (KeysFrom.SIGNING, None)
    assert (other.job.keys, other.job.secret) == (KeysFrom.SIGNING, None)
    assert same.job.namespace == other.job.namespace == "alice"


def test_the_bucket_says_where_its_pods_run() -> None:
    workers = {
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"key": "storage", "operator": "Exists", "tolerationSeconds": 60}],
        "priorityClassName": "low",
        "resources": {"requests": {"cpu": "500m"}, "limits": {"memory": "2Gi"}},
    }

    pod = see.task_of(look(marked(files()), bucket(workers=workers))).job.pod

    assert pod.node_selector == (("disk", "fast"),)
    assert pod.tolerations == (Toleration(key="storage", operator="Exists", toleration_seconds=60),)
    assert (pod.priority_class_name, pod.requests, pod.limits) == (
        "low",
        (("cpu", "500m"),),
        (("memory", "2Gi"),),
    )


def test_rule_14_a_publication_waits_until_no_signed_url_is_valid_any_more() -> None:
    policy = replace(see.POLICY, jobs=replace(JOBS, signing_expiry=timedelta(seconds=45)))
    uploading = look(marked(KNOWN), policy=policy)
    uploaded = replace(uploading, transfer=see.in_job(see.ended(uploading, None)))

    task = next(a.task for a in plan_dataset(uploaded).actions if isinstance(a, StartTransfer))

    assert (task.quiet_seconds, task.job) == (45, None)
    assert (task.manifest_sha256, task.content_sha256) == ("a" * 64, "c" * 64)


def test_a_derived_dataset_has_another_manifest_than_its_directory_only_when_it_is_read() -> None:
    one = look(marked(see.inspected(directory(identity="New"))))

    task = see.task_of(one)

    assert task.new is not None
    assert (task.new.source_uuid, task.manifest_sha256) == (see.UUID, "a" * 64)


def test_a_claim_that_is_no_manifest_is_uploaded_again_only_on_request() -> None:
    record = publication(Reason.INVALID_MANIFEST, ago=3600)
    asked = see.with_annotations(UPLOADING.dataset, {ANNOTATION_RECONCILE_REQUESTED: "now"})

    stays = plan_dataset(replace(UPLOADING, transfer=record))
    again = plan_dataset(replace(UPLOADING, dataset=asked, transfer=record))

    assert tell(stays) == Told((), "Failed", stalled("InvalidManifest"), "resync")
    assert tell(again).do == (UPLOAD,)


def test_rule_17_uploads_in_vain_do_not_follow_one_another_at_once() -> None:
    """Attempts are counted of one task in a row, and here two take turns."""
    one, now = UPLOADING, see.NOW
    record = publication(Reason.ITEM_MISSING, attempts=1)

    waits = plan_dataset(replace(one, transfer=record, now=now + timedelta(minutes=4)))

    assert tell(waits).do == ()


def test_the_trouble_of_a_job_is_why_it_is_not_ready() -> None:
    trouble = ErrorLine(reason="Unschedulable", message="0/3 nodes are available", retryable=True)
    record = see.in_job(see.running(UPLOADING), trouble=trouble)
    one = replace(UPLOADING, dataset=see.recorded(UPLOADING.dataset, record.job), transfer=record)

    plan = plan_dataset(one)

    assert tell(plan) == Told((), "Copying", not_ready("Unschedulable"), "30s")
    assert "0/3 nodes are available" in ready_message(plan)
