"""Documents of every era, and the broken ones that lie in real buckets."""

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtool_s3.documents import (
    AdminMetadata,
    DatasetType,
    Manifest,
    ManifestItem,
    build_manifest_body,
    dump_admin_metadata,
    dump_manifest,
    manifest_version,
    parse_admin_metadata,
    parse_manifest,
    storage_broker_version,
)
from dtool_s3.errors import DatasetError, InvalidAdminMetadata, InvalidManifest, UnsafePath
from dtool_s3.layout import DatasetLayout, item_identifier

UUID = "1f8b1c3c-3b0a-4b0e-8f0a-6a2f8d0a9c11"
FIELDS: dict[str, Any] = {
    "uuid": UUID,
    "dtoolcore_version": "3.19.0",
    "name": "results",
    "type": "dataset",
    "creator_username": "alice",
    "created_at": 1700000000.25,
    "frozen_at": 1700000001.5,
}
BODY, HEADERS = dump_admin_metadata(FIELDS)
EXPECTED = AdminMetadata(UUID, DatasetType.FROZEN, "results", "alice", "3.19.0", 1700000000.25, 1700000001.5)
DEEP = b"[" * 9_000


def without(fields: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in names}


def test_metadata_are_written_as_upstream_does() -> None:
    assert json.loads(BODY) == FIELDS
    assert list(json.loads(BODY)) == list(FIELDS)
    assert b"\n" not in BODY
    assert HEADERS["created_at"] == "1700000000.25"
    assert HEADERS["type"] == "dataset"


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        pytest.param(BODY, HEADERS, id="0.14: body and headers"),
        pytest.param(b"dtoolfile", HEADERS, id="up to 0.3: headers only"),
        pytest.param(b"", HEADERS, id="an empty body"),
        pytest.param(b"[1, 2]", HEADERS, id="a body that is no object"),
        pytest.param(DEEP, HEADERS, id="a body nested too deeply"),
        pytest.param(b"\xff\xfe", HEADERS, id="a body that is no text"),
        pytest.param(BODY, {}, id="all headers lost"),
        pytest.param(BODY, {n.title(): v for n, v in HEADERS.items()}, id="headers in another case"),
        pytest.param(BODY, without(HEADERS, "type", "frozen_at"), id="some headers lost"),
        pytest.param(BODY, {**HEADERS, "s3cmd-attrs": "uid:0"}, id="foreign headers"),
        pytest.param(json.dumps({**FIELDS, "created_at": "1700000000.25"}).encode(), {}, id="string times"),
    ],
)
def test_metadata_of_every_era_are_read(body: bytes, headers: dict[str, str]) -> None:
    assert parse_admin_metadata(body, headers, uuid=UUID) == EXPECTED


def test_metadata_without_times_and_version_are_read() -> None:
    early = without(FIELDS, "dtoolcore_version", "created_at", "frozen_at") | {"type": "protodataset"}
    body, headers = dump_admin_metadata(early)

    found = parse_admin_metadata(body, {**headers, "frozen_at": ""}, uuid=UUID)

    assert found == AdminMetadata(UUID, DatasetType.PROTO, "results", "alice")
    assert not found.is_frozen
    assert found.as_dict() == early


def test_a_name_that_headers_cannot_hold_is_read_from_the_body() -> None:
    body, headers = dump_admin_metadata({**FIELDS, "creator_username": "Müller"})

    assert headers["creator_username"] == "M?ller"
    assert parse_admin_metadata(body, headers, uuid=UUID).creator_username == "Müller"


def test_a_header_counts_where_the_body_says_something_else() -> None:
    body = json.dumps({**FIELDS, "name": "before"}).encode()

    assert parse_admin_metadata(body, HEADERS, uuid=UUID).name == "results"


@pytest.mark.parametrize(
    ("body", "headers", "said"),
    [
        (json.dumps({**FIELDS, "type": "protodataset"}).encode(), HEADERS, "type is 'dataset' in the header"),
        (json.dumps({**FIELDS, "type": 1}).encode(), HEADERS, "type is"),
        (json.dumps({**FIELDS, "uuid": UUID[::-1]}).encode(), HEADERS, "uuid is"),
        (*dump_admin_metadata({**FIELDS, "uuid": UUID[::-1]}), "lies under the key"),
        (*dump_admin_metadata({**FIELDS, "type": "frozen"}), "type is 'frozen'"),
        (*dump_admin_metadata({**FIELDS, "created_at": "yesterday"}), "created_at is not a time"),
        (json.dumps({**FIELDS, "frozen_at": [1]}).encode(), {}, "frozen_at is not a time"),
        (json.dumps({**FIELDS, "frozen_at": True}).encode(), {}, "frozen_at is not a time"),
        (json.dumps({**FIELDS, "frozen_at": 10**400}).encode(), {}, "frozen_at is not a time"),
        (*dump_admin_metadata({**FIELDS, "frozen_at": "nan"}), "frozen_at is not a time"),
        (json.dumps({**FIELDS, "frozen_at": float("inf")}).encode(), {}, "frozen_at is not a time"),
        (json.dumps({**FIELDS, "name": None}).encode(), {}, "name is missing"),
        (b"dtoolfile", without(HEADERS, "creator_username"), "creator_username is missing"),
        (b"", {}, "uuid is missing"),
        (DEEP, {}, "uuid is missing"),
    ],
)
def test_metadata_that_contradict_themselves_are_refused(
    body: bytes, headers: dict[str, str], said: str
) -> None:
    with pytest.raises(InvalidAdminMetadata, match=said):
        parse_admin_metadata(body, headers, uuid=UUID)


@pytest.mark.parametrize("field", ["name", "creator_username", "dtoolcore_version"])
def test_metadata_with_half_a_character_are_refused(field: str) -> None:
    body, headers = dump_admin_metadata({**FIELDS, field: "half \ud800"})

    with pytest.raises(InvalidAdminMetadata, match="not valid Unicode") as refused:
        parse_admin_metadata(body, headers, uuid=UUID)

    assert str(refused.value).encode()


def test_freezing_changes_the_type_and_nothing_else() -> None:
    proto = EXPECTED.with_type(DatasetType.PROTO)

    assert not proto.is_frozen
    assert proto.with_type(DatasetType.FROZEN) == EXPECTED
    assert EXPECTED.as_dict() == FIELDS
    assert list(EXPECTED.as_dict()) == list(FIELDS)


@given(st.dictionaries(st.sampled_from([*FIELDS, "x"]), st.text()), st.dictionaries(st.text(), st.text()))
def test_any_metadata_are_read_or_refused(fields: dict[str, str], headers: dict[str, str]) -> None:
    try:
        found = parse_admin_metadata(json.dumps({**FIELDS, **fields}).encode(), headers, uuid=UUID)
    except InvalidAdminMetadata:
        return
    assert found.uuid == UUID


ITEM = {"relpath": "a/b.csv", "size_in_bytes": 3, "hash": "0" * 32, "utc_timestamp": 1700000000.0}
ID = item_identifier("a/b.csv")


def manifest(item: object = ITEM, identifier: str = ID, **others: object) -> bytes:
    document = {
        "dtoolcore_version": "3.19.0",
        "hash_function": "md5sum_hexdigest",
        "items": {identifier: item},
    }
    return json.dumps(document | others).encode()


def test_a_manifest_is_read() -> None:
    found = parse_manifest(manifest())

    assert found == Manifest("md5sum_hexdigest", {ID: ManifestItem("a/b.csv", 3, "0" * 32, 1700000000.0)})
    assert found.size_bytes == 3
    assert parse_manifest(manifest(items={})).size_bytes == 0


def test_a_manifest_of_0_4_0_has_the_etag_of_an_item_in_parts_as_its_hash() -> None:
    etag = f"{'0' * 32}-12"

    assert parse_manifest(manifest({**ITEM, "hash": etag})).items[ID].hash == etag


def test_the_manifest_of_a_new_dataset_is_in_dtoolcores_form() -> None:
    items = {ID: ManifestItem("a/b.csv", 3, "0" * 32, 1700000000.0)}

    body = build_manifest_body(Manifest("md5sum_hexdigest", items), dtoolcore_version="3.19.0")

    assert body == json.dumps(json.loads(manifest()), indent=2, sort_keys=True).encode()


def test_a_manifest_that_no_reader_would_take_is_not_built() -> None:
    items = {ID: ManifestItem("a/b.csv", 3, "no digest", 1700000000.0)}

    with pytest.raises(InvalidManifest):
        build_manifest_body(Manifest("md5sum_hexdigest", items), dtoolcore_version="3.19.0")


def test_a_manifest_without_times_is_read() -> None:
    item = {name: value for name, value in ITEM.items() if name != "utc_timestamp"}

    assert parse_manifest(manifest(item)).items[ID].utc_timestamp == 0.0


@pytest.mark.parametrize(
    ("change", "is_equal"),
    [({}, True), ({"utc_timestamp": 1}, True), ({"hash": "1" * 32}, False), ({"size_in_bytes": 4}, False)],
)
def test_manifests_are_equal_by_content_not_by_time(change: dict[str, Any], is_equal: bool) -> None:
    one, other = parse_manifest(manifest()), parse_manifest(manifest({**ITEM, **change}))

    assert one.is_equal(other) is is_equal
    assert (one.content_sha256() == other.content_sha256()) is is_equal


def test_manifests_with_other_hash_functions_are_not_equal() -> None:
    other = parse_manifest(manifest(hash_function="sha256sum_hexdigest"))

    assert not parse_manifest(manifest()).is_equal(other)
    assert parse_manifest(manifest()).content_sha256() != other.content_sha256()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (DEEP, "not JSON"),
        (b"[]", "no '{'"),
        (b"{}", "no object `items`"),
        (manifest(items=[]), "no object `items`"),
        (manifest(hash_function=None), "hash_function"),
        (manifest("text"), "is not an object"),
        (manifest({**ITEM, "relpath": 1}), "has no relpath"),
        (manifest({**ITEM, "relpath": "other"}), "not that of relpath"),
        (manifest(identifier="../../x"), "not that of relpath"),
        (manifest({**ITEM, "size_in_bytes": -1}), "not a size"),
        (manifest({**ITEM, "size_in_bytes": 1.5}), "not a size"),
        (manifest({**ITEM, "size_in_bytes": True}), "not a size"),
        (manifest({**ITEM, "size_in_bytes": "3"}), "not a size"),
        (manifest({**ITEM, "hash": None}), "neither a hex digest"),
        (manifest({**ITEM, "hash": f"{'0' * 32}-0"}), "neither a hex digest"),
        (manifest({**ITEM, "hash": f"{'0' * 32}-123456"}), "neither a hex digest"),
        (manifest({**ITEM, "hash": "0" * 31}), "neither a hex digest"),
        (manifest({**ITEM, "hash": "G" * 32}), "neither a hex digest"),
        (manifest({**ITEM, "hash": "0" * 32 + "\n"}), "neither a hex digest"),
        (manifest({**ITEM, "utc_timestamp": "now"}), "not a number"),
        (manifest({**ITEM, "utc_timestamp": True}), "not a number"),
        (manifest({**ITEM, "utc_timestamp": 10**400}), "not a number"),
        (manifest({**ITEM, "utc_timestamp": float("nan")}), "not a number"),
        (manifest().replace(b"1700000000.0", b"1" * 5000), "not JSON"),
    ],
)
def test_a_manifest_that_cannot_be_understood_is_refused(body: bytes, said: str) -> None:
    with pytest.raises(InvalidManifest, match=said):
        parse_manifest(body)


@pytest.mark.parametrize("relpath", ["../x", "a/../../x", "/etc/passwd", "", "\ud800"])
def test_a_manifest_whose_relpath_leaves_the_dataset_is_refused(relpath: str) -> None:
    identifier = ID if relpath == "\ud800" else item_identifier(relpath)

    with pytest.raises(UnsafePath):
        parse_manifest(manifest({**ITEM, "relpath": relpath}, identifier))


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from([*ITEM, "x"]), JSON_VALUES))
def test_any_manifest_is_read_or_refused(changes: dict[str, object]) -> None:
    try:
        found = parse_manifest(manifest({**ITEM, **changes}))
    except DatasetError:
        return
    assert found.items[ID].relpath == "a/b.csv"


def test_a_manifest_is_written_as_upstream_does() -> None:
    document = json.loads(manifest())

    assert dump_manifest(document) == json.dumps(document, indent=2, sort_keys=True).encode()
    assert parse_manifest(dump_manifest(document)) == parse_manifest(manifest())


@pytest.mark.parametrize(
    ("body", "version"),
    [
        (DatasetLayout("", UUID).structure_document(), "0.14.1"),
        (b'{"storage_broker_version": "0.3.0"}', "0.3.0"),
        (b'{"storage_broker_version": 1}', None),
        (b"{}", None),
        (b"nonsense", None),
        (DEEP, None),
        (None, None),
    ],
)
def test_the_version_of_the_format_is_read_where_it_is(body: bytes | None, version: str | None) -> None:
    assert storage_broker_version(body) == version


@pytest.mark.parametrize("value", [b"[],", b"{},", b"1,", b'"ab",', b"1.5,", b"[", b'{"a":0},'])
@pytest.mark.parametrize("start", [b'"items":[', b'"items":{"x":[', b'"other":[', b'"hash_function":['])
def test_json_that_would_fill_the_memory_is_refused_before_it_does(start: bytes, value: bytes) -> None:
    body = b'{"hash_function":"md5sum_hexdigest",' + start + value * 200_000 + b"0]}"

    tracemalloc.start()
    with pytest.raises(InvalidManifest, match="not JSON"):
        parse_manifest(body)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak_bytes < 6 * 1024**2


def test_of_two_lists_of_items_the_last_counts() -> None:
    body = manifest()

    twice = body[:-1] + b', "items": {}}'

    assert parse_manifest(body).items
    assert not parse_manifest(twice).items


def test_a_manifest_takes_a_few_times_its_size_in_memory() -> None:
    names = [f"{number:x}" for number in range(20_000)]
    items = {item_identifier(name): {"hash": "0" * 32, "relpath": name, "size_in_bytes": 1} for name in names}
    body = json.dumps({"hash_function": "md5sum_hexdigest", "items": items}, separators=(",", ":")).encode()
    del items

    tracemalloc.start()
    parse_manifest(body)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak_bytes < 4.5 * len(body)


def test_the_densest_manifest_that_dtool_could_write_is_read() -> None:
    names = [f"{number:x}" for number in range(4000)]
    items = {item_identifier(name): {"hash": "0" * 32, "relpath": name, "size_in_bytes": 0} for name in names}
    body = json.dumps({"hash_function": "md5sum_hexdigest", "items": items}, separators=(",", ":")).encode()

    assert len(parse_manifest(body).items) == 4000


RELPATHS = st.text(
    st.characters(blacklist_categories=["Cs"], blacklist_characters="/\x00"), min_size=1, max_size=20
)


@given(
    st.dictionaries(
        RELPATHS.filter(lambda text: text not in {".", ".."}),
        st.tuples(st.integers(0, 2**60), st.floats(0, 4e9, allow_nan=False)),
        max_size=4,
    )
)
def test_a_new_manifest_has_the_bytes_that_dtoolcore_would_write(
    found: dict[str, tuple[int, float]],
) -> None:
    items = {
        item_identifier(name): ManifestItem(name, size, "0" * 32, at) for name, (size, at) in found.items()
    }
    document = {
        "dtoolcore_version": "3.19.0",
        "hash_function": "md5sum_hexdigest",
        "items": {
            identifier: {
                "hash": item.hash,
                "relpath": item.relpath,
                "size_in_bytes": item.size_bytes,
                "utc_timestamp": item.utc_timestamp,
            }
            for identifier, item in items.items()
        },
    }

    body = build_manifest_body(Manifest("md5sum_hexdigest", items), dtoolcore_version="3.19.0")

    assert body == dump_manifest(document)
    assert manifest_version(body) == "3.19.0"


def test_items_that_are_not_wanted_are_checked_and_not_held() -> None:
    items = {item_identifier(name): ManifestItem(name, 1, "0" * 32, 0.0) for name in ("a", "b")}
    body = build_manifest_body(Manifest("md5sum_hexdigest", items), dtoolcore_version="3.19.0")

    kept = parse_manifest(body, keeps=lambda _, item: item.relpath == "b")

    assert [item.relpath for item in kept.items.values()] == ["b"]
    with pytest.raises(InvalidManifest):
        parse_manifest(body.replace(b'"size_in_bytes": 1', b'"size_in_bytes": -1'), keeps=lambda *_: False)


@pytest.mark.parametrize(
    ("version", "found"),
    [(b'"3.18.2"', "3.18.2"), (b"7", None), (b'"<b>"', None), (b'"' + b"1" * 65 + b'"', None)],
)
def test_the_version_of_a_manifest_is_read_where_it_is_one(version: bytes, found: str | None) -> None:
    assert manifest_version(b'{"dtoolcore_version": ' + version + b"}") == found
    assert manifest_version(b'{"items": {"dtoolcore_version": "3"}}') is None
