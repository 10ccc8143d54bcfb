"""An object whose spec means nothing says so, and keeps what was seen before."""

from dataclasses import replace
from datetime import timedelta

from dtool_operator.api.bucket_status import DatasetCounts
from dtool_operator.api.choice import DatasetState
from dtool_operator.names import ANNOTATION_RECONCILE_REQUESTED
from dtool_operator.planning.bucket import plan_bucket
from dtool_operator.planning.dataset import plan_dataset
from dtool_operator.planning.invalid import build_invalid_bucket_status, build_invalid_dataset_status
from tests.support import observed as see
from tests.support.observed import HERE, NOW, bucket, dataset, seen
from tests.support.observed_bucket import listing, seen_bucket, trial

WHY = "spec.bucketRef: must be there"
LATER = NOW + timedelta(hours=1)


def test_an_invalid_dataset_is_stalled_and_shows_no_progress() -> None:
    copying = plan_dataset(seen(transfer=see.running(seen(), phase="Copying"))).status
    assert copying is not None
    assert copying.progress is not None

    status = build_invalid_dataset_status(dataset().meta, copying, WHY, LATER)

    assert (status.state, status.progress, status.uuid) == (DatasetState.FAILED, None, see.UUID)
    assert [f"{c.type} {c.status} {c.reason}" for c in status.conditions] == [
        "Ready False InvalidSpec",
        "Stalled True InvalidSpec",
        "Frozen False Copying",
        "Verified Unknown Copying",
        "MetadataSynced Unknown Copying",
    ]
    assert [c.message for c in status.conditions[:2]] == [WHY, WHY]
    assert build_invalid_dataset_status(dataset().meta, status, WHY, LATER + timedelta(1)) == status


def test_a_frozen_dataset_that_was_invalid_for_a_while_is_ready_again() -> None:
    frozen = see.was_frozen()
    invalid = build_invalid_dataset_status(frozen.meta, frozen.status, WHY, LATER)

    plan = plan_dataset(seen(replace(frozen, status=invalid), storage=HERE, now=NOW))

    assert plan.status is not None
    assert plan.status == frozen.status


def test_an_invalid_bucket_is_stalled_and_keeps_its_counts() -> None:
    counted = plan_bucket(seen_bucket(bucket(), tested=trial(), listed=listing())).status
    assert counted is not None
    meta = replace(bucket().meta, generation=2, annotations={ANNOTATION_RECONCILE_REQUESTED: "now"})

    status = build_invalid_bucket_status(meta, counted, WHY, LATER)

    assert status.datasets == DatasetCounts(total=1, frozen=1)
    assert (status.observed_generation, status.last_handled_reconcile_at) == (2, "now")
    assert [f"{c.type} {c.status}" for c in status.conditions] == [
        "Ready False",
        "Stalled True",
        "Reachable True",
        "Listed True",
        "PrefixesRespected True",
    ]
    assert status.conditions[0].last_transition_time == LATER
