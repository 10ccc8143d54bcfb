"""Reading through the broker: everything upstream ever wrote, and the truth about the bytes."""

import time
from pathlib import Path

import dtoolcore
import pytest

from dtool_s3.blocking import run
from dtool_s3.errors import (
    AccessDenied,
    DatasetMissing,
    FrozenDataset,
    ItemMissing,
    NotSupported,
    SourceDamaged,
    SourceNotFrozen,
    UnsafePath,
)
from dtool_s3.layout import item_identifier, item_metadata
from dtool_s3.storagebroker import S3StorageBroker
from dtool_s3.store.faults import Fault
from dtool_s3.store.memory import MemoryServer
from dtool_s3.store.memory_bucket import plain_etag
from tests.support.broker import Bench
from tests.support.datasets import ITEMS, UUID, DatasetFixture, write_dataset

BUCKET = "lab-data"
FROZEN = DatasetFixture(prefix="u/alice/")
LAYOUT = FROZEN.layout
A = item_identifier("a.txt")
ITEM = LAYOUT.item_key(A)


@pytest.fixture
def server() -> MemoryServer:
    server = MemoryServer()
    server.create_bucket(BUCKET)
    return server


@pytest.fixture
def bench(server: MemoryServer, tmp_path: Path) -> Bench:
    bench = Bench(server.store(BUCKET), tmp_path)
    run(write_dataset(bench.store, FROZEN))
    server.requests.clear()
    return bench


def damage(server: MemoryServer, body: bytes) -> None:
    server.write(BUCKET, ITEM, body, metadata=server.read(BUCKET, ITEM).info.metadata)


# Verification.


def test_handles_and_hashes_of_a_frozen_dataset_need_no_request_per_item(
    server: MemoryServer, bench: Bench
) -> None:
    manifest = bench.frozen().generate_manifest()

    assert {i["relpath"]: i["hash"] for i in manifest["items"].values()} == {
        relpath: plain_etag(body) for relpath, body in ITEMS.items()
    }
    assert not [r for r in server.requests if LAYOUT.data_prefix in r.key and r.operation != "list"]


def test_damage_of_equal_size_shows_in_the_hash(server: MemoryServer, bench: Bench) -> None:
    damage(server, b"ALPHA")

    assert bench.broker().get_hash("a.txt") == plain_etag(b"ALPHA")


def test_an_etag_that_is_no_md5_is_settled_by_reading(server: MemoryServer, bench: Bench) -> None:
    upload = run(bench.store.start_upload(ITEM, item_metadata("a.txt", plain_etag(b"alpha"))))
    part = run(bench.store.put_part(upload, 1, b"alpha"))
    run(bench.store.complete_upload(upload, [part]))

    assert bench.broker().get_hash("a.txt") == plain_etag(b"alpha")


def test_extra_and_missing_items_of_a_frozen_dataset_show(server: MemoryServer, bench: Bench) -> None:
    extra = LAYOUT.item_key(item_identifier("late/é.txt"))
    server.write(BUCKET, extra, b"x", metadata=item_metadata("late/é.txt", plain_etag(b"x")))
    server.write(BUCKET, f"{LAYOUT.data_prefix}stray", b"xyz")
    server.remove(BUCKET, ITEM)

    broker = bench.broker()
    sizes = {handle: broker.get_size_in_bytes(handle) for handle in broker.iter_item_handles()}

    assert sizes == {"sub/b.csv": 4, "ünï/c.bin": 200, "late/é.txt": 1, "stray": 3}
    with pytest.raises(ItemMissing):
        broker.get_hash("a.txt")


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"])
def test_times_are_utc_wherever_we_are(
    server: MemoryServer, bench: Bench, monkeypatch: pytest.MonkeyPatch, zone: str
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()

    seconds = bench.broker().get_utc_timestamp("a.txt")

    monkeypatch.undo()
    time.tzset()
    assert seconds == int(server.read(BUCKET, ITEM).info.last_modified.timestamp())


def test_a_manifest_with_another_hash_function_is_checked_with_it(bench: Bench) -> None:
    body = FROZEN.manifest().replace(b"md5sum_hexdigest", b"sha1sum_hexdigest")
    run(write_dataset(bench.store, DatasetFixture(prefix="u/alice/", manifest_body=body)))

    digest = bench.broker().get_hash("a.txt")

    assert digest == "be76331b95dfc399cd776d2fc68021e0db03cc4f"
    with pytest.raises(SourceDamaged):
        bench.frozen().item_content_abspath(A)


def test_an_unknown_hash_function_is_refused(bench: Bench) -> None:
    body = FROZEN.manifest().replace(b"md5sum_hexdigest", b"crc32")
    run(write_dataset(bench.store, DatasetFixture(prefix="u/alice/", manifest_body=body)))

    with pytest.raises(NotSupported, match="crc32"):
        bench.broker().get_hash("a.txt")


def test_a_manifest_that_leaves_the_dataset_is_refused(bench: Bench) -> None:
    body = FROZEN.manifest().replace(b'"a.txt"', b'"../a.txt"')
    run(write_dataset(bench.store, DatasetFixture(prefix="u/alice/", manifest_body=body)))

    with pytest.raises(UnsafePath):
        bench.broker().get_manifest()


def test_items_of_a_proto_dataset_of_any_era_are_listed(server: MemoryServer, bench: Bench) -> None:
    run(write_dataset(bench.store, DatasetFixture(prefix="u/alice/", is_frozen=False)))
    server.write(BUCKET, ITEM, b"alpha", metadata={"handle": "a.txt"})

    broker = bench.broker()

    assert set(broker.iter_item_handles()) == set(ITEMS)
    assert broker.get_hash("a.txt") == plain_etag(b"alpha")


# Local files.


def test_an_item_is_fetched_once_and_keeps_its_extension(server: MemoryServer, bench: Bench) -> None:
    frozen = bench.frozen()
    path = Path(frozen.item_content_abspath(A))
    bench.frozen().item_content_abspath(A)
    frozen.item_content_abspath(A)

    assert path == bench.directory / "cache" / UUID / f"{A}.txt"
    assert path.read_bytes() == b"alpha"
    assert sum(r.key == ITEM for r in server.requests) == 1


@pytest.mark.parametrize("tampered", [b"ALPHA", b"alp", b""])
def test_a_cached_file_that_is_not_the_item_is_replaced(bench: Bench, tampered: bytes) -> None:
    path = Path(bench.frozen().item_content_abspath(A))
    path.write_bytes(tampered)

    assert Path(bench.frozen().item_content_abspath(A)).read_bytes() == b"alpha"


def test_a_file_touched_after_it_was_found_right_is_read_again(bench: Bench) -> None:
    frozen = bench.frozen()
    path = Path(frozen.item_content_abspath(A))
    path.write_bytes(b"ALPHA")

    assert Path(frozen.item_content_abspath(A)).read_bytes() == b"alpha"


def test_damaged_bytes_are_never_handed_out(server: MemoryServer, bench: Bench) -> None:
    damage(server, b"ALPHA")

    with pytest.raises(SourceDamaged, match=r"a\.txt"):
        bench.frozen().item_content_abspath(A)

    assert [p for p in (bench.directory / "cache").rglob("*") if p.is_file()] == []


def test_a_missing_item_is_named(server: MemoryServer, bench: Bench) -> None:
    server.remove(BUCKET, ITEM)

    with pytest.raises(ItemMissing, match=r"a\.txt"):
        bench.frozen().item_content_abspath(A)


def test_an_extension_that_is_none_is_left_out(bench: Bench) -> None:
    relpath = f"a.{'x' * 300}"
    run(write_dataset(bench.store, DatasetFixture(prefix="u/alice/", items={relpath: b"x"})))

    assert bench.frozen().item_content_abspath(item_identifier(relpath)).endswith(item_identifier(relpath))


def test_an_identifier_that_is_not_in_the_manifest_is_a_key_error(bench: Bench) -> None:
    with pytest.raises(dtoolcore.DtoolCoreKeyError):
        bench.broker().get_item_abspath("../../etc/passwd")


def test_items_of_a_proto_dataset_are_not_handed_out(bench: Bench) -> None:
    run(write_dataset(bench.store, DatasetFixture(prefix="u/alice/", is_frozen=False)))

    with pytest.raises(SourceNotFrozen):
        bench.broker().get_item_abspath(A)


# README, overlays, annotations, tags.


def test_names_with_dots_and_directory_markers_do_no_harm(server: MemoryServer, bench: Bench) -> None:
    frozen = bench.frozen()
    frozen.put_annotation("v1.2", {"a": 1})
    frozen.put_tag("v1.2")
    frozen.put_overlay("my.key", dict.fromkeys(frozen.identifiers, 1))
    for prefix in (LAYOUT.annotations_prefix, LAYOUT.tags_prefix, LAYOUT.overlays_prefix):
        server.write(BUCKET, prefix, b"")
        server.write(BUCKET, f"{prefix}deeper/x.json", b"")

    frozen = bench.frozen()
    assert frozen.list_annotation_names() == ["project", "v1.2"]
    assert frozen.get_annotation("v1.2") == {"a": 1}
    assert sorted(frozen.list_tags()) == ["blue", "v1.2"]
    assert frozen.list_overlay_names() == ["my.key"]


def test_tags_and_annotations_can_be_removed(bench: Bench) -> None:
    frozen = bench.frozen()

    frozen.delete_tag("blue")
    frozen.delete_annotation("project")

    assert (frozen.list_tags(), frozen.list_annotation_names()) == ([], [])


def test_a_new_readme_of_a_frozen_dataset_keeps_the_old_one(server: MemoryServer, bench: Bench) -> None:
    before = time.time()

    bench.frozen().put_readme("description: better\n")

    (key,) = bench.broker()._list_historical_readme_keys()
    assert bench.broker().get_readme_content() == "description: better\n"
    assert server.read(BUCKET, key).body == b"description: a sample\n"
    assert before <= float(key.rpartition("-")[2]) <= time.time()


def test_a_readme_that_cannot_be_kept_is_not_replaced(server: MemoryServer, bench: Bench) -> None:
    server.faults.append(Fault("copy", f"{LAYOUT.readme_key}-*", error=AccessDenied("403")))

    with pytest.raises(AccessDenied):
        bench.frozen().put_readme("description: better\n")

    assert bench.broker().get_readme_content() == "description: a sample\n"


def test_a_frozen_readme_is_not_replaced_without_a_trace(bench: Bench) -> None:
    with pytest.raises(FrozenDataset):
        bench.broker().put_readme("description: better\n")


def test_a_missing_readme_is_empty(server: MemoryServer, bench: Bench) -> None:
    server.remove(BUCKET, LAYOUT.readme_key)

    assert bench.broker().get_readme_content() == ""


@pytest.mark.parametrize(
    "key", [ITEM, LAYOUT.manifest_key, LAYOUT.admin_metadata_key, LAYOUT.registration_key]
)
def test_what_freezing_protects_cannot_be_reached_by_key(
    server: MemoryServer, bench: Bench, key: str
) -> None:
    with pytest.raises(NotSupported):
        bench.broker().put_text(key, "x")
    with pytest.raises(NotSupported):
        bench.broker().delete_key(key)

    assert not [r for r in server.requests if r.operation in {"put", "delete"}]


@pytest.mark.parametrize(
    "key",
    [
        "u/bob/00000000-0000-4000-8000-000000000000/dtool",
        "dtool-00000000-0000-4000-8000-000000000000",
        f"{LAYOUT.root[:-1]}-other/tags/x",
        f"{LAYOUT.root}tags/../../x",
        LAYOUT.root,
    ],
)
def test_no_key_outside_the_dataset_is_reached(server: MemoryServer, bench: Bench, key: str) -> None:
    with pytest.raises(NotSupported):
        bench.broker().put_text(key, "x")
    with pytest.raises(NotSupported):
        bench.broker().delete_key(key)
    with pytest.raises(NotSupported):
        bench.broker().generate_signed_write_url(key)

    assert not [r for r in server.requests if r.operation in {"put", "delete"}]


# Listing.


def test_all_datasets_are_listed_whatever_else_lies_there(
    server: MemoryServer, bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    proto = DatasetFixture(uuid="2c10766c-c4a9-4a4f-9b5d-0d5f0e1c7a11", is_frozen=False)
    broken = DatasetFixture(uuid="3c10766c-c4a9-4a4f-9b5d-0d5f0e1c7a11")
    for dataset in (proto, broken):
        run(write_dataset(bench.store, dataset))
    server.write(BUCKET, broken.layout.admin_metadata_key, b"{}", metadata={"type": "dataset"})
    for key in ("dtool.json", "dtool-readme.txt", "dtools/x", "dtool-4c10766c-c4a9-4a4f-9b5d-0d5f0e1c7a11"):
        server.write(BUCKET, key, b"")

    uris = S3StorageBroker(f"s3://{BUCKET}", store=bench.store).list_uris()

    assert sorted(uris) == [f"s3://{BUCKET}/{UUID}", f"s3://{BUCKET}/{proto.uuid}"]
    assert broken.uuid in caplog.text


def test_a_bucket_that_cannot_be_listed_is_an_error(server: MemoryServer) -> None:
    server.faults.append(Fault("list", error=AccessDenied("403")))

    with pytest.raises(AccessDenied):
        S3StorageBroker(f"s3://{BUCKET}", store=server.store(BUCKET)).list_uris()


def test_a_dataset_is_no_place_to_list(server: MemoryServer, bench: Bench) -> None:
    with pytest.raises(DatasetMissing):
        bench.broker().list_uris()

    assert server.requests == []
