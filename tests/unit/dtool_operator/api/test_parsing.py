"""From the API server's JSON to values: nothing it sends stops the operator."""

from datetime import UTC, datetime
from typing import Any

import pytest

from dtool_operator.api.bucket import parse_bucket
from dtool_operator.api.conditions import ConditionType, find_condition
from dtool_operator.api.dataset import parse_dataset
from dtool_operator.api.dataset_status import DtoolDatasetStatus
from dtool_operator.api.parsing import InvalidObject, parse_metadata

METADATA = {
    "name": "rnaseq",
    "namespace": "alice",
    "uid": "0b0ff4ba-2f6c-4a70-9d5b-52b8e0a3a6b1",
    "generation": 3,
    "resourceVersion": "17",
    "creationTimestamp": "2026-11-22T10:00:00Z",
}


def dataset(spec: object = None, **more: Any) -> dict[str, Any]:
    return {"metadata": METADATA, "spec": spec or {"bucketRef": {"name": "lab"}}, **more}


def test_metadata_is_read() -> None:
    meta = parse_metadata(
        {
            "metadata": {
                **METADATA,
                "deletionTimestamp": "2026-11-22T11:00:00Z",
                "finalizers": ["dtool.dev/finalizer"],
                "labels": {"a": "b"},
                "annotations": {"c": "d"},
            }
        }
    )

    assert (meta.namespace, meta.name, meta.uid) == ("alice", "rnaseq", METADATA["uid"])
    assert (meta.generation, meta.resource_version) == (3, "17")
    assert meta.creation_timestamp == datetime(2026, 11, 22, 10, tzinfo=UTC)
    assert meta.deletion_timestamp == datetime(2026, 11, 22, 11, tzinfo=UTC)
    assert meta.finalizers == ("dtool.dev/finalizer",)
    assert (meta.labels, meta.annotations) == ({"a": "b"}, {"c": "d"})


def test_what_metadata_lacks_is_empty() -> None:
    meta = parse_metadata(
        {"metadata": {"name": "n", "uid": "u", "creationTimestamp": "2026-11-22T10:00:00Z"}}
    )

    assert (meta.namespace, meta.generation, meta.resource_version) == ("", 0, "")
    assert meta.deletion_timestamp is None
    assert (meta.finalizers, meta.labels, meta.annotations) == ((), {}, {})


def test_a_request_is_compared_as_the_status_echoes_it() -> None:
    meta = parse_metadata({"metadata": {**METADATA, "annotations": {"dtool.dev/x": "now\n" + "!" * 300}}})

    request = meta.get_request("dtool.dev/x")

    assert request is not None
    assert DtoolDatasetStatus(last_handled_reconcile_at=request).last_handled_reconcile_at == request
    assert meta.get_request("dtool.dev/y") is None


def test_an_invalid_spec_names_the_field_and_keeps_the_metadata() -> None:
    spec = {"bucketRef": {"name": "lab"}, "tags": ["fine", "not fine"]}

    with pytest.raises(InvalidObject, match=r"^spec\.tags\[1\]: ") as caught:
        parse_dataset(dataset(spec))

    assert caught.value.meta == parse_metadata({"metadata": METADATA})
    assert caught.value.message == str(caught.value)


def test_an_invalid_spec_does_not_repeat_values() -> None:
    spec = {
        "bucket": "lab-data",
        "endpoint": "https://AKIA:verysecret@s3",
        "region": "x y",
        "addressing": "hidden",
    }

    with pytest.raises(InvalidObject) as caught:
        parse_bucket(dataset(spec))

    assert not any(value in caught.value.message for value in ("verysecret", "x y", "hidden"))


def test_three_fields_at_fault_are_enough_for_one_message() -> None:
    spec = {"bucketRef": {"name": "lab"}, "tags": [""] * 50}

    with pytest.raises(InvalidObject) as caught:
        parse_dataset(dataset(spec))

    assert caught.value.message.count("spec.tags") == 3


@pytest.mark.parametrize("body", [{"metadata": METADATA}, {"metadata": METADATA, "spec": None}])
def test_an_object_without_spec_is_invalid_and_no_crash(body: dict[str, Any]) -> None:
    with pytest.raises(InvalidObject, match=r"^spec\.bucket: Field required"):
        parse_bucket(body)


@pytest.mark.parametrize("spec", ["text", [], 3])
def test_a_spec_that_is_no_object_is_invalid_and_no_crash(spec: object) -> None:
    with pytest.raises(InvalidObject, match=r"^spec"):
        parse_dataset({"metadata": METADATA, "spec": spec})


def test_fields_of_a_newer_crd_are_ignored() -> None:
    parsed = parse_dataset(
        dataset({"bucketRef": {"name": "lab", "new": 1}, "newer": {}}, status={"newest": 2})
    )

    assert parsed.spec == parse_dataset(dataset()).spec
    assert parsed.status == DtoolDatasetStatus()


@pytest.mark.parametrize("status", [None, {}, "text", [1]])
def test_a_status_that_is_none_is_empty(status: object) -> None:
    assert parse_dataset(dataset(status=status)).status == DtoolDatasetStatus()


def test_a_field_of_the_status_that_does_not_parse_counts_as_absent_and_the_others_stay() -> None:
    condition = {
        "type": "Ready",
        "status": "True",
        "reason": "Frozen",
        "message": "",
        "lastTransitionTime": "2026-11-22T10:00:00Z",
    }

    status = parse_dataset(
        dataset(status={"items": -3, "state": "Dreaming", "conditions": [condition], "uuid": METADATA["uid"]})
    ).status

    assert (status.items, status.state, status.uuid) == (None, None, METADATA["uid"])
    assert find_condition(status.conditions, ConditionType.READY) is not None


def test_a_status_reads_back_as_it_was_dumped() -> None:
    status = DtoolDatasetStatus.model_validate(
        {
            "observedGeneration": 1,
            "state": "Copying",
            "uuid": METADATA["uid"],
            "createdAt": "2026-11-22T10:00:00Z",
            "progress": {"items": 610, "itemsTotal": 1204, "percent": "51%"},
            "verified": {"time": "2026-11-22T10:00:00Z", "method": "Content", "evidence": {"etagMD5": 4}},
            "managed": {"tags": ["a"]},
        }
    )

    assert parse_dataset(dataset(status=status.dump())).status == status
