"""From the first start of a worker to Frozen, whole plans: start, run, fail, try again, restart, report."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from dtool_operator.api.dataset import DtoolDataset
from dtool_operator.api.reasons import Reason
from dtool_operator.names import ANNOTATION_RECONCILE_REQUESTED
from dtool_operator.planning.dataset import plan_dataset
from dtool_operator.planning.observed import NamespaceView, ObservedDataset, Slots
from dtool_operator.planning.plan import StartTransfer
from dtool_operator.planning.task import TaskKind
from dtool_operator.planning.transfer import TransferState
from tests.support import observed as see
from tests.support.observed import HERE, adopted, bucket, dataset, instruments, seen, stored
from tests.support.told import READY, Told, not_ready, ready_message, stalled, tell, unknown

COPY = "start server-side copy instrument-data/ to lab-data/u/alice/ with keys of dtool-system/instruments"
VERIFY = "start verify lab-data/u/alice/"
MARK = "put finalizer, label"
OWN = "own u/alice/ as cluster-1/ns-alice"
COPYING = not_ready("Copying")
VERIFYING = not_ready("Verifying")
MARKED = see.marked(dataset(), finalizer=True)
ADOPT = seen(adopted(), storage=HERE)

STARTS: dict[str, tuple[ObservedDataset, Told]] = {
    "a copy begins with the finalizer and the owner marker": (
        seen(storage=stored(owner=None)),
        Told((MARK, OWN, COPY), "Copying", COPYING, "30s"),
    ),
    "an owner marker that is ours is not written again": (
        seen(),
        Told((MARK, COPY), "Copying", COPYING, "30s"),
    ),
    "marks that are there are not put again": (
        seen(MARKED),
        Told((COPY,), "Copying", COPYING, "30s"),
    ),
    "a label that is another one is put right": (
        seen(see.marked(dataset(), finalizer=True, label="another")),
        Told((MARK, COPY), "Copying", COPYING, "30s"),
    ),
    "a copy that was begun before is resumed": (
        seen(MARKED, storage=stored("proto", registered="u/alice/")),
        Told((COPY,), "Copying", COPYING, "30s"),
    ),
    "a copy that is there already is compared by the worker": (
        seen(storage=HERE),
        Told((MARK, COPY), "Copying", COPYING, "30s"),
    ),
    "an adopted dataset needs no finalizer": (
        ADOPT,
        Told(("no finalizer, label", VERIFY), "Verifying", VERIFYING, "30s"),
    ),
    "an adopted dataset needs an owner marker before": (
        replace(ADOPT, storage=replace(HERE, owner=None)),
        Told(("no finalizer, label", OWN, VERIFY), "Verifying", VERIFYING, "30s"),
    ),
    "a source that may not be read with the target's keys is streamed": (
        seen(
            None,
            bucket(),
            bucket("own", "alice", bucket="instrument-data", prefixTemplate=""),
        ),
        Told(
            (MARK, COPY.replace("server-side", "streamed").replace("dtool-system/instruments", "alice/own")),
            "Copying",
            COPYING,
            "30s",
        ),
    ),
}


@pytest.mark.parametrize("case", STARTS)
def test_how_work_begins(case: str) -> None:
    look, expected = STARTS[case]

    plan = plan_dataset(look)

    assert tell(plan) == expected


@pytest.mark.parametrize("case", STARTS)
def test_work_that_was_begun_is_not_begun_again(case: str) -> None:
    look = STARTS[case][0]
    plan = plan_dataset(look)

    later = see.carried_out(look, plan)

    assert plan_dataset(later).actions == ()
    assert plan_dataset(later).status == later.dataset.status


def test_a_task_says_what_to_do_and_holds_no_secret() -> None:
    task = see.task_of(seen(None, bucket(limits={"concurrentRequests": 8}, region="x"), instruments()))

    assert (task.kind, task.uuid, task.key, task.namespace) == (
        TaskKind.COPY,
        see.UUID,
        see.UID,
        "alice",
    )
    assert (task.bucket_key, task.concurrency, task.target.region) == ("dtool-system/lab", 2, "x")
    assert "s3-secret" not in task.model_dump_json()


RUNNING: dict[str, tuple[ObservedDataset, Told]] = {
    "without progress yet": (
        seen(MARKED, transfer=see.running(seen())),
        Told((), "Copying", COPYING, "30s"),
    ),
    "copying": (
        seen(MARKED, transfer=see.running(seen(), phase="Copying")),
        Told((), "Copying", COPYING, "30s"),
    ),
    "verifying what was copied": (
        seen(MARKED, transfer=see.running(seen(), phase="Verifying")),
        Told((), "Verifying", VERIFYING, "30s"),
    ),
    "freezing": (
        seen(MARKED, transfer=see.running(seen(), phase="Freezing")),
        Told((), "Freezing", not_ready("Freezing"), "30s"),
    ),
    "verifying what is adopted": (
        replace(ADOPT, transfer=see.running(ADOPT, phase="Verifying")),
        Told((), "Verifying", VERIFYING, "30s"),
    ),
    "with keys that are no longer those of the Secrets": (
        seen(MARKED, transfer=see.running(seen()), storage=stored(credentials_version="1|2")),
        Told(("refresh keys of dtool-system/instruments",), "Copying", COPYING, "30s"),
    ),
    "to another endpoint than it should": (
        seen(MARKED, bucket(region="other"), instruments(), transfer=see.running(seen())),
        Told(("cancel",), "Copying", COPYING, "0s"),
    ),
    "reading what it may no longer read with the target's keys": (
        seen(
            MARKED,
            bucket("lab", credentials={"secretRef": {"name": "x"}}),
            bucket("own", "alice", bucket="instrument-data", prefixTemplate=""),
            transfer=see.running(seen()),
        ),
        Told(("cancel",), "Copying", COPYING, "0s"),
    ),
}


@pytest.mark.parametrize("case", RUNNING)
def test_how_running_work_is_watched(case: str) -> None:
    look, expected = RUNNING[case]

    plan = plan_dataset(look)

    assert tell(plan) == expected


def test_refreshed_keys_are_not_refreshed_again() -> None:
    """Rule 19."""
    look = RUNNING["with keys that are no longer those of the Secrets"][0]

    assert plan_dataset(see.carried_out(look, plan_dataset(look))).actions == ()


def test_the_fingerprint_tells_a_server_side_copy_from_a_streamed_one() -> None:
    """Rule 12: a worker that may no longer sign both with one credential is another worker."""
    target = bucket("own", "alice", bucket="own-data")
    source = bucket("src", "alice", bucket="instrument-data", prefixTemplate="")
    same = bucket("src", "alice", bucket="instrument-data", prefixTemplate="", credentials=_secret("own-s3"))
    one = dataset(bucketRef={"name": "own"})

    streamed = see.task_of(seen(one, target, source))
    server_side = see.task_of(seen(one, target, same))

    assert (streamed.server_side, server_side.server_side) == (False, True)
    assert streamed.fingerprint != server_side.fingerprint


def _secret(name: str) -> dict[str, dict[str, str]]:
    return {"secretRef": {"name": name}}


def test_progress_is_shown_with_its_speed() -> None:
    record = see.running(seen(), phase="Copying", progress_at=see.NOW)

    status = plan_dataset(seen(MARKED, transfer=record)).status

    assert status is not None
    assert status.progress is not None
    assert (status.progress.percent, status.progress.bytes_per_second) == ("50%", 51)
    assert (status.progress.items, status.progress.items_total) == (1, 4)


MINUTE = timedelta(minutes=1)
FAILED = see.reported(MARKED, plan_dataset(seen(MARKED, transfer=see.ended(seen(), Reason.SOURCE_DAMAGED))))
QUEUED = see.reported(MARKED, plan_dataset(seen(MARKED, slots=Slots(running=4))))
STALLED = see.reported(MARKED, plan_dataset(seen(MARKED, transfer=see.ended(seen(), Reason.CONTENT_DIFFERS))))
ASKED = {ANNOTATION_RECONCILE_REQUESTED: "now"}


def edited(one: DtoolDataset) -> DtoolDataset:
    """The same object after an edit of its spec."""
    return replace(one, meta=replace(one.meta, generation=2))


FAILURES: dict[str, tuple[ObservedDataset, Told]] = {
    "is said, and tried again after a pause": (
        seen(MARKED, transfer=see.ended(seen(), Reason.SOURCE_DAMAGED)),
        Told((), "Pending", not_ready("SourceDamaged"), "pause"),
    ),
    "waits for the rest of its pause": (
        seen(FAILED, transfer=see.ended(seen(), Reason.SOURCE_DAMAGED, attempts=5)),
        Told((), "Pending", not_ready("SourceDamaged"), "pause"),
    ),
    "is tried again when the pause is over": (
        seen(FAILED, transfer=see.ended(seen(), Reason.SOURCE_DAMAGED, ago=MINUTE)),
        Told((COPY,), "Copying", COPYING, "30s"),
    ),
    "of a kind the API does not know is a failed transfer": (
        seen(FAILED, transfer=see.ended(seen(), "FrozenDataset", attempts=9)),
        Told((), "Pending", not_ready("TransferFailed"), "pause"),
    ),
    "that only an edit can change is stalled": (
        seen(FAILED, transfer=see.ended(seen(), Reason.CONTENT_DIFFERS, ago=600 * MINUTE)),
        Told((), "Failed", stalled("ContentDiffers"), "resync"),
    ),
    "stays stalled": (
        seen(STALLED, transfer=see.ended(seen(), Reason.CONTENT_DIFFERS, ago=600 * MINUTE)),
        Told((), "Failed", stalled("ContentDiffers"), "resync"),
    ),
    "that is stalled is tried again after an edit": (
        seen(edited(STALLED), transfer=see.ended(seen(), Reason.CONTENT_DIFFERS)),
        Told((COPY,), "Copying", COPYING, "30s"),
    ),
    "that is stalled is tried again on request": (
        seen(see.with_annotations(STALLED, ASKED), transfer=see.ended(seen(), Reason.CONTENT_DIFFERS)),
        Told((COPY,), "Copying", COPYING, "30s"),
    ),
    "is tried again at once with other keys": (
        seen(
            FAILED,
            transfer=see.ended(seen(), Reason.CREDENTIALS_REJECTED, attempts=9),
            storage=stored(credentials_version="2|1"),
        ),
        Told((COPY,), "Copying", COPYING, "30s"),
    ),
    "with the same keys waits": (
        seen(FAILED, transfer=see.ended(seen(), Reason.CREDENTIALS_REJECTED, attempts=9)),
        Told((), "Pending", not_ready("CredentialsRejected"), "pause"),
    ),
    "whose turn has come, but no slot is free, is queued": (
        seen(
            see.with_annotations(STALLED, ASKED),
            transfer=see.ended(seen(), Reason.CONTENT_DIFFERS),
            slots=Slots(running=4),
        ),
        Told((), "Pending", (*not_ready("Queued")[:2], *unknown("ContentDiffers")), "pause"),
    ),
    "that was queued starts with a free slot, without another request": (
        seen(QUEUED, transfer=see.ended(seen(), Reason.CONTENT_DIFFERS)),
        Told((COPY,), "Copying", COPYING, "30s"),
    ),
    "of other work does not count": (
        seen(
            FAILED, bucket(region="other"), instruments(), transfer=see.ended(seen(), Reason.SOURCE_DAMAGED)
        ),
        Told((COPY,), "Copying", COPYING, "30s"),
    ),
    "without a word is a failed transfer": (
        seen(
            FAILED,
            transfer=replace(see.ended(seen(), None, attempts=9), state=TransferState.FAILED),
        ),
        Told((), "Pending", not_ready("TransferFailed"), "pause"),
    ),
    "is a success without facts": (
        seen(FAILED, transfer=see.ended(seen(), None, attempts=9)),
        Told((), "Pending", not_ready("TransferFailed"), "pause"),
    ),
    "is a success with items that differ": (
        seen(FAILED, transfer=see.ended(seen(), see.facts(mismatch_count=2), attempts=9)),
        Told((), "Pending", not_ready("ItemMissing"), "pause"),
    ),
}


@pytest.mark.parametrize("case", FAILURES)
def test_a_failure(case: str) -> None:
    look, expected = FAILURES[case]

    assert tell(plan_dataset(look)) == expected


@pytest.mark.parametrize("case", FAILURES)
def test_after_a_failure_the_next_look_changes_nothing(case: str) -> None:
    look = FAILURES[case][0]

    later = see.carried_out(look, plan_dataset(look))

    assert plan_dataset(later).actions == ()
    assert plan_dataset(later).status == later.dataset.status


def test_a_user_is_told_what_to_do_and_what_the_worker_said() -> None:
    plan = plan_dataset(FAILURES["waits for the rest of its pause"][0])

    assert ready_message(plan) == "Mend the source: the copy is tried again. (it says SourceDamaged)"


@pytest.mark.parametrize(
    "reason", [Reason.CONTENT_DIFFERS, Reason.UNSAFE_PATH, Reason.INVALID_MANIFEST], ids=str
)
def test_an_outcome_that_only_an_edit_can_change_is_not_tried_again_by_a_new_operator(reason: Reason) -> None:
    """Rules 10 and 20."""
    one = see.reported(MARKED, plan_dataset(seen(FAILED, transfer=see.ended(seen(), reason))))

    after_restart = plan_dataset(seen(one, now=see.NOW + timedelta(days=1)))

    assert (after_restart.actions, after_restart.status) == ((), one.status)
    assert plan_dataset(seen(edited(one))).actions
    assert plan_dataset(seen(see.with_annotations(one, ASKED))).actions


@pytest.mark.parametrize(
    "reported",
    [QUEUED, FAILED, see.reported(MARKED, plan_dataset(seen(storage=stored(registered="u/bob/"))))],
    ids=["queued", "failed", "already in the bucket, until now"],
)
def test_any_other_outcome_is_tried_again_by_a_new_operator(reported: DtoolDataset) -> None:
    assert isinstance(plan_dataset(seen(reported)).actions[-1], StartTransfer)


def test_a_request_is_echoed_once_it_was_acted_on() -> None:
    """Rule 21."""
    one = see.with_annotations(MARKED, ASKED)

    status = plan_dataset(seen(one)).status

    assert status is not None
    assert status.last_handled_reconcile_at == "now"


def test_a_request_that_was_taken_back_asks_for_nothing() -> None:
    echo = STALLED.status.model_copy(update={"last_handled_reconcile_at": "now"})

    plan = plan_dataset(
        seen(replace(STALLED, status=echo), transfer=see.ended(seen(), Reason.CONTENT_DIFFERS))
    )

    assert tell(plan) == Told((), "Failed", stalled("ContentDiffers"), "resync")


def test_a_copy_that_has_ended_is_frozen_and_loses_the_finalizer() -> None:
    """Rule 18."""
    look = seen(MARKED, transfer=see.ended(seen(), see.facts()), storage=HERE)

    plan = plan_dataset(look)

    assert tell(plan) == Told(("no finalizer, label", "forget"), "Frozen", READY, "resync")
    status = plan.status
    assert status is not None
    assert (status.name, status.items, status.size, status.progress) == ("sample", 3, "209B", None)
    assert status.verified is not None
    assert (status.verified.time, status.verified.evidence.etag_md5) == (see.NOW, 3)
    assert tell(plan_dataset(see.carried_out(look, plan))).do == ()


@pytest.mark.parametrize("evidence", ["unproven", "same_as_source"])
def test_bytes_that_nobody_read_leave_verified_unknown_and_the_dataset_ready(evidence: str) -> None:
    """Rule 13."""
    found = see.facts(etag_md5=1, **{evidence: 2})

    plan = plan_dataset(seen(MARKED, transfer=see.ended(seen(), found), storage=HERE))

    says = (READY[0], "Frozen True Frozen", "Verified Unknown ContentNotRead", "MetadataSynced True Synced")
    assert tell(plan) == Told(("no finalizer, label", "forget"), "Frozen", says, "resync")


def test_a_success_that_was_not_reported_before_the_operator_was_killed_is_found_again() -> None:
    look = seen(see.marked(dataset()), storage=HERE)

    assert tell(plan_dataset(look)).do == (MARK, COPY)


@pytest.mark.parametrize("seconds", [float("inf"), float("nan"), 1e30, -1e30])
def test_times_in_a_bucket_that_are_no_moments_are_left_out(seconds: float) -> None:
    found = see.facts(created_at=seconds, frozen_at=0.0)

    status = plan_dataset(seen(MARKED, transfer=see.ended(seen(), found), storage=HERE)).status

    assert status is not None
    assert (status.created_at, status.frozen_at) == (None, datetime(1970, 1, 1, tzinfo=UTC))


def test_nothing_is_started_in_a_namespace_that_is_being_deleted() -> None:
    ending = NamespaceView("alice", "ns-alice", {"lab": "true"}, is_terminating=True)
    buckets = see.cluster(see.bucket(), see.instruments(), namespaces=(ending,))

    told = tell(plan_dataset(seen(cluster=buckets)))

    assert (told.do, told.look) == ((), "back off")
