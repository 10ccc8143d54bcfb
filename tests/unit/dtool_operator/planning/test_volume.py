"""A dataset whose place is a volume: brought by a Job, watched, read again, refused; whole plans."""

from dataclasses import replace
from datetime import timedelta

import pytest

from dtool_operator.api.dataset import DtoolDataset
from dtool_operator.api.reasons import Reason
from dtool_operator.names import ANNOTATION_VERIFY_REQUESTED
from dtool_operator.planning.dataset import plan_dataset
from dtool_operator.planning.inquiry import find_inquiry
from dtool_operator.planning.observed import JobPolicy, ObservedDataset, Slots
from dtool_operator.planning.plan import StartTransfer
from dtool_operator.planning.task import KeysFrom
from tests.support import observed as see
from tests.support.observed import bucket, dataset, instruments, seen, stored
from tests.support.told import FROZEN, READY, Told, damaged, not_ready, ready_message, stalled, tell

MARK = "put finalizer, label"
KEEP = "no finalizer, label"
BY = "by a Job in alice, keys"
DOWNLOAD = (
    f"start download instrument-data/ to volume scratch/in {BY} signing with keys of dtool-system/instruments"
)
VERIFY = f"start verify volume scratch/insample by reading {BY} none"
COPYING = not_ready("Copying")
PLACE = {"claimName": "scratch", "path": "in"}
SOURCE = stored(owner=None)
ASKED = {ANNOTATION_VERIFY_REQUESTED: "now"}
HOUR = timedelta(hours=1)
RAW = {"dataset": {"name": "original", "namespace": "bob"}}


def brought(**spec: object) -> DtoolDataset:
    """An object that brings a dataset onto a volume."""
    return dataset(**{"bucketRef": None, "volume": PLACE, **spec})


def look(one: DtoolDataset | None = None, *buckets: object, **fields: object) -> ObservedDataset:
    """One look by an operator that runs Jobs."""
    return seen(one or brought(), *buckets, **{"policy": see.WITH_JOBS, "storage": SOURCE, **fields})


MARKED = see.marked(brought(), finalizer=True)
BEGUN = look(MARKED)
RUNS = see.in_job(see.running(BEGUN))
FOLLOWED = see.recorded(MARKED, RUNS.job)


def frozen(**spec: object) -> DtoolDataset:
    """An object whose dataset was brought, and reported."""
    plan = plan_dataset(replace(BEGUN, transfer=see.in_job(see.ended(BEGUN, see.facts(etag_md5=0, read=3)))))
    told = see.reported(see.marked(brought()), plan)
    return replace(see.marked(brought(**spec)), status=told.status)


def other_job(one: DtoolDataset) -> DtoolDataset:
    """The same object, with a Job of an earlier operator that did something else."""
    return see.recorded(one, replace(see.job_of(RUNS.task), name="dtool-other", uid="job-0"))


STEPS: dict[str, tuple[ObservedDataset, Told]] = {
    "finalizer first, then a Job without keys": (
        look(),
        Told((MARK, DOWNLOAD), "Copying", COPYING, "0s"),
    ),
    "a place is waited for": (
        look(slots=Slots(running=4)),
        Told((), "Pending", not_ready("Queued"), "pause"),
    ),
    "S3 was not asked, because there is no place": (
        look(see.reported(brought(), plan_dataset(look(slots=Slots(running=4)))), storage=None),
        Told((), "Pending", not_ready("Queued"), "pause"),
    ),
    "a new one says nothing while it waits": (
        look(storage=None, now=see.EPOCH),
        Told((), None, None, "10s"),
    ),
    "a new one says nothing when another took the place": (
        look(now=see.EPOCH, slots=Slots(running=4)),
        Told((), None, None, "10s"),
    ),
    "it is on its way": (
        look(FOLLOWED, transfer=RUNS),
        Told((), "Copying", COPYING, "30s"),
    ),
    "the source changed its keys meanwhile": (
        look(FOLLOWED, transfer=RUNS, storage=stored(owner=None, credentials_version="|2")),
        Told(("refresh keys of dtool-system/instruments",), "Copying", COPYING, "30s"),
    ),
    "S3 does not answer meanwhile: the Job has its own patience": (
        look(FOLLOWED, transfer=RUNS, storage=see.refuse(Reason.BUCKET_UNREACHABLE)),
        Told((), "Copying", COPYING, "30s"),
    ),
    "S3 does not answer after a restart: the Job of before goes on": (
        look(FOLLOWED, storage=see.refuse(Reason.BUCKET_UNREACHABLE)),
        Told((), "Pending", not_ready("BucketUnreachable")),
    ),
    "S3 does not answer before anything was begun": (
        look(storage=see.refuse(Reason.BUCKET_UNREACHABLE)),
        Told((), "Pending", not_ready("BucketUnreachable")),
    ),
    "it is there": (
        look(FOLLOWED, transfer=see.in_job(see.ended(BEGUN, see.facts(etag_md5=0, read=3)))),
        Told((KEEP, "forget"), "Frozen", READY, "resync"),
    ),
    "it could not be brought": (
        look(FOLLOWED, transfer=see.in_job(see.ended(BEGUN, Reason.VOLUME_FULL))),
        Told((), "Pending", not_ready("VolumeFull"), "pause"),
    ),
    "something else lies in its place": (
        look(FOLLOWED, transfer=see.in_job(see.ended(BEGUN, Reason.CONTENT_DIFFERS))),
        Told((), "Failed", stalled("ContentDiffers"), "resync"),
    ),
    "the source is not there yet": (
        look(storage=stored(owner=None, source=None)),
        Told((), "Pending", not_ready("SourceNotFound")),
    ),
    "the source is a proto dataset": (
        look(storage=stored(owner=None, source="proto")),
        Told((), "Pending", not_ready("SourceNotFrozen")),
    ),
    "no bucket lets it be read": (
        look(None, bucket(), storage=None),
        Told((), "Pending", not_ready("SourceNotAllowed")),
    ),
    "no Jobs": (
        look(policy=see.POLICY),
        Told((), "Pending", not_ready("JobsDisabled")),
    ),
    "no signing endpoint, and the keys may not be given": (
        look(policy=replace(see.POLICY, jobs=JobPolicy(see.ADMIN))),
        Told((), "Pending", not_ready("JobsDisabled")),
    ),
    "suspended": (
        look(replace(FOLLOWED, spec=brought(suspend=True).spec), transfer=RUNS),
        Told(("cancel",), "Suspended", not_ready("Suspended"), "resync"),
    ),
    "its namespace is not known yet": (
        look(cluster=see.cluster(bucket(), instruments(), namespaces=())),
        Told((), "Pending", not_ready("Pending")),
    ),
    "an older object brings the same to the same place": (
        look(siblings=(see.older(brought()),)),
        Told((), "Pending", not_ready("ClaimedByAnother")),
    ),
    "an older object brings the same to the same place, written otherwise": (
        look(siblings=(see.older(brought(volume={**PLACE, "path": "in/"})),)),
        Told((), "Pending", not_ready("ClaimedByAnother")),
    ),
    "a younger object does": (
        look(siblings=(see.older(brought(), creation_timestamp=see.NOW),)),
        Told((MARK, DOWNLOAD), "Copying", COPYING, "0s"),
    ),
    "an older object brings the same elsewhere": (
        look(siblings=(see.older(brought(volume={"claimName": "scratch"})), see.older(dataset(), "copy"))),
        Told((MARK, DOWNLOAD), "Copying", COPYING, "0s"),
    ),
}

#: What a dataset on a volume cannot be.
UNSUPPORTED = {
    "spec.source": brought(source=None),
    "spec.identity: New": brought(identity="New"),
    "spec.name": brought(name="other"),
    "spec.readme": brought(readme="description: x\n"),
    "spec.tags": brought(tags=["a"]),
    "spec.annotations": brought(annotations={"a": 1}),
    "a DtoolDataset of its own": brought(
        source={"objects": {"bucketRef": {"name": "instruments", "namespace": see.ADMIN}, "prefix": "run/"}}
    ),
}


@pytest.mark.parametrize("case", STEPS)
def test_how_a_dataset_is_brought_to_a_volume(case: str) -> None:
    one, expected = STEPS[case]

    assert tell(plan_dataset(one)) == expected


@pytest.mark.parametrize("case", STEPS)
def test_rule_10_it_is_begun_once_and_comes_to_rest(case: str) -> None:
    one, starts = STEPS[case][0], 0
    for _ in range(5):
        plan = plan_dataset(one)
        starts += sum(isinstance(action, StartTransfer) for action in plan.actions)
        one = see.carried_out(one, plan)

    assert plan.actions == ()
    assert plan.status in (None, one.dataset.status)
    assert starts <= 1


@pytest.mark.parametrize("case", UNSUPPORTED)
def test_what_a_dataset_on_a_volume_cannot_be(case: str) -> None:
    one = look(UNSUPPORTED[case], storage=None)

    plan = plan_dataset(one)

    assert tell(plan) == Told((), "Failed", stalled("NotSupported"), "resync")
    assert case in ready_message(plan)
    assert find_inquiry(one) is None


def test_the_source_alone_is_asked_about() -> None:
    inquiry = find_inquiry(look())

    assert inquiry is not None
    assert (inquiry.target, inquiry.origin.uuid) == (None, see.UUID)


def test_s3_is_asked_for_a_job_of_before_though_there_is_no_place() -> None:
    crowded = Slots(running=4)

    assert find_inquiry(look(slots=crowded)) is None
    assert find_inquiry(look(FOLLOWED, slots=crowded)) is not None


def test_uuid_and_name_are_in_the_status_before_the_job_begins() -> None:
    plan = plan_dataset(look())

    assert plan.status is not None
    assert (plan.status.uuid, plan.status.name, plan.status.uri) == (see.UUID, "sample", None)


def test_another_objects_dataset_is_claimed_before_its_uuid_is_in_the_status() -> None:
    original = see.was_frozen(replace(dataset("original", "bob")))
    first = see.older(brought(source=RAW))
    first = replace(first, status=first.status.model_copy(update={"uuid": see.UUID}))
    open_bucket = bucket(readAccess="Bucket")
    one = look(
        brought(source=RAW), open_bucket, source_dataset=original, storage=stored(source_prefix="u/bob/")
    )

    alone, second = plan_dataset(one), plan_dataset(replace(one, siblings=(first,)))

    assert "start download" in tell(alone).do[-1]
    assert tell(second) == Told((), "Pending", not_ready("ClaimedByAnother"))


def test_rule_5_the_keys_of_a_bucket_of_the_same_namespace_are_mounted() -> None:
    own = bucket("own", "alice", bucket="instrument-data", prefixTemplate="")

    task = see.task_of(look(None, own))

    assert (task.job.keys, task.job.secret, task.bucket_key) == (KeysFrom.BUCKET, "own-s3", "alice/own")


def test_rule_19_refreshed_keys_are_not_refreshed_again() -> None:
    one = STEPS["the source changed its keys meanwhile"][0]

    assert plan_dataset(see.carried_out(one, plan_dataset(one))).actions == ()


# ---- what was brought -----------------------------------------------------------------------------------

THERE = frozen()
CONTENT = {"method": "Content", "interval": "168h"}
REQUESTED = see.with_annotations(THERE, ASKED)
DUE = look(REQUESTED, storage=None)
VERIFIES = see.in_job(see.running(DUE, phase="Verifying"))
CHECKED = see.recorded(REQUESTED, VERIFIES.job)
LATE = see.NOW + timedelta(hours=300)
BROKEN = see.ended(DUE, see.facts(mismatch_count=1, etag_md5=0, read=2))
OVERDUE = (
    "Ready True Succeeded",
    "Frozen True Frozen",
    "Verified Unknown VerificationOverdue",
    "MetadataSynced True Synced",
)

WATCHED: dict[str, tuple[ObservedDataset, Told]] = {
    "nothing is asked": (
        look(THERE, storage=None),
        Told((), "Frozen", READY, "resync"),
    ),
    "its finalizer is of no use any more": (
        look(see.marked(THERE, finalizer=True), storage=None),
        Told((KEEP,), "Frozen", READY, "resync"),
    ),
    "its source is gone, which it does not need": (
        look(THERE, bucket(), storage=None),
        Told((), "Frozen", READY, "resync"),
    ),
    "suspended": (
        look(frozen(suspend=True), storage=None),
        Told((), "Suspended", ("Ready False Suspended", "Reconciling True Suspended", *FROZEN), "resync"),
    ),
    "to be read now and then, and not due": (
        look(frozen(verify=CONTENT), storage=None, now=see.NOW + HOUR),
        Told((), "Frozen", READY, "resync"),
    ),
    "to be read now and then, and due": (
        look(frozen(verify=CONTENT), storage=None, now=see.NOW + timedelta(hours=210)),
        Told((VERIFY,), "Frozen", READY, "0s"),
    ),
    "to be read now and then, and overdue": (
        look(frozen(verify=CONTENT), storage=None, now=LATE, slots=Slots(running=4)),
        Told((), "Frozen", OVERDUE, "pause"),
    ),
    "nobody asked for it to be read, however long ago it was": (
        look(THERE, storage=None, now=LATE),
        Told((), "Frozen", READY, "resync"),
    ),
    "asked to be read": (
        DUE,
        Told((VERIFY.replace(BY, f"as asked now {BY}"),), "Frozen", READY, "0s"),
    ),
    "asked to be read where there are no Jobs": (
        look(REQUESTED, storage=None, policy=see.POLICY),
        Told(
            (), "Frozen", ("Ready False JobsDisabled", "Reconciling True JobsDisabled", *FROZEN), "back off"
        ),
    ),
    "not asked for anything where there are no Jobs": (
        look(THERE, storage=None, policy=see.POLICY),
        Told((), "Frozen", READY, "resync"),
    ),
    "read": (
        replace(DUE, dataset=CHECKED, transfer=VERIFIES),
        Told((), "Verifying", READY, "30s"),
    ),
    "read, for another request than this": (
        replace(
            DUE,
            dataset=see.with_annotations(CHECKED, {ANNOTATION_VERIFY_REQUESTED: "later"}),
            transfer=VERIFIES,
        ),
        Told(("cancel",), "Verifying", READY, "0s"),
    ),
    "read by a Job of an earlier operator": (
        replace(DUE, dataset=CHECKED),
        Told(("adopt Job job-1 to verify",), "Frozen", READY, "0s"),
    ),
    "no longer asked for, and read by a Job of an earlier operator": (
        look(see.recorded(THERE, see.job_of(see.task_of(DUE))), storage=None),
        Told(("remove Job job-1",), "Frozen", READY, "resync"),
    ),
    "asked to be read, after something else was begun by an earlier operator": (
        replace(DUE, dataset=other_job(REQUESTED)),
        Told(("remove Job job-0", VERIFY.replace(BY, f"as asked now {BY}")), "Frozen", READY, "0s"),
    ),
    "whole": (
        replace(DUE, dataset=CHECKED, transfer=see.in_job(see.ended(DUE, see.facts(etag_md5=0, read=3)))),
        Told(("forget",), "Frozen", READY, "resync"),
    ),
    "damaged": (
        replace(DUE, dataset=CHECKED, transfer=see.in_job(BROKEN)),
        Told(("forget",), "Damaged", damaged("ItemMissing"), "86400s"),
    ),
    "gone": (
        replace(DUE, dataset=CHECKED, transfer=see.in_job(see.ended(DUE, Reason.DATASET_MISSING))),
        Told((), "Damaged", damaged("DatasetMissing"), "86400s"),
    ),
    "not to be read now": (
        replace(DUE, dataset=CHECKED, transfer=see.in_job(see.ended(DUE, Reason.UNSCHEDULABLE))),
        Told((), "Frozen", READY, "pause"),
    ),
    "not to be read before, and tried again": (
        replace(DUE, transfer=see.in_job(see.ended(DUE, Reason.UNSCHEDULABLE, ago=HOUR))),
        Told((VERIFY.replace(BY, f"as asked now {BY}"),), "Frozen", READY, "0s"),
    ),
}


@pytest.mark.parametrize("case", WATCHED)
def test_a_dataset_on_a_volume_is_watched(case: str) -> None:
    one, expected = WATCHED[case]

    assert tell(plan_dataset(one)) == expected
    assert find_inquiry(replace(one, storage=None)) is None


@pytest.mark.parametrize("case", WATCHED)
def test_rule_10_watching_comes_to_rest(case: str) -> None:
    one, starts = WATCHED[case][0], 0
    for _ in range(5):
        plan = plan_dataset(one)
        starts += sum(isinstance(action, StartTransfer) for action in plan.actions)
        one = see.carried_out(one, plan)

    assert (plan.actions, plan.status) == ((), one.dataset.status)
    assert starts <= 1


def test_a_verification_answers_its_request() -> None:
    plan = plan_dataset(WATCHED["whole"][0])

    assert plan.status is not None
    assert (plan.status.last_handled_verify_at, plan.status.verified.evidence.read) == ("now", 3)
    assert plan.status.job is None


def test_damage_is_looked_for_again_after_a_day() -> None:
    one = WATCHED["damaged"][0]
    ill = see.carried_out(one, plan_dataset(one))

    soon = plan_dataset(replace(ill, now=see.NOW + HOUR))
    later = plan_dataset(replace(ill, now=see.NOW + timedelta(hours=25)))

    assert tell(soon) == Told((), "Damaged", damaged("ItemMissing"), "resync")
    assert tell(later).do == (VERIFY,)


def test_damage_that_is_gone_is_said_to_be_gone() -> None:
    one = WATCHED["damaged"][0]
    ill = replace(see.carried_out(one, plan_dataset(one)), now=see.NOW + timedelta(hours=25))
    begun = see.ended(ill, see.facts(etag_md5=0, read=3))

    assert tell(plan_dataset(replace(ill, transfer=see.in_job(begun)))).says == READY


def test_a_source_that_another_object_keeps_on_a_volume_is_none() -> None:
    one = seen(dataset(source={"dataset": {"name": "raw"}}), source_dataset=frozen(), storage=None)

    plan = plan_dataset(one)

    assert tell(plan) == Told((), "Pending", not_ready("SourceDatasetNotFound"))


def test_the_refusal_of_jobs_says_what_to_set() -> None:
    plan = plan_dataset(look(policy=see.POLICY))

    assert "DTOOL_OPERATOR_WORKER_IMAGE" in ready_message(plan)
