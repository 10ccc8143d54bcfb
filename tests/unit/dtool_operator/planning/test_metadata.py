"""README, tags and annotations of the spec (issue: Git-owned metadata; rules 13, 16 and 20); whole plans."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from dtool_operator.api.dataset import DtoolDataset
from dtool_operator.api.dataset_status import Managed
from dtool_operator.planning.dataset import plan_dataset
from dtool_operator.planning.inquiry import find_inquiry
from dtool_operator.planning.metadata import find_wanted
from dtool_operator.planning.observed import ObservedDataset
from dtool_operator.planning.plan import EnsureOwner, SyncMetadata
from dtool_s3.metadata import Metadata, MetadataChange
from tests.support import observed as see
from tests.support.observed import HERE, bucket, dataset, instruments, seen, stored
from tests.support.told import FROZEN, READY, Told, damaged, tell

PENDING = (*READY[:-1], "MetadataSynced Unknown Pending")
WRITTEN = (*READY[:-1], "MetadataSynced Unknown Progressing")
OWN = "own u/alice/ as cluster-1/ns-alice"
UNCHANGED = MetadataChange()


def managed(tags: tuple[str, ...] = (), annotations: tuple[str, ...] = ()) -> Managed:
    return Managed(tags=tags, annotations=annotations)


def frozen(ours: Managed | None = None, /, **spec: Any) -> DtoolDataset:
    """A frozen dataset whose spec asks for metadata; `ours`: what the operator has added to it."""
    one = see.was_frozen(dataset(**spec))
    return replace(one, status=one.status.model_copy(update={"managed": ours}))


WANTED: dict[str, tuple[DtoolDataset, Metadata | None]] = {
    "nothing": (dataset(), None),
    "nothing any more, and nothing is left": (frozen(managed()), None),
    "a README": (dataset(readme=""), Metadata(readme="")),
    "tags and annotations": (
        dataset(tags=["a"], annotations={"b": None}),
        Metadata(tags=frozenset({"a"}), annotations={"b": None}),
    ),
    "that what the operator added goes": (
        frozen(managed(("a", "b"), ("x", "y")), tags=["b"], annotations={"x": 1}),
        Metadata(
            tags=frozenset({"b"}),
            annotations={"x": 1},
            removed_tags=frozenset({"a"}),
            removed_annotations=frozenset({"y"}),
        ),
    ),
}


@pytest.mark.parametrize("case", WANTED)
def test_a_spec_asks_for(case: str) -> None:
    one, expected = WANTED[case]

    assert find_wanted(one) == expected


def test_everybody_elses_tags_are_never_asked_about() -> None:
    wanted = find_wanted(frozen(managed(("ours",)), tags=[]))

    assert wanted == Metadata(removed_tags=frozenset({"ours"}))


def look_at(one: DtoolDataset, change: MetadataChange | None, **fields: Any) -> ObservedDataset:
    return seen(one, storage=replace(HERE, change=change, **fields))


ADD = MetadataChange(readme="x", put_tags=("a",), put_annotations={"b": 1})
DROP = MetadataChange(delete_tags=("a",), delete_annotations=("b",))
BOTH = frozen(managed(("a",), ("b",)), tags=["a"], annotations={"b": 1}, readme="x")

CASES: dict[str, tuple[ObservedDataset, Told, Managed | None]] = {
    "what is as it shall be is synced": (
        look_at(BOTH, UNCHANGED),
        Told((), "Frozen", READY, "resync"),
        managed(("a",), ("b",)),
    ),
    "what was there before is not the operator's": (
        look_at(frozen(tags=["a"]), UNCHANGED),
        Told((), "Frozen", READY, "resync"),
        None,
    ),
    "what is added is noted first": (
        look_at(frozen(tags=["a"], annotations={"b": 1}, readme="x"), ADD),
        Told((), "Frozen", PENDING, "0s"),
        managed(("a",), ("b",)),
    ),
    "then it is written": (
        look_at(BOTH, ADD),
        Told(("sync readme +a +@b, frozen",), "Frozen", WRITTEN, "0s"),
        managed(("a",), ("b",)),
    ),
    "a README alone needs no note": (
        look_at(frozen(readme="x"), MetadataChange(readme="x")),
        Told(("sync readme, frozen",), "Frozen", WRITTEN, "0s"),
        managed(),
    ),
    "the owner marker is written before": (
        look_at(BOTH, ADD, owner=None),
        Told((OWN, "sync readme +a +@b, frozen"), "Frozen", WRITTEN, "0s"),
        managed(("a",), ("b",)),
    ),
    "what the spec no longer names is removed": (
        look_at(frozen(managed(("a",), ("b",))), DROP),
        Told(("sync -a -@b, frozen",), "Frozen", WRITTEN, "0s"),
        managed(("a",), ("b",)),
    ),
    "and forgotten once it is gone": (
        look_at(frozen(managed(("a", "c"), ("b",)), tags=["c"]), UNCHANGED),
        Told((), "Frozen", READY, "resync"),
        managed(("c",)),
    ),
    "nothing is left of what was ours": (
        look_at(frozen(managed()), None),
        Told((), "Frozen", READY, "resync"),
        None,
    ),
    "what was not asked stays as it was said": (
        look_at(BOTH, None),
        Told((), "Frozen", READY, "resync"),
        managed(("a",), ("b",)),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_metadata(case: str) -> None:
    look, expected, ours = CASES[case]

    plan = plan_dataset(look)

    assert tell(plan) == expected
    assert plan.status is not None
    assert plan.status.managed == ours


@pytest.mark.parametrize("case", CASES)
def test_rule_10_metadata_come_to_rest_and_are_written_once(case: str) -> None:
    look, writes = CASES[case][0], 0
    for _ in range(4):
        plan = plan_dataset(look)
        writes += sum(isinstance(action, SyncMetadata) for action in plan.actions)
        look = see.carried_out(look, plan)

    assert (plan.actions, plan.status, tell(plan).look) == ((), look.dataset.status, "resync")
    assert writes <= 1


def test_an_operator_that_is_killed_after_it_wrote_finds_its_own_tags_as_its_own() -> None:
    noted = see.carried_out(look_at(frozen(tags=["a"]), ADD), plan_dataset(look_at(frozen(tags=["a"]), ADD)))

    removed = replace(noted.dataset, spec=dataset().spec)

    assert find_wanted(removed) == Metadata(
        removed_tags=frozenset({"a"}), removed_annotations=frozenset({"b"})
    )


def test_a_read_only_bucket_keeps_its_metadata_and_the_dataset_is_frozen_and_not_ready() -> None:
    look = seen(BOTH, bucket(accessMode="ReadOnly"), storage=replace(HERE, change=ADD))

    plan = plan_dataset(look)

    says = (
        "Ready False ReadOnlyBucket",
        "Reconciling True ReadOnlyBucket",
        *FROZEN[:-1],
        "MetadataSynced False ReadOnlyBucket",
    )
    assert tell(plan) == Told((), "Frozen", says, "resync")
    assert plan_dataset(see.carried_out(look, plan)).actions == ()


@pytest.mark.parametrize(
    "storage",
    [stored("frozen", owner=see.OWNER), stored("proto", registered="u/alice/")],
    ids=["without a registration key", "a proto again"],
)
def test_rule_16_a_dataset_that_is_damaged_is_left_as_it_is_found(storage: Any) -> None:
    plan = plan_dataset(seen(BOTH, storage=replace(storage, change=ADD)))

    assert tell(plan).do == ()
    assert tell(plan).state == "Damaged"


def test_rule_16_a_damaged_dataset_that_looks_whole_is_verified_before_its_metadata_are_written() -> None:
    hurt = see.reported(BOTH, plan_dataset(seen(BOTH, storage=stored("frozen"))))

    plan = plan_dataset(look_at(hurt, ADD))

    assert tell(plan) == Told(
        ("start verify lab-data/u/alice/",), "Damaged", damaged("RegistrationHijacked"), "30s"
    )


def test_metadata_are_written_while_a_verification_runs() -> None:
    due = replace(
        look_at(BOTH, ADD), dataset=see.with_annotations(BOTH, {"dtool.dev/verifyRequestedAt": "1"})
    )

    plan = plan_dataset(replace(due, transfer=see.running(due, phase="Verifying")))

    assert tell(plan).do == ("sync readme +a +@b, frozen",)
    assert tell(plan).state == "Verifying"


def test_a_proto_gets_its_metadata_as_it_is() -> None:
    one = see.marked(dataset(source=None, tags=["a"]), label=see.UID)
    look = seen(
        one, storage=replace(stored("proto", registered="u/alice/"), change=MetadataChange(put_tags=("a",)))
    )
    noted = see.carried_out(look, plan_dataset(look))

    plan = plan_dataset(noted)

    assert tell(plan) == Told(
        ("sync +a",),
        "Proto",
        (
            "Ready True Proto",
            "Frozen False Proto",
            "Verified Unknown Proto",
            "MetadataSynced Unknown Progressing",
        ),
        "0s",
    )


ASKED: dict[str, tuple[DtoolDataset, Mapping[str, Any] | None]] = {
    "a frozen dataset without metadata is not asked about": (see.was_frozen(), None),
    "a frozen one with metadata is": (BOTH, {"tags": frozenset({"a"})}),
    "a new one with metadata is": (dataset(source=None, tags=["a"]), {"tags": frozenset({"a"})}),
}


@pytest.mark.parametrize("case", ASKED)
def test_drift_is_looked_for_at_every_look_and_costs_nobody_else_a_request(case: str) -> None:
    one, wanted = ASKED[case]

    inquiry = find_inquiry(seen(one))

    assert (inquiry is None) is (wanted is None)
    if inquiry is not None and wanted is not None:
        assert inquiry.wanted is not None
        assert inquiry.wanted.tags == wanted["tags"]


def test_a_copy_is_not_compared_with_the_spec_before_it_is_frozen() -> None:
    inquiry = find_inquiry(seen(dataset(tags=["a"])))

    assert inquiry is not None
    assert inquiry.wanted is None


def test_what_failed_to_be_written_is_looked_at_again_though_nothing_is_wanted_any_more() -> None:
    look = seen(BOTH, bucket(accessMode="ReadOnly"), instruments(), storage=replace(HERE, change=ADD))
    unsynced = see.reported(BOTH, plan_dataset(look))
    dropped = replace(
        unsynced, spec=dataset().spec, status=unsynced.status.model_copy(update={"managed": None})
    )

    assert find_inquiry(seen(dropped)) is not None
    assert tell(plan_dataset(seen(dropped, storage=HERE))).says == READY


def test_nothing_is_written_before_the_owner_marker() -> None:
    plan = plan_dataset(look_at(BOTH, ADD, owner=None))

    assert [type(action) for action in plan.actions] == [EnsureOwner, SyncMetadata]


def test_a_store_that_does_not_show_what_was_written_is_not_written_to_without_a_pause() -> None:
    look = look_at(BOTH, ADD)
    first = plan_dataset(look)

    again = plan_dataset(see.carried_out(look, first))

    assert tell(first).look == "0s"
    assert again.actions == ()
    unchanged = replace(see.carried_out(look, first), storage=look.storage)
    assert tell(plan_dataset(unchanged)) == Told(
        ("sync readme +a +@b, frozen",), "Frozen", WRITTEN, "back off"
    )
