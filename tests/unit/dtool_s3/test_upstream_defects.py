"""The defects of upstream's broker, one by one: which test shows that ours does not have it.

The numbers are those of the list of defects that the broker was built against (dtool-s3 0.14.1). Tests for
what no other module shows follow the table.
"""

import re
from pathlib import Path

import pytest

from dtool_s3.blocking import run
from dtool_s3.errors import AccessDenied, BucketUnreachable, ContentDiffers, ItemMissing, StorageError
from dtool_s3.layout import DatasetLayout, item_identifier
from dtool_s3.storagebroker import S3StorageBroker
from dtool_s3.store.faults import Fault
from dtool_s3.store.memory import MemoryServer
from dtool_s3.uri import DatasetURI, parse_uri
from tests.support.broker import Bench
from tests.support.datasets import ITEMS, UUID, DatasetFixture, write_dataset

HERE = Path(__file__).parent
DROP_IN = "../../contract/test_drop_in.py"
REMOVAL = "transfer/test_removal.py"
BUCKET = "lab-data"
FROZEN = DatasetFixture(prefix="u/alice/")
LAYOUT = FROZEN.layout

#: Defect, what it is, and the tests elsewhere (`file::test`) that show its absence.
TABLE: dict[int, tuple[str, list[str]]] = {
    1: (
        "a failed upload is silent, the dataset is frozen without the item",
        [
            "broker/test_items.py::test_a_failed_upload_raises_and_the_broker_refuses_to_freeze",
            "broker/test_items.py::test_every_step_of_freezing_refuses_after_a_failed_upload",
        ],
    ),
    2: (
        "an older object of the same name counts as success",
        ["broker/test_items.py::test_an_older_object_of_the_same_name_is_not_taken_for_success"],
    ),
    3: (
        "`verify --full` reads no content",
        [
            "broker/test_reading.py::test_damage_of_equal_size_shows_in_the_hash",
            "../../contract/test_upstream.py::test_we_notice_damage_that_upstream_calls_good",
        ],
    ),
    4: (
        "a file that changes between hashing and upload has the wrong hash",
        [
            "files/test_upload.py::test_a_file_that_changes_between_hashing_and_sending_is_not_stored",
            "files/test_upload.py::test_a_file_replaced_while_it_is_sent_is_stored_as_it_was_hashed",
        ],
    ),
    5: (
        "creating over a dataset unfreezes it, or registers another prefix",
        [
            "broker/test_creation.py::test_creating_over_a_frozen_dataset_changes_nothing",
            "broker/test_creation.py::test_creating_over_a_proto_dataset_changes_nothing",
            "broker/test_creation.py::test_creating_what_is_registered_elsewhere_changes_nothing",
            "broker/test_creation.py::test_a_frozen_dataset_never_becomes_a_proto_dataset_again",
        ],
    ),
    6: (
        "the cache hands out anything, and two processes trip over each other",
        [
            "files/test_cache.py::test_a_tampered_file_is_downloaded_again",
            "files/test_cache.py::test_a_uuid_that_is_none_never_becomes_a_path",
            "files/test_cache.py::test_processes_share_a_cache",
        ],
    ),
    7: (
        "freezing stops half-way; a dataset without README cannot be used",
        [
            "broker/test_freeze.py::test_what_cannot_be_frozen_is_refused_before_anything_is_written",
            "broker/test_freeze.py::test_a_freeze_that_fails_at_any_write_leaves_a_proto_and_can_be_repeated",
        ],
    ),
    8: (
        "any error means that there is no dataset",
        ["broker/test_creation.py::test_an_answer_that_says_nothing_is_no_absence"],
    ),
    9: (
        "fragments that stay behind are not told",
        ["broker/test_freeze.py::test_fragments_that_cannot_be_removed_do_not_undo_a_freeze"],
    ),
    10: ("times depend on the time zone", ["broker/test_reading.py::test_times_are_utc_wherever_we_are"]),
    11: (
        "one name with a dot makes a dataset unusable",
        [
            "broker/test_reading.py::test_names_with_dots_and_directory_markers_do_no_harm",
            "broker/test_freeze.py::test_a_frozen_dataset_has_manifest_overlays_and_no_fragments",
        ],
    ),
    12: (
        "directory markers break listings",
        [
            "broker/test_reading.py::test_names_with_dots_and_directory_markers_do_no_harm",
            "broker/test_freeze.py::test_directory_markers_do_not_matter",
        ],
    ),
    13: (
        "one foreign key breaks the listing of a bucket",
        ["broker/test_reading.py::test_all_datasets_are_listed_whatever_else_lies_there"],
    ),
    14: (
        "a prefix without slash runs into the UUID",
        [
            "test_configuration.py::test_the_prefix_gets_its_slash_and_the_buckets_own_wins",
            "broker/test_creation.py::test_data_under_a_prefix_without_slash_are_found",
        ],
    ),
    15: (
        "cached files have no extension",
        ["broker/test_reading.py::test_an_item_is_fetched_once_and_keeps_its_extension"],
    ),
    16: (
        "two brokers share one structure",
        ["broker/test_creation.py::test_two_brokers_do_not_share_their_structure"],
    ),
    17: (
        "older READMEs are looked for at AWS",
        [f"{DROP_IN}::test_historical_readmes_are_found_on_a_custom_endpoint"],
    ),
    18: (
        "config_path is ignored",
        ["test_configuration.py::test_the_file_given_by_path_is_honoured_for_every_value"],
    ),
    19: (
        "lost or renamed headers make a bucket unreadable",
        [
            "broker/test_creation.py::test_lost_headers_and_headers_in_another_case_are_tolerated",
            "broker/test_freeze.py::test_a_lost_checksum_is_replaced_by_reading",
        ],
    ),
    20: (
        "a name beyond ASCII leaves half a dataset",
        ["broker/test_creation.py::test_somebody_elses_name_in_any_script_can_create"],
    ),
    21: (
        "publishing prints a URL that does not answer",
        [
            "publication/test_publishing.py::test_a_server_that_ignores_acls_is_noticed",
            "publication/test_publishing.py::test_a_bucket_without_acls_is_told_what_to_do_instead",
            "../../contract/test_publishing.py::test_what_does_not_answer_is_not_called_published",
        ],
    ),
    22: (
        "a relpath leaves the dataset",
        [
            "files/test_upload.py::test_an_unsafe_path_is_refused_before_any_byte_moves",
            "broker/test_reading.py::test_a_manifest_that_leaves_the_dataset_is_refused",
        ],
    ),
    23: (
        "subclasses break, and write a version that readers misunderstand",
        [
            f"{DROP_IN}::test_a_subclass_without_our_constructor_creates_fills_freezes_and_reads",
            f"{DROP_IN}::test_a_subclass_with_a_version_of_its_own_writes_the_formats",
        ],
    ),
    24: (
        "removing forgets the prefix",
        [
            f"{REMOVAL}::test_a_proto_dataset_is_removed_with_its_registration_key_and_nothing_else",
        ],
    ),
    25: (
        "a path too long for its header is lost",
        ["test_layout.py::test_the_longest_relpath_fits_the_metadata_of_s3"],
    ),
}


@pytest.fixture
def server() -> MemoryServer:
    server = MemoryServer()
    server.create_bucket(BUCKET)
    return server


@pytest.fixture
def bench(server: MemoryServer, tmp_path: Path) -> Bench:
    return Bench(server.store(BUCKET), tmp_path)


def freeze_items(bench: Bench) -> None:
    proto = bench.proto()
    proto.create()
    for relpath, body in ITEMS.items():
        proto.put_item(bench.file(body), relpath)
        proto.add_item_metadata(relpath, "length", len(body))
    bench.proto().freeze()


def test_every_defect_is_answered_by_tests_that_exist() -> None:
    assert list(TABLE) == list(range(1, 26))
    for name in (name for _, names in TABLE.values() for name in names):
        path, _, test = name.partition("::")
        assert re.search(rf"def {test}\(", (HERE / path).read_text()), name


def test_1_an_item_that_is_gone_again_is_not_frozen(server: MemoryServer, bench: Bench) -> None:
    proto = bench.proto()
    proto.create()
    proto.put_item(bench.file(b"alpha"), "a.txt")
    manifest = proto.generate_manifest()
    server.remove(BUCKET, LAYOUT.item_key(item_identifier("a.txt")))

    with pytest.raises(ItemMissing, match=r"a\.txt"):
        bench.broker().put_manifest(manifest)

    assert LAYOUT.manifest_key not in server.keys(BUCKET)


def test_7_a_frozen_dataset_without_readme_is_read_and_gets_one(server: MemoryServer, bench: Bench) -> None:
    run(write_dataset(bench.store, DatasetFixture(prefix="u/alice/", readme=None)))
    assert bench.frozen().get_readme_content() == ""

    bench.frozen().put_readme("description: late\n")

    assert bench.frozen().get_readme_content() == "description: late\n"
    assert bench.broker()._list_historical_readme_keys() == []


@pytest.mark.parametrize("error", [AccessDenied("403"), BucketUnreachable("503")])
def test_8_handles_do_not_depend_on_what_the_structure_document_answers(
    server: MemoryServer, bench: Bench, error: StorageError
) -> None:
    run(write_dataset(bench.store, FROZEN))
    server.faults.append(Fault("*", LAYOUT.structure_key, error=error, times=None))

    assert set(bench.broker().iter_item_handles()) == set(ITEMS)


def test_13_a_prefix_that_starts_like_a_registration_key_is_no_dataset_to_list(
    server: MemoryServer, bench: Bench
) -> None:
    old = DatasetFixture(prefix="dtool-data/")
    run(write_dataset(bench.store, old))
    server.requests.clear()

    uris = S3StorageBroker(f"s3://{BUCKET}", store=bench.store).list_uris()

    assert uris == [f"s3://{BUCKET}/{UUID}"]
    assert not [r for r in server.requests if "/data/" in r.key]


def test_13_a_trailing_slash_names_the_dataset_and_not_the_bucket(bench: Bench) -> None:
    run(write_dataset(bench.store, FROZEN))

    broker = S3StorageBroker(f"s3://{BUCKET}/{UUID}/", store=bench.store)

    assert parse_uri(f"s3://{BUCKET}/{UUID}/") == DatasetURI(BUCKET, UUID)
    assert set(broker.iter_item_handles()) == set(ITEMS)


def test_19_the_items_of_a_frozen_dataset_need_no_headers(server: MemoryServer, bench: Bench) -> None:
    run(write_dataset(bench.store, FROZEN))
    for relpath, body in ITEMS.items():
        server.write(BUCKET, LAYOUT.item_key(item_identifier(relpath)), body)

    frozen = bench.frozen()

    assert {i["relpath"]: i["hash"] for i in frozen.generate_manifest()["items"].values()} == {
        i["relpath"]: i["hash"] for i in frozen._manifest["items"].values()
    }
    assert Path(frozen.item_content_abspath(item_identifier("a.txt"))).read_bytes() == b"alpha"


def test_19_a_text_that_is_none_is_named(server: MemoryServer, bench: Bench) -> None:
    run(write_dataset(bench.store, FROZEN))
    server.write(BUCKET, LAYOUT.readme_key, "ü".encode("latin-1"))

    with pytest.raises(ContentDiffers, match=r"README\.yml.*UTF-8"):
        bench.frozen().get_readme_content()


def test_cost_freezing_lists_nothing_but_the_dataset_and_deletes_once(
    server: MemoryServer, bench: Bench
) -> None:
    for number in range(50):
        server.write(BUCKET, f"{DatasetLayout('u/bob/', UUID).root}{number}", b"")

    freeze_items(bench)

    lists = [request.key for request in server.requests if request.operation == "list"]
    assert set(lists) == {LAYOUT.root}
    assert [r.operation for r in server.requests].count("delete_many") == 1
