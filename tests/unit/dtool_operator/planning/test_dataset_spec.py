"""Which specs are served at all, and which of two objects for one dataset; whole plans."""

from datetime import timedelta
from typing import Any

import pytest

from dtool_operator.planning.dataset import plan_dataset
from tests.support import observed as see
from tests.support.observed import bucket, dataset, instruments, seen
from tests.support.told import Told, not_ready, ready_message, stalled, tell

VOLUMES: dict[str, dict[str, Any]] = {
    "spec.volume": {"bucketRef": None, "volume": {"claimName": "c"}},
    "spec.source.volume": {"source": {"volume": {"claimName": "c"}}},
}


@pytest.mark.parametrize("field", VOLUMES)
def test_volumes_need_jobs(field: str) -> None:
    plan = plan_dataset(seen(dataset(**VOLUMES[field])))

    assert tell(plan) == Told(state="Pending", says=not_ready("JobsDisabled"), look="back off")
    assert "DTOOL_OPERATOR_WORKER_IMAGE" in ready_message(plan)


def test_a_name_for_what_keeps_its_identity_is_no_valid_spec() -> None:
    plan = plan_dataset(seen(dataset(name="other"), storage=None))

    assert tell(plan) == Told(state="Failed", says=stalled("InvalidSpec"), look="resync")
    assert "spec.name" in ready_message(plan)


DEFAULTS = {
    "identity": "Preserve",
    "freeze": False,
    "tags": [],
    "annotations": {},
    "verify": {"interval": "168h", "method": "Listing"},
    "deletionPolicy": "Retain",
    "suspend": False,
}


@pytest.mark.parametrize(
    "spec", [DEFAULTS, {"freeze": True}, {"verify": {}}], ids=["all", "freeze", "verify"]
)
def test_fields_at_their_defaults_are_never_refused(spec: dict[str, Any]) -> None:
    assert plan_dataset(seen(dataset(**spec))).actions == plan_dataset(seen()).actions


@pytest.mark.parametrize(
    ("age", "uid", "is_refused"), [(0, "a", True), (0, "z", False), (-1, "z", True), (1, "a", False)]
)
def test_of_two_objects_for_one_dataset_the_older_owns_it_then_the_smaller_uid(
    age: int, uid: str, is_refused: bool
) -> None:
    """Rule 11."""
    created = see.EPOCH + timedelta(seconds=age)
    sibling = see.older(dataset(), creation_timestamp=created, uid=uid)

    plan = plan_dataset(seen(siblings=(sibling,)))

    assert (ready_message(plan).startswith("DtoolDataset 'older'")) is is_refused
    assert bool(plan.actions) is not is_refused


@pytest.mark.parametrize(
    "other",
    [
        dataset(source={"uri": f"s3://instrument-data/{see.UUID.replace('1', '2')}"}),
        dataset(bucketRef={"name": "gone"}),
        dataset(bucketRef={"name": "second", "namespace": see.ADMIN}),
        dataset(bucketRef=None, volume={"claimName": "c"}),
        dataset(source=None),
    ],
    ids=["another uuid", "no bucket object", "another bucket", "a volume", "no uuid"],
)
def test_objects_for_other_places_or_datasets_are_no_rivals(other: Any) -> None:
    second = bucket("second", bucket="second-data")

    plan = plan_dataset(seen(None, bucket(), instruments(), second, siblings=(see.older(other),)))

    assert plan.actions


def test_two_bucket_objects_of_one_bucket_and_prefix_are_one_place() -> None:
    """Rule 11."""
    twin = bucket("twin")
    other = see.older(dataset(bucketRef={"name": "twin", "namespace": see.ADMIN}))

    plan = plan_dataset(seen(None, bucket(), instruments(), twin, siblings=(other,)))

    assert tell(plan) == Told(state="Pending", says=not_ready("ClaimedByAnother"))
