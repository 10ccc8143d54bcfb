"""Which dataset an object stands for (rule 11): the spec, the status, the label, the object's uid."""

from dataclasses import replace
from typing import Any

import pytest

from dtool_operator.api.dataset import DtoolDataset
from dtool_operator.planning.identity import (
    dataset_uuid,
    find_original,
    list_candidates,
    source_uuid,
    spec_uuid,
)
from tests.support import observed as see
from tests.support.observed import dataset

OTHER_UUID = "2c10766c-c4a9-4a4f-9b5d-0d5f0e1c7a22"
URL = f"https://data.example.org/{see.UUID}?X-Amz-Signature=x"
REF = {"name": "lab"}
OBJECTS = {"objects": {"bucketRef": REF, "prefix": ""}}
FILES = {"volume": {"claimName": "c"}}
OF_ANOTHER = {"dataset": {"name": "raw", "namespace": "bob"}}

SPECS: dict[str, tuple[dict[str, Any], str | None]] = {
    "adopted": ({"uuid": see.UUID}, see.UUID),
    "a copy": ({"source": see.URI}, see.UUID),
    "a stored source": ({"source": {"stored": {"bucketRef": REF, "uuid": OTHER_UUID}}}, OTHER_UUID),
    "a published source": ({"source": {"uri": URL}}, see.UUID),
    "a published source whose URL names none": ({"source": {"uri": "https://data.example.org/x"}}, None),
    "another object's dataset": ({"source": OF_ANOTHER}, None),
    "plain objects": ({"source": OBJECTS}, None),
    "files": ({"source": FILES}, None),
    "a derived dataset": ({"source": see.URI, "identity": "New"}, None),
    "a new dataset": ({"source": None}, None),
}


@pytest.mark.parametrize("case", SPECS)
def test_rule_11_the_spec_alone_decides(case: str) -> None:
    spec, uuid = SPECS[case]

    assert spec_uuid(dataset(**spec).spec) == uuid


def test_a_derived_dataset_still_knows_its_sources_uuid() -> None:
    source = dataset(identity="New").spec.source

    assert source is not None
    assert source_uuid(source) == see.UUID


def known(one: DtoolDataset) -> DtoolDataset:
    """The same object after a status that names a uuid."""
    return replace(one, status=one.status.model_copy(update={"uuid": OTHER_UUID}))


NEW = dataset(source=None)

CANDIDATES: dict[str, tuple[DtoolDataset, tuple[str, ...]]] = {
    "the spec is before the status": (known(dataset()), (see.UUID,)),
    "the status is before label and uid": (known(see.marked(NEW)), (OTHER_UUID,)),
    "the label is before the uid": (see.marked(NEW), (see.UUID, see.UID)),
    "the label of a derived dataset too": (see.marked(dataset(identity="New")), (see.UUID, see.UID)),
    "the label that is the uid is one": (see.marked(NEW, label=see.UID), (see.UID,)),
    "a label that is no uuid is none": (see.marked(NEW, label="another"), (see.UID,)),
    "without a label the uid": (NEW, (see.UID,)),
    "of a dataset of objects the uid": (dataset(source=OBJECTS), (see.UID,)),
    "none while the source decides, whatever the label says": (see.marked(dataset(source=OF_ANOTHER)), ()),
    "what the source decided is in the status": (known(dataset(source=OF_ANOTHER)), (OTHER_UUID,)),
}


@pytest.mark.parametrize("case", CANDIDATES)
def test_rule_11_the_order_of_what_counts(case: str) -> None:
    one, expected = CANDIDATES[case]

    assert list_candidates(one) == expected
    assert dataset_uuid(one) == (expected[0] if expected else None)


ORIGINALS: dict[str, tuple[dict[str, Any], tuple[str, str] | None]] = {
    "of an object of another namespace": ({"source": OF_ANOTHER}, ("bob", "raw")),
    "of an object of its own namespace": ({"source": {"dataset": {"name": "raw"}}}, ("alice", "raw")),
    "a derived dataset has none": ({"source": OF_ANOTHER, "identity": "New"}, None),
    "a copy of a URI has none": ({}, None),
    "a new dataset has none": ({"source": None}, None),
}


@pytest.mark.parametrize("case", ORIGINALS)
def test_whose_uuid_a_copy_will_have(case: str) -> None:
    spec, expected = ORIGINALS[case]

    assert find_original(dataset("copy", **spec)) == expected
