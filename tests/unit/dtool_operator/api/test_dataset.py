"""DtoolDataset: defaults, sources, names. The table of invalid specs is in the contract tests."""

from typing import Any

import pytest

from dtool_operator.api.choice import DeletionPolicy, Identity, SourceKind, VerifyMethod
from dtool_operator.api.dataset import DtoolDataset, parse_dataset
from dtool_operator.api.parsing import InvalidObject
from dtool_operator.api.source import Source

UUID = "1c10766c-4a0c-4a6e-9a52-1f3c2f1f9a01"
LONG_NAME = "x" * 81


def parse(spec: dict[str, Any], name: str = "rnaseq") -> DtoolDataset:
    metadata = {"name": name, "namespace": "alice", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"}
    return parse_dataset({"metadata": metadata, "spec": {"bucketRef": {"name": "lab"}, **spec}})


def test_a_dataset_keeps_its_data_and_is_listed_weekly_by_default() -> None:
    spec = parse({}).spec

    assert (spec.deletion_policy, spec.identity) == (DeletionPolicy.RETAIN, Identity.PRESERVE)
    assert (spec.verify.method, spec.verify.interval.days) == (VerifyMethod.LISTING, 7)
    assert (spec.freeze, spec.suspend, spec.tags, spec.annotations) == (False, False, (), {})


def test_a_parsed_dataset_says_which_object_it_is() -> None:
    dataset = parse({})

    assert (dataset.namespace, dataset.name, dataset.uid) == ("alice", "rnaseq", "u")


SOURCES: dict[SourceKind, dict[str, Any]] = {
    SourceKind.URI: {"uri": f"s3://instrument-data/{UUID}"},
    SourceKind.STORED: {"stored": {"bucketRef": {"name": "b"}, "uuid": UUID}},
    SourceKind.DATASET: {"dataset": {"name": "raw"}},
    SourceKind.OBJECTS: {"objects": {"bucketRef": {"name": "b"}, "prefix": ""}},
    SourceKind.VOLUME: {"volume": {"claimName": "c", "path": "a/b"}},
}


@pytest.mark.parametrize("kind", SourceKind)
def test_a_source_says_of_which_kind_it_is(kind: SourceKind) -> None:
    assert Source.model_validate(SOURCES[kind]).kind is kind


@pytest.mark.parametrize(
    ("spec", "is_new"),
    [
        ({}, True),
        ({"uuid": UUID}, False),
        ({"source": SOURCES[SourceKind.URI]}, False),
        ({"source": SOURCES[SourceKind.URI], "identity": "New"}, True),
        ({"source": SOURCES[SourceKind.OBJECTS]}, True),
        ({"source": SOURCES[SourceKind.VOLUME]}, True),
        ({"source": {"volume": {"claimName": "c", "layout": "Dataset"}}}, False),
    ],
)
def test_only_a_new_dataset_has_a_name_of_its_own(spec: dict[str, Any], is_new: bool) -> None:
    assert parse(spec).spec.is_new_dataset is is_new

    if is_new:
        with pytest.raises(InvalidObject, match=r"^spec\.name: needed"):
            parse(spec, LONG_NAME)
        assert parse({**spec, "name": "short"}, LONG_NAME).dataset_name == "short"
    else:
        assert parse(spec, LONG_NAME).name == LONG_NAME


def test_the_name_of_a_new_dataset_is_the_objects_unless_it_is_given() -> None:
    assert parse({}).dataset_name == "rnaseq"
    assert parse({"name": "RNA-seq_2026.1"}).dataset_name == "RNA-seq_2026.1"


@pytest.mark.parametrize(
    "uri",
    [
        f"s3://instrument-data/{UUID}",
        "https://data.example.org/published/x",
        "http://127.0.0.1:8000/x?Signature=abc",
    ],
)
def test_a_uri_of_a_known_scheme_is_read(uri: str) -> None:
    assert Source(uri=uri).uri == uri


@pytest.mark.parametrize(
    "uri",
    [
        "s3:///somewhere",
        f"s3://{'b' * 256}/{UUID}",
        f"s3://b/{UUID}/",
        f"s3://b/{UUID}\n",
        "https://user@host/x",
        "ftp://host/x",
        "https:///x",
        "https://a b/",
    ],
)
def test_any_other_uri_is_refused(uri: str) -> None:
    with pytest.raises(InvalidObject, match=r"^spec\.source\.uri: must be s3://<bucket>/<uuid>"):
        parse({"source": {"uri": uri}})


def test_a_readme_is_bounded_in_bytes_not_in_characters() -> None:
    assert parse({"readme": "ü" * 65_536}).spec.readme is not None
    with pytest.raises(InvalidObject, match=r"^spec\.readme: must have at most 131072 bytes"):
        parse({"readme": "ü" * 65_537})


def test_annotations_are_any_json_under_names_that_dtool_allows() -> None:
    annotations = {"project": "atlas", "nested": {"list": [1, None, True, 0.5]}, "nothing": None}

    assert parse({"annotations": annotations}).spec.annotations == annotations
    with pytest.raises(InvalidObject, match=r"^spec\.annotations\.a/b"):
        parse({"annotations": {"a/b": 1}})


@pytest.mark.parametrize("interval", ["24h", "168h"])
def test_content_is_read_once_a_day_at_most(interval: str) -> None:
    assert parse({"verify": {"method": "Content", "interval": interval}}).spec.verify.interval.days >= 1
    with pytest.raises(InvalidObject, match=r"^spec\.verify: interval must be at least 24h"):
        parse({"verify": {"method": "Content", "interval": "23h59m"}})
