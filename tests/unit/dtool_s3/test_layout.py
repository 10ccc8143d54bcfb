"""Where everything of a dataset lies, and what a handle says."""

import base64
import json
from email.header import Header

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtool_s3.errors import UnsafePath
from dtool_s3.layout import (
    DTOOL_README_TXT,
    FORMAT_VERSION,
    MAX_RELPATH_BYTES,
    DatasetLayout,
    check_disk_relpaths,
    check_relpath,
    decode_handle,
    encode_handle,
    is_safe_prefix,
    item_identifier,
    item_metadata,
)

UUID = "1f8b1c3c-3b0a-4b0e-8f0a-6a2f8d0a9c11"
LAYOUT = DatasetLayout("u/alice/", UUID)
RELPATHS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)


@pytest.mark.parametrize("prefix", ["", "u/alice/", "u/olssont"])
def test_the_keys_of_a_dataset(prefix: str) -> None:
    layout = DatasetLayout(prefix, UUID)
    root = f"{prefix}{UUID}"

    assert layout.registration_key == f"dtool-{UUID}"
    assert layout.root == f"{root}/"
    assert layout.admin_metadata_key == f"{root}/dtool"
    assert layout.structure_key == f"{root}/structure.json"
    assert layout.dtool_readme_key == f"{root}/README.txt"
    assert layout.readme_key == f"{root}/README.yml"
    assert layout.manifest_key == f"{root}/manifest.json"
    assert layout.http_manifest_key == f"{root}/http_manifest.json"
    assert layout.item_key("abc") == f"{root}/data/abc"
    assert layout.overlay_key("a.b") == f"{root}/overlays/a.b.json"
    assert layout.annotation_key("v1.2") == f"{root}/annotations/v1.2.json"
    assert layout.tag_key("green") == f"{root}/tags/green"
    assert layout.fragment_key("abc", "my.key") == f"{root}/fragments/abc.my.key.json"


def test_the_structure_document_is_upstreams() -> None:
    body = LAYOUT.structure_document()

    document = json.loads(body)
    assert document["dataset_registration_key"] == f"dtool-{UUID}"
    assert document["storage_broker_version"] == FORMAT_VERSION == "0.14.1"
    assert len(document) == 13
    assert body == json.dumps(document, indent=2, sort_keys=True).encode()
    assert json.loads(DatasetLayout("", UUID[::-1]).structure_document()) != document


def test_the_readme_begins_as_upstreams_does() -> None:
    assert DTOOL_README_TXT.startswith("README")


def test_an_identifier_is_the_sha_1_of_the_relpath() -> None:
    assert item_identifier("ü/a b.csv") == "c8b38160d3e6d2f4fcddb3f951d4e3fb78da7580"
    assert item_identifier("") == "da39a3ee5e6b4b0d3255bfef95601890afd80709"


def test_the_headers_of_an_item() -> None:
    assert item_metadata("ü.txt", "0" * 32) == {"handle": "w7wudHh0", "checksum": "0" * 32}


@given(RELPATHS)
def test_a_handle_is_decoded_to_what_was_encoded(relpath: str) -> None:
    assert decode_handle(encode_handle(relpath), item_identifier(relpath)) == relpath


@given(RELPATHS)
def test_a_raw_handle_of_old_versions_is_taken_as_it_is(relpath: str) -> None:
    assert decode_handle(relpath, item_identifier(relpath)) == relpath


@given(RELPATHS)
def test_a_raw_handle_that_came_back_as_latin_1_is_repaired(relpath: str) -> None:
    assert decode_handle(relpath.encode().decode("latin-1"), item_identifier(relpath)) == relpath


@pytest.mark.parametrize("charset", ["utf-8", "latin-1"])
@pytest.mark.parametrize("relpath", ["ü.txt", "mätning av prov/å ä ö.csv", "a" * 60 + "ö" * 60])
def test_a_raw_handle_that_s3_encoded_as_words_is_read(relpath: str, charset: str) -> None:
    words = Header(relpath, charset).encode(linesep="").replace("\n", "")

    assert words.startswith("=?")
    assert decode_handle(words, item_identifier(relpath)) == relpath


@given(RELPATHS, RELPATHS)
def test_a_handle_of_another_item_is_not_believed(relpath: str, other: str) -> None:
    if relpath != other:
        assert decode_handle(encode_handle(relpath), item_identifier(other)) is None


@pytest.mark.parametrize("relpath", ["data", "abcd", "AAAA", "YWJj"])
def test_a_raw_handle_that_looks_like_base64_is_told_by_the_key(relpath: str) -> None:
    assert decode_handle(relpath, item_identifier(relpath)) == relpath
    decoded = base64.b64decode(relpath).decode("utf-8", "replace")
    assert decode_handle(encode_handle(decoded), item_identifier(decoded)) == decoded


@pytest.mark.parametrize(
    "handle",
    [
        "",
        "====",
        "ü",
        "\u20ac",
        "not base64!",
        "/w==",
        "=?utf-8?b?x?=",
        "=?nocharset?q?x?=",
        "=?utf-8?b?/w==?=",
    ],
)
def test_a_broken_handle_is_no_relpath(handle: str) -> None:
    assert decode_handle(handle, item_identifier("x")) is None


@pytest.mark.parametrize(
    "relpath", ["a", "a/b", ".hidden", "..a", "a..", "a/..b/c", "ü +%", "a//b", "x" * MAX_RELPATH_BYTES]
)
def test_a_relpath_inside_the_dataset_is_kept(relpath: str) -> None:
    assert check_relpath(relpath) == relpath


@pytest.mark.parametrize(
    ("relpath", "said"),
    [
        ("", "empty"),
        ("/etc/passwd", "absolute"),
        ("a\x00b", "NUL"),
        ("..", "leaves"),
        ("../x", "leaves"),
        ("a/../../x", "leaves"),
        ("a/..", "leaves"),
        ("\ud800", "not valid Unicode"),
        ("x" * (MAX_RELPATH_BYTES + 1), "1401 bytes"),
        ("ü" * 701, "1402 bytes"),
    ],
)
def test_a_relpath_that_cannot_be_written_is_refused(relpath: str, said: str) -> None:
    with pytest.raises(UnsafePath, match=said):
        check_relpath(relpath)


@pytest.mark.parametrize(
    "relpaths",
    [
        [],
        ["a", "ab", "a.txt", "b/a", "b/c/a"],
        [" ", "a b/%2F", "..a", "a\\b", "-", "ü/" * 100 + "x"],
        ["x" * 255, "ü" * 127 + "/x"],
    ],
)
def test_relpaths_that_a_directory_can_hold_pass(relpaths: list[str]) -> None:
    check_disk_relpaths(relpaths)


@pytest.mark.parametrize(
    ("relpaths", "said"),
    [
        (["a//b"], "'a//b' .has an empty or"),
        (["./a"], "segment"),
        (["a/."], "segment"),
        (["."], "segment"),
        (["a/"], "segment"),
        (["ok", "x" * 256], "a name above 255 bytes"),
        (["ü" * 128 + "/x"], "a name above 255 bytes"),
        (["a", "a/b"], "'a/b' .lies below 'a', which is a file"),
        (["a/b/c/d", "a/b"], "'a/b/c/d' .lies below 'a/b'"),
        (["../a"], "leaves"),
        ([f"{n}/" for n in range(7)], "'4/' and 2 more .has an empty"),
    ],
)
def test_relpaths_that_no_directory_can_hold_are_named(relpaths: list[str], said: str) -> None:
    with pytest.raises(UnsafePath, match=said):
        check_disk_relpaths(relpaths)


def test_the_longest_relpath_fits_the_metadata_of_s3() -> None:
    metadata = item_metadata("x" * MAX_RELPATH_BYTES, "0" * 32)

    assert sum(len(name) + len(value) for name, value in metadata.items()) <= 2048


@pytest.mark.parametrize("prefix", ["", "u/alice/", "a/", "ü/", ".hidden/", "a b/"])
def test_a_prefix_of_whole_segments_is_safe(prefix: str) -> None:
    assert is_safe_prefix(prefix)


@pytest.mark.parametrize(
    "prefix",
    ["u/alice", "/", "/a/", "a//", "a//b/", "./", "a/./", "../", "a/../b/", "dtool-x/", "a\n/", "\x7f/"],
)
def test_other_prefixes_are_not_safe(prefix: str) -> None:
    assert not is_safe_prefix(prefix)
