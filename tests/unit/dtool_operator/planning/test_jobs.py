"""What is done with the Job of a task: recorded, let begin, followed, found again, ended; whole plans."""

from dataclasses import replace
from datetime import timedelta

import pytest

from dtool_operator.api.reasons import Reason
from dtool_operator.planning.dataset import plan_dataset
from dtool_operator.planning.failure import plan_failure
from dtool_operator.planning.inquiry import find_inquiry
from dtool_operator.planning.observed import ObservedDataset, Slots
from dtool_operator.planning.plan import AdoptJob, CancelTransfer, ReleaseJob, RemoveJob
from dtool_operator.planning.transfer import JobRef
from tests.support import observed as see
from tests.support.observed import bucket, dataset, seen, stored
from tests.support.told import Told, not_ready, tell

UPLOAD = "start upload volume results/ to lab-data/u/alice/ as raw by a Job in alice, keys signing"
COPYING = not_ready("Copying")
OPEN = stored("proto", registered="u/alice/", source=None)
MARKED = see.marked(dataset(source={"volume": {"claimName": "results"}}), finalizer=True, label=see.UID)
LOOK = seen(MARKED, policy=see.WITH_JOBS, storage=OPEN)
RELEASED = see.in_job(see.running(LOOK))
WAITS = replace(RELEASED, is_released=False)
UNKNOWN = replace(WAITS, job=None)
KNOWN = see.recorded(MARKED, RELEASED.job)
OTHER = see.recorded(MARKED, JobRef("alice", "dtool-upload-of-something-else", "job-0"))
LOST = see.in_job(see.ended(LOOK, Reason.JOB_LOST), is_released=False)
SUSPENDED = dataset(source=MARKED.spec.source.model_dump(by_alias=True, exclude_none=True), suspend=True)
NOT_READY = see.judged(bucket(), Reason.BUCKET_UNREACHABLE)

#: What was seen, what is done, and which Job the status names afterwards.
CASES: dict[str, tuple[ObservedDataset, Told, str | None]] = {
    "it is not made yet": (
        replace(LOOK, transfer=UNKNOWN),
        Told((), "Copying", COPYING, "30s"),
        None,
    ),
    "it is made, and recorded before it begins": (
        replace(LOOK, transfer=WAITS),
        Told((), "Copying", COPYING, "0s"),
        "job-1",
    ),
    "it is recorded, and begins": (
        replace(LOOK, dataset=KNOWN, transfer=WAITS),
        Told(("release",), "Copying", COPYING, "30s"),
        "job-1",
    ),
    "another is recorded than the one that waits": (
        replace(LOOK, dataset=OTHER, transfer=WAITS),
        Told((), "Copying", COPYING, "0s"),
        "job-1",
    ),
    "it runs": (
        replace(LOOK, dataset=KNOWN, transfer=RELEASED),
        Told((), "Copying", COPYING, "30s"),
        "job-1",
    ),
    "it is cancelled before it began": (
        replace(LOOK, dataset=replace(KNOWN, spec=SUSPENDED.spec), transfer=WAITS),
        Told(("cancel",), "Suspended", not_ready("Suspended"), "resync"),
        None,
    ),
    "it does other work than it should": (
        replace(
            LOOK,
            dataset=KNOWN,
            transfer=WAITS,
            cluster=see.cluster(bucket(workers={"nodeSelector": {"a": "b"}})),
        ),
        Told(("cancel",), "Copying", COPYING, "0s"),
        None,
    ),
    "it was deleted before it began: that is not hurried": (
        replace(LOOK, dataset=KNOWN, transfer=LOST),
        Told((), "Pending", not_ready("JobLost"), "pause"),
        None,
    ),
    "its bucket does not answer": (
        replace(LOOK, dataset=KNOWN, transfer=RELEASED, cluster=see.cluster(NOT_READY)),
        Told((), "Copying", COPYING, "30s"),
        "job-1",
    ),
    "after a restart it is followed": (
        replace(LOOK, dataset=KNOWN),
        Told(("adopt Job job-1 to upload",), "Copying", COPYING, "0s"),
        "job-1",
    ),
    "after a restart it is followed, though there is no place": (
        replace(LOOK, dataset=KNOWN, slots=Slots(running=4)),
        Told(("adopt Job job-1 to upload",), "Copying", COPYING, "0s"),
        "job-1",
    ),
    "after a restart S3 does not answer": (
        replace(LOOK, dataset=KNOWN, storage=see.refuse(Reason.BUCKET_UNREACHABLE)),
        Told((), "Pending", not_ready("BucketUnreachable")),
        "job-1",
    ),
    "after a restart its bucket is not Ready": (
        replace(LOOK, dataset=KNOWN, cluster=see.cluster(NOT_READY)),
        Told((), "Pending", not_ready("BucketNotReady")),
        "job-1",
    ),
    "after a restart the prefix is another's": (
        replace(LOOK, dataset=KNOWN, storage=see.refuse(Reason.PREFIX_OWNED_BY_OTHER)),
        Told(("remove Job job-1",), "Pending", not_ready("PrefixOwnedByOther")),
        None,
    ),
    "after a restart its dataset is suspended": (
        replace(LOOK, dataset=replace(KNOWN, spec=SUSPENDED.spec)),
        Told(("remove Job job-1",), "Suspended", not_ready("Suspended"), "resync"),
        None,
    ),
    "after a restart other work is wanted": (
        replace(LOOK, dataset=OTHER),
        Told(("remove Job job-0", UPLOAD), "Copying", COPYING, "0s"),
        None,
    ),
    "after a restart other work is wanted, and there is no place": (
        replace(LOOK, dataset=OTHER, slots=Slots(running=4)),
        Told(("remove Job job-0",), "Pending", not_ready("Queued"), "pause"),
        None,
    ),
    "after a restart there are no Jobs any more": (
        replace(LOOK, dataset=KNOWN, policy=see.POLICY),
        Told(("remove Job job-1",), "Pending", not_ready("JobsDisabled")),
        None,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_job(case: str) -> None:
    look, expected, job = CASES[case]

    plan = plan_dataset(look)

    assert tell(plan) == expected
    assert plan.status is not None
    assert (None if plan.status.job is None else plan.status.job.uid) == job


@pytest.mark.parametrize("case", CASES)
def test_looks_that_follow_at_once_come_to_an_end(case: str) -> None:
    look, looks = CASES[case][0], 0

    while (plan := plan_dataset(look)).look_again == timedelta(0):
        look, looks = see.carried_out(look, plan), looks + 1
        assert looks < 6


def test_s3_is_asked_for_a_job_of_before_though_there_is_no_place() -> None:
    crowded = replace(LOOK, storage=None, slots=Slots(running=4))

    assert find_inquiry(crowded) is None
    assert find_inquiry(replace(crowded, dataset=KNOWN)) is not None


@pytest.mark.parametrize(
    ("look", "action"),
    [
        (replace(LOOK, dataset=KNOWN), AdoptJob(RELEASED.task, RELEASED.job)),
        (replace(LOOK, dataset=OTHER), RemoveJob(JobRef("alice", "dtool-upload-of-something-else", "job-0"))),
        (replace(LOOK, dataset=KNOWN, transfer=WAITS), ReleaseJob()),
        (replace(LOOK, dataset=KNOWN, transfer=RELEASED), CancelTransfer()),
    ],
)
def test_a_plan_that_failed_does_not_lose_its_job(look: ObservedDataset, action: object) -> None:
    """Nobody would ever end it."""
    plan = plan_failure(look, see.refuse(Reason.JOBS_FORBIDDEN), action)

    assert tell(plan) == Told((), "Pending", not_ready("JobsForbidden"))
    assert plan.status is not None
    assert plan.status.job == look.dataset.status.job
