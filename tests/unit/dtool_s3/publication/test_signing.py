"""Signed URLs: what they permit, what they are refused for, and the names that dserver's plugin asks for."""

from pathlib import Path
from typing import cast

import pytest

from dtool_s3.blocking import run
from dtool_s3.errors import (
    AccessDenied,
    BadDigest,
    DatasetMissing,
    FrozenDataset,
    NotFound,
    NotSupported,
    SettingsError,
    SourceNotFrozen,
    UnsafePath,
)
from dtool_s3.layout import item_identifier
from dtool_s3.publication.signing import MAX_EXPIRY_SECONDS
from dtool_s3.storagebroker import S3StorageBroker
from dtool_s3.store.memory import MemoryServer
from dtool_s3.store.protocol import Store
from tests.support.broker import Bench
from tests.support.datasets import ITEMS, DatasetFixture, md5, write_dataset

BUCKET = "lab-data"
LAYOUT = DatasetFixture(prefix="u/alice/").layout


@pytest.fixture
def server() -> MemoryServer:
    server = MemoryServer()
    server.create_bucket(BUCKET)
    return server


@pytest.fixture
def bench(server: MemoryServer, tmp_path: Path) -> Bench:
    return Bench(server.store(BUCKET), tmp_path)


@pytest.fixture
def proto(bench: Bench) -> S3StorageBroker:
    run(write_dataset(bench.store, DatasetFixture(prefix="u/alice/", is_frozen=False, items={})))
    return bench.broker()


@pytest.fixture
def frozen(bench: Bench) -> S3StorageBroker:
    overlays = {"my.key": dict.fromkeys(map(item_identifier, ITEMS), 1)}
    run(write_dataset(bench.store, DatasetFixture(prefix="u/alice/", overlays=overlays)))
    return bench.broker()


def test_a_dataset_is_read_by_the_urls_under_upstreams_names(
    server: MemoryServer, frozen: S3StorageBroker
) -> None:
    signed = frozen.generate_dataset_signed_urls(expiry_seconds=60)

    assert set(signed) == {
        *("admin_metadata_url", "manifest_url", "readme_url"),
        *("item_urls", "overlay_urls", "annotation_urls", "tags"),
    }
    assert server.receive("GET", signed["readme_url"]) == b"description: a sample\n"
    assert server.receive("GET", signed["manifest_url"]) == DatasetFixture().manifest()
    assert b'"dataset"' in server.receive("GET", signed["admin_metadata_url"])
    assert server.receive("GET", signed["item_urls"][item_identifier("a.txt")]) == b"alpha"
    assert len(signed["item_urls"]) == len(ITEMS)
    assert server.receive("GET", signed["annotation_urls"]["project"]) == b'"atlas"'
    assert (list(signed["overlay_urls"]), signed["tags"]) == (["my.key"], ["blue"])


def test_a_dataset_that_may_still_change_is_not_signed(proto: S3StorageBroker) -> None:
    with pytest.raises(SourceNotFrozen):
        proto.generate_dataset_signed_urls()


def test_an_item_is_written_once_its_headers_and_bytes_are_right(
    server: MemoryServer, proto: S3StorageBroker
) -> None:
    url, headers = proto.generate_signed_item_write_url("ü/a.txt", md5(b"alpha"), 60)

    assert set(headers) == {"Content-MD5", "x-amz-meta-handle", "x-amz-meta-checksum"}
    with pytest.raises(BadDigest):
        server.receive("PUT", url, headers=headers, body=b"other")
    with pytest.raises(AccessDenied):
        server.receive("PUT", url, body=b"alpha")
    server.receive("PUT", url, headers=headers, body=b"alpha")
    handle = next(iter(proto.iter_item_handles()))
    assert (handle, proto.get_hash(handle)) == ("ü/a.txt", md5(b"alpha"))


def test_what_was_uploaded_by_urls_is_frozen_by_the_manifest_of_who_uploaded(
    server: MemoryServer, proto: S3StorageBroker
) -> None:
    for relpath, body in ITEMS.items():
        url, headers = proto.generate_signed_item_write_url(relpath, md5(body))
        server.receive("PUT", url, headers=headers, body=body)
    readme = proto.generate_signed_write_url(proto.get_readme_key())
    server.receive("PUT", readme, body=b"description: signed\n")
    manifest = {
        "dtoolcore_version": "3.19.0",
        "hash_function": "md5sum_hexdigest",
        "items": {
            item_identifier(relpath): {
                "relpath": relpath, "size_in_bytes": len(body), "hash": md5(body), "utc_timestamp": 1.0
            }
            for relpath, body in ITEMS.items()
        },
    }  # fmt: skip

    proto.put_manifest(manifest)
    proto.put_admin_metadata(proto.get_admin_metadata() | {"type": "dataset", "frozen_at": 2.0})

    assert proto.get_admin_metadata()["type"] == "dataset"
    assert proto.get_readme_content() == "description: signed\n"


@pytest.mark.parametrize(
    ("relpath", "digest", "expiry", "error"),
    [
        ("../a.txt", md5(b""), 60, UnsafePath),
        ("a.txt", "no digest", 60, SettingsError),
        ("a.txt", md5(b"").upper(), 60, SettingsError),
        ("a.txt", "00", 60, SettingsError),
        ("a.txt", md5(b""), MAX_EXPIRY_SECONDS + 1, SettingsError),
        ("a.txt", md5(b""), 0, SettingsError),
    ],
)
def test_a_url_to_write_an_item_is_refused(
    proto: S3StorageBroker, relpath: str, digest: str, expiry: int, error: type[Exception]
) -> None:
    with pytest.raises(error):
        proto.generate_signed_item_write_url(relpath, digest, expiry)


def test_no_url_is_given_out_to_write_an_item_of_a_frozen_dataset(frozen: S3StorageBroker) -> None:
    with pytest.raises(FrozenDataset):
        frozen.generate_signed_item_write_url("a.txt", md5(b"alpha"))


def test_no_url_is_given_out_to_write_an_item_of_no_dataset(bench: Bench) -> None:
    with pytest.raises(DatasetMissing):
        bench.broker().generate_signed_item_write_url("a.txt", md5(b"alpha"))


@pytest.mark.parametrize(
    "key", [LAYOUT.item_key("x"), LAYOUT.manifest_key, LAYOUT.admin_metadata_key, LAYOUT.registration_key]
)
def test_no_url_is_given_out_to_write_what_is_no_text(proto: S3StorageBroker, key: str) -> None:
    with pytest.raises(NotSupported):
        proto.generate_signed_write_url(key)


def test_a_url_to_read_one_key_lasts_as_long_as_asked(server: MemoryServer, frozen: S3StorageBroker) -> None:
    url = frozen.generate_signed_read_url(frozen.data_key_prefix + item_identifier("a.txt"), 60)

    assert server.receive("GET", url) == b"alpha"
    with pytest.raises(SettingsError, match="7 days"):
        frozen.generate_signed_read_url(frozen.get_readme_key(), MAX_EXPIRY_SECONDS + 1)
    with pytest.raises(NotFound):
        server.receive("GET", frozen.generate_signed_read_url(LAYOUT.item_key("none")))


def test_the_broker_publishes_and_takes_back(server: MemoryServer, frozen: S3StorageBroker) -> None:
    url = frozen.http_enable()
    assert b"item_urls" in server.receive("GET", f"{url}/http_manifest.json")

    frozen.http_disable()

    with pytest.raises(AccessDenied):
        server.receive("GET", f"{url}/http_manifest.json")


def test_a_store_without_urls_says_so(bench: Bench) -> None:
    plain = cast(Store, object())
    broker = S3StorageBroker(bench.uri, store=plain)

    assert (bench.broker().supports_signing(), broker.supports_signing()) == (True, False)
    with pytest.raises(NotSupported):  # an AttributeError would read as if the class could not publish
        broker.http_enable()
