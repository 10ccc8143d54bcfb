"""Datasets are found by what others ask for, whatever is put in, changed and taken out; nothing is left."""

from collections.abc import Iterable
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from dtool_operator.api.dataset_status import DtoolDatasetStatus
from dtool_operator.planning.identity import dataset_uuid
from dtool_operator.reconcile.dataset_index import Dataset, DatasetIndex
from dtool_operator.reconcile.invalid_object import Invalid
from tests.support import observed as see
from tests.support.observed import adopted, dataset

OTHER_UUID = "2c10766c-c4a9-4a4f-9b5d-0d5f0e1c7a22"


def copy(name: str = "copy", place: str = "alice") -> Dataset:
    return dataset(name, namespace=place, source={"dataset": {"name": "raw", "namespace": "alice"}})


def invalid(name: str, place: str = "alice") -> Dataset:
    one = dataset(name, namespace=place)
    return Invalid(one.meta, "it means nothing", DtoolDatasetStatus())


def uids(found: Iterable[Dataset]) -> list[str]:
    return [one.meta.uid for one in found]


def filled(*those: Dataset) -> DatasetIndex:
    index = DatasetIndex()
    for one in those:
        index.put(one)
    return index


def test_an_object_is_found_by_all_that_others_ask_for() -> None:
    raw, second = adopted(), copy()
    index = filled(raw, second, invalid("bad"))

    assert index.get(raw.meta.uid) is raw
    assert index.find("alice", "raw") is raw
    assert isinstance(index.find("alice", "bad"), Invalid)
    assert index.find("bob", "raw") is None
    assert uids(index.valid()) == uids(index.valid("alice")) == uids([raw, second])
    assert uids(index.claimants("alice", see.UUID)) == [raw.meta.uid]
    assert uids(index.followers("alice", "raw")) == [second.meta.uid]
    assert list(index.valid("bob")) == list(index.claimants("bob", see.UUID)) == []
    assert len(index) == 3


def test_what_an_object_was_before_it_changed_leads_nowhere() -> None:
    one = dataset(source=None)
    index = filled(one)

    index.put(replace(one, status=one.status.model_copy(update={"uuid": OTHER_UUID})))

    assert list(index.claimants("alice", see.UID)) == []
    assert uids(index.claimants("alice", OTHER_UUID)) == [see.UID]
    assert len(index) == 1


def test_an_object_that_took_the_name_keeps_it_when_the_old_one_goes() -> None:
    old = adopted()
    new = replace(old, meta=replace(old.meta, uid="again"))
    index = filled(old, new)

    index.remove(old.meta.uid)

    assert index.find("alice", "raw") is new
    assert uids(index.valid("alice")) == ["again"]


def test_what_is_not_there_is_nothing_to_take_out() -> None:
    assert DatasetIndex().remove("x") is None
    assert DatasetIndex().get("x") is None


NAMES, PLACES = st.sampled_from(["raw", "copy", "third"]), st.sampled_from(["alice", "bob"])
THINGS = st.one_of(
    st.builds(lambda name, place: dataset(name, namespace=place, uuid=see.UUID), NAMES, PLACES),
    st.builds(lambda name, place: dataset(name, namespace=place, source=None), NAMES, PLACES),
    st.builds(copy, NAMES, PLACES),
    st.builds(invalid, NAMES, PLACES),
)


@given(st.lists(st.tuples(st.booleans(), THINGS), max_size=12))
def test_every_answer_is_that_of_a_search_through_all(events: list[tuple[bool, Dataset]]) -> None:
    index, kept = DatasetIndex(), dict[str, Dataset]()
    for is_gone, one in events:
        if is_gone:
            assert index.remove(one.meta.uid) == kept.pop(one.meta.uid, None)
        else:
            index.put(one)
            kept[one.meta.uid] = one

    valid = [one for one in kept.values() if not isinstance(one, Invalid)]
    assert len(index) == len(kept)
    assert set(uids(index.valid())) == set(uids(valid))
    for place in ("alice", "bob"):
        here = [one for one in valid if one.namespace == place]
        assert set(uids(index.valid(place))) == set(uids(here))
        claims = {one.uid for one in here if dataset_uuid(one) == see.UUID}
        assert {one.uid for one in index.claimants(place, see.UUID)} == claims
    following = {one.uid for one in valid if one.spec.source is not None}
    assert {one.uid for one in index.followers("alice", "raw")} == following
