"""What happens to what a deleted object has on a volume (rule 18), and to its Jobs; whole plans."""

from dataclasses import replace
from datetime import timedelta

import pytest

from dtool_operator.api.dataset import DtoolDataset
from dtool_operator.api.reasons import Reason
from dtool_operator.planning.dataset import plan_dataset
from dtool_operator.planning.failure import plan_failure
from dtool_operator.planning.inquiry import find_inquiry
from dtool_operator.planning.observed import NamespaceView, ObservedDataset, Slots
from dtool_operator.planning.plan import RemoveJob
from dtool_operator.planning.task import ErrorLine
from dtool_operator.planning.transfer import JobRef
from tests.support import observed as see
from tests.support.observed import dataset, seen, stored
from tests.support.told import Told, not_ready, ready_message, tell

MINUTE, HOURS = timedelta(minutes=1), timedelta(hours=2)
PLACE = {"claimName": "scratch", "path": "in/"}
REMOVE = "start remove volume scratch/in/sample by a Job in alice, keys none"
WHOLLY = REMOVE.replace(" by a Job", " wholly by a Job")
LEFT = "left behind: What lies on the volume could not be removed. What this object wrote was left there."
RELEASE = "no finalizer"
ENDING = (NamespaceView("alice", "ns-alice", {"lab": "true"}, is_terminating=True),)
JOB = JobRef("alice", "dtool-download-f0", "job-0")


def brought(**spec: object) -> DtoolDataset:
    return dataset(**{"bucketRef": None, "volume": PLACE, **spec})


def look(one: DtoolDataset, **fields: object) -> ObservedDataset:
    return seen(one, **{"policy": see.WITH_JOBS, "storage": None, **fields})


def begun(*, ago: timedelta = MINUTE, **spec: object) -> DtoolDataset:
    """An object that was deleted while its dataset was brought."""
    one = see.marked(brought(**spec), finalizer=True)
    told = see.reported(one, plan_dataset(look(one, storage=stored(owner=None))))
    return see.deleted(told, ago=ago)


def frozen(policy: str, *, ago: timedelta = MINUTE) -> DtoolDataset:
    """An object that was deleted when its dataset was there."""
    one = see.marked(brought(deletionPolicy=policy), finalizer=True)
    first = look(one, storage=stored(owner=None))
    plan = plan_dataset(replace(first, transfer=see.in_job(see.ended(first, see.facts()))))
    return see.deleted(see.reported(one, plan), ago=ago)


BEGUN = look(begun())
LATE = look(begun(ago=HOURS))
TROUBLE = ErrorLine(reason="Unschedulable", message="no node takes it", retryable=True)
NO_CLAIM = ErrorLine(reason="VolumeNotFound", message="no such claim", retryable=True)
WAITS = see.in_job(see.running(BEGUN), is_released=False)
KNOWN = see.recorded(BEGUN.dataset, WAITS.job)
REMOVES = replace(WAITS, is_released=True)
DOWNLOADS = see.in_job(see.running(look(brought(), storage=stored(owner=None))))

CASES: dict[str, tuple[ObservedDataset, Told]] = {
    "unfinished: what was begun is removed by a Job": (
        BEGUN,
        Told((REMOVE,), look="0s"),
    ),
    "unfinished, whatever the policy says": (
        look(begun(deletionPolicy="Delete")),
        Told((REMOVE,), look="0s"),
    ),
    "unfinished: nothing was begun before the status told a name": (
        look(see.deleted(see.marked(brought(), finalizer=True))),
        Told((RELEASE,), look=None),
    ),
    "unfinished: nobody knows which dataset it would have been": (
        look(see.deleted(see.marked(brought(source={"dataset": {"name": "a"}}), finalizer=True, label=None))),
        Told((RELEASE,), look=None),
    ),
    "unfinished: the download is ended first": (
        replace(BEGUN, transfer=DOWNLOADS),
        Told(("cancel",), look="0s"),
    ),
    "unfinished: the download of an earlier operator is ended first": (
        replace(BEGUN, dataset=see.recorded(BEGUN.dataset, JOB)),
        Told(("remove Job job-0",), "Copying", not_ready("Copying"), "0s"),
    ),
    "unfinished: the download cannot be ended, and the object goes": (
        replace(LATE, transfer=DOWNLOADS),
        Told(
            (
                (
                    f"left behind: Its Job {DOWNLOADS.job.name} could not be ended. "
                    "What this object wrote was left there."
                ),
                RELEASE,
            ),
            look=None,
        ),
    ),
    "frozen, and kept": (
        look(frozen("Retain")),
        Told((RELEASE,), look=None),
    ),
    "frozen, and to go with its object": (
        look(frozen("Delete")),
        Told((WHOLLY,), look="0s"),
    ),
    "a place is waited for": (
        replace(BEGUN, slots=Slots(running=4)),
        Told(look="back off"),
    ),
    "the Job is not made yet": (
        replace(BEGUN, transfer=replace(WAITS, job=None)),
        Told(look="30s"),
    ),
    "the Job is recorded before it begins": (
        replace(BEGUN, transfer=WAITS),
        Told((), "Copying", not_ready("Copying"), "0s"),
    ),
    "the Job begins": (
        replace(BEGUN, dataset=KNOWN, transfer=WAITS),
        Told(("release",), look="30s"),
    ),
    "the Job runs": (
        replace(BEGUN, dataset=KNOWN, transfer=REMOVES),
        Told(look="30s"),
    ),
    "the Job runs, and so it does when it takes long": (
        replace(LATE, dataset=see.recorded(LATE.dataset, WAITS.job), transfer=REMOVES),
        Told(look="30s"),
    ),
    "the policy was changed while the Job runs: that is done afterwards": (
        look(see.recorded(frozen("Delete"), WAITS.job), transfer=REMOVES),
        Told(look="30s"),
    ),
    "the Job does not get on": (
        replace(BEGUN, dataset=KNOWN, transfer=replace(REMOVES, trouble=TROUBLE)),
        Told((), "Pending", not_ready("Unschedulable"), "30s"),
    ),
    "the Job does not get on for too long": (
        replace(
            LATE, dataset=see.recorded(LATE.dataset, WAITS.job), transfer=replace(REMOVES, trouble=TROUBLE)
        ),
        Told((LEFT, RELEASE), look=None),
    ),
    "the volume is gone": (
        replace(BEGUN, dataset=KNOWN, transfer=replace(REMOVES, trouble=NO_CLAIM)),
        Told((LEFT, RELEASE), look=None),
    ),
    "the Job is done": (
        replace(BEGUN, transfer=see.in_job(see.ended(BEGUN, None))),
        Told((RELEASE,), look=None),
    ),
    "the Job failed": (
        replace(BEGUN, dataset=KNOWN, transfer=see.in_job(see.ended(BEGUN, Reason.VOLUME_UNAVAILABLE))),
        Told((), "Pending", not_ready("VolumeUnavailable"), "pause"),
    ),
    "the Job failed, and is tried again": (
        replace(BEGUN, transfer=see.in_job(see.ended(BEGUN, Reason.VOLUME_UNAVAILABLE, ago=MINUTE))),
        Told((REMOVE,), look="0s"),
    ),
    "the Job failed for too long": (
        replace(LATE, transfer=see.in_job(see.ended(LATE, Reason.VOLUME_UNAVAILABLE))),
        Told((LEFT, RELEASE), look=None),
    ),
    "the namespace ends, and the volume with it": (
        replace(BEGUN, cluster=see.cluster(namespaces=ENDING)),
        Told((RELEASE,), look=None),
    ),
    "the namespace is gone": (
        replace(BEGUN, cluster=see.cluster(namespaces=())),
        Told((RELEASE,), look=None),
    ),
    "no Jobs are run any more": (
        replace(BEGUN, policy=see.POLICY),
        Told(
            (
                (
                    "left behind: Volumes need Jobs, and this operator runs none: its administrator sets "
                    "DTOOL_OPERATOR_WORKER_IMAGE. What this object wrote was left there."
                ),
                RELEASE,
            ),
            look=None,
        ),
    ),
    "another holds the object": (
        look(see.deleted(see.marked(brought()))),
        Told(look=None),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_dataset_on_a_volume_is_deleted(case: str) -> None:
    one, expected = CASES[case]

    assert tell(plan_dataset(one)) == expected
    assert find_inquiry(one) is None


@pytest.mark.parametrize("case", CASES)
def test_looks_that_follow_at_once_come_to_an_end(case: str) -> None:
    one, looks = CASES[case][0], 0

    while (plan := plan_dataset(one)).look_again == timedelta(0):
        one, looks = see.carried_out(one, plan), looks + 1
        assert looks < 6


def test_the_status_names_the_removals_job_before_it_begins_and_not_after_its_end() -> None:
    waits = plan_dataset(replace(BEGUN, transfer=WAITS))
    failed = plan_dataset(CASES["the Job failed"][0])

    assert waits.status is not None
    assert failed.status is not None
    assert (waits.status.job, failed.status.job) == (KNOWN.status.job, None)


def test_the_status_keeps_the_job_of_a_removal_that_does_not_get_on() -> None:
    plan = plan_dataset(CASES["the Job does not get on"][0])

    assert plan.status is not None
    assert plan.status.job == KNOWN.status.job
    assert "no node takes it" in ready_message(plan)
    assert "is left behind" in ready_message(plan)


@pytest.mark.parametrize(("ago", "job"), [(MINUTE, "job-0"), (HOURS, None)])
def test_a_job_that_cannot_be_ended_does_not_keep_its_object_for_ever(
    ago: timedelta, job: str | None
) -> None:
    one = look(see.recorded(begun(ago=ago), JOB))

    plan = plan_failure(one, see.refuse(Reason.JOBS_FORBIDDEN), RemoveJob(JOB))

    assert plan.status is not None
    assert (None if plan.status.job is None else plan.status.job.uid) == job
    assert tell(plan) == Told((), "Pending", not_ready("JobsForbidden"))
