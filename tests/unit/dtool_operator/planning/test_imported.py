"""Which objects are the operator's own (rule 9), and to whose they yield."""

from dataclasses import replace
from typing import Any

import pytest

from dtool_operator.api.dataset import DtoolDataset
from dtool_operator.names import LABEL_IMPORTED, LABEL_UUID
from dtool_operator.planning.identity import list_candidates
from dtool_operator.planning.imported import build_labels, find_superior, is_imported
from tests.support import observed as see
from tests.support.datasets import UUID
from tests.support.observed import adopted, bucket, cluster, dataset

OTHER_UUID = "00000001-0000-4000-8000-000000000000"


def imported(one: DtoolDataset | None = None) -> DtoolDataset:
    """An object as the operator makes it."""
    found = one or adopted()
    return replace(found, meta=replace(found.meta, labels=build_labels(UUID)))


def test_an_object_with_the_label_and_nothing_but_place_and_uuid_is_the_operators_rule_9() -> None:
    assert is_imported(imported())
    assert imported().meta.labels == {LABEL_UUID: UUID, LABEL_IMPORTED: "true"}


def test_the_defaults_that_the_api_server_writes_change_nothing() -> None:
    defaults: dict[str, Any] = {
        "identity": "Preserve",
        "freeze": False,
        "deletionPolicy": "Retain",
        "verify": {"interval": "168h", "method": "Listing"},
        "suspend": False,
        "tags": [],
        "annotations": {},
    }

    assert is_imported(imported(adopted(**defaults)))


EDITS: dict[str, dict[str, Any]] = {
    "a tag": {"tags": ["mine"]},
    "an annotation": {"annotations": {"a": 1}},
    "a README": {"readme": "mine"},
    "freeze": {"freeze": True},
    "a policy": {"deletionPolicy": "Delete"},
    "another interval": {"verify": {"interval": "24h"}},
    "suspension": {"suspend": True},
    "a name": {"name": "mine"},
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_object_that_asks_for_more_is_a_users_rule_9(edit: str) -> None:
    assert not is_imported(imported(adopted(**EDITS[edit])))


def test_an_object_without_the_label_is_a_users_rule_9() -> None:
    assert not is_imported(adopted())
    labelled = replace(adopted(), meta=replace(adopted().meta, labels={LABEL_IMPORTED: "false"}))
    assert not is_imported(labelled)


def test_a_copy_is_never_the_operators_whatever_its_labels_say_rule_9() -> None:
    assert not is_imported(imported(dataset()))


def named(one: DtoolDataset, name: str, **fields: Any) -> DtoolDataset:
    return replace(one, meta=replace(one.meta, name=name, uid=name, **fields))


MINE = imported()
RIVALS: dict[str, tuple[DtoolDataset, bool]] = {
    "a user's adoption": (named(adopted(), "user"), True),
    "a user's copy": (named(dataset(), "user"), True),
    "a user's object that once was imported": (named(imported(adopted(tags=["x"])), "user"), True),
    "a user's object for the same place through another bucket object": (
        named(adopted(bucketRef={"name": "same", "namespace": see.ADMIN}), "user"),
        True,
    ),
    "a user's object that is being deleted": (named(adopted(), "user", deletion_timestamp=see.NOW), False),
    "a user's object for another dataset": (named(dataset(source=None, uuid=OTHER_UUID), "user"), False),
    "a user's object in another bucket": (
        named(adopted(bucketRef={"name": "elsewhere", "namespace": see.ADMIN}), "user"),
        False,
    ),
    "a user's object in another namespace": (named(adopted(namespace="bob"), "user"), False),
    "a user's object in an unknown bucket": (named(adopted(bucketRef={"name": "gone"}), "user"), False),
    "an older imported object": (see.older(MINE), True),
    "a younger imported object": (named(MINE, "z"), False),
    "itself": (MINE, False),
}


@pytest.mark.parametrize("case", RIVALS)
def test_an_imported_object_yields_to_rule_9(case: str) -> None:
    rival, yields = RIVALS[case]
    there = cluster(bucket(), bucket("same"), bucket("elsewhere", bucket="other-data"))

    assert find_superior(MINE, [MINE, rival], there) == (rival if yields else None)


def test_it_yields_to_nobody_in_a_bucket_that_is_gone() -> None:
    assert find_superior(MINE, [named(adopted(), "user")], cluster()) is None


@pytest.mark.parametrize(
    ("spec", "uuids"),
    [
        ({"uuid": UUID}, {UUID}),
        ({"source": {"uri": f"s3://lab/{UUID}"}}, {UUID}),
        ({"source": {"uri": f"https://h.example.org/x/{UUID}/?a=b"}}, {UUID}),
        ({"source": {"uri": "https://h.example.org/x/"}}, set()),
        ({"source": {"stored": {"bucketRef": {"name": "b"}, "uuid": UUID}}}, {UUID}),
        ({"source": {"dataset": {"name": "raw"}}}, set()),
        ({"source": {"uri": f"s3://lab/{UUID}"}, "identity": "New"}, {see.UID}),
        ({"source": None}, {see.UID}),
    ],
)
def test_what_an_object_may_stand_for_rule_11(spec: dict[str, Any], uuids: set[str]) -> None:
    assert set(list_candidates(dataset(**spec))) == uuids


def test_a_label_counts_for_a_new_dataset_only_rule_11() -> None:
    labels = {LABEL_UUID: OTHER_UUID}
    new, copy = dataset(source=None), dataset()

    assert OTHER_UUID in list_candidates(replace(new, meta=replace(new.meta, labels=labels)))
    assert OTHER_UUID not in list_candidates(replace(copy, meta=replace(copy.meta, labels=labels)))
