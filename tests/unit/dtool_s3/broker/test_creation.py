"""A dataset begins where nothing is, and what is frozen is never undone."""

from pathlib import Path
from typing import Any

import pytest

from dtool_s3.blocking import run
from dtool_s3.errors import (
    AccessDenied,
    BucketUnreachable,
    DatasetMissing,
    FrozenDataset,
    InvalidAdminMetadata,
    InvalidURI,
    SettingsError,
    StorageError,
    StoreFull,
    UUIDTaken,
)
from dtool_s3.layout import DatasetLayout
from dtool_s3.storagebroker import S3StorageBroker
from dtool_s3.store.faults import Fault
from dtool_s3.store.memory import MemoryServer
from tests.support.broker import Bench
from tests.support.datasets import UUID, DatasetFixture, write_dataset

BUCKET = "lab-data"
LAYOUT = DatasetLayout("u/alice/", UUID)
WRITES = [LAYOUT.registration_key, LAYOUT.structure_key, LAYOUT.dtool_readme_key, LAYOUT.admin_metadata_key]


@pytest.fixture
def server() -> MemoryServer:
    server = MemoryServer()
    server.create_bucket(BUCKET)
    return server


@pytest.fixture
def bench(server: MemoryServer, tmp_path: Path) -> Bench:
    return Bench(server.store(BUCKET), tmp_path)


def write(bench: Bench, dataset: DatasetFixture) -> None:
    run(write_dataset(bench.store, dataset))


def content(server: MemoryServer) -> dict[str, Any]:
    return {key: server.read(BUCKET, key) for key in server.keys(BUCKET)}


def test_the_constructor_makes_no_request(server: MemoryServer, bench: Bench) -> None:
    bench.broker()

    assert server.requests == []


def test_creation_registers_first_and_describes_itself_last(server: MemoryServer, bench: Bench) -> None:
    bench.proto().create()

    assert [r.key for r in server.requests if r.operation == "put"] == WRITES
    assert server.read(BUCKET, LAYOUT.registration_key).body == b"u/alice/"
    assert server.read(BUCKET, LAYOUT.structure_key).body == LAYOUT.structure_document()
    assert bench.broker().get_admin_metadata()["type"] == "protodataset"


@pytest.mark.parametrize("key", WRITES)
@pytest.mark.parametrize("error", [AccessDenied("403"), StoreFull("507"), BucketUnreachable("503")])
def test_a_creation_that_fails_anywhere_raises_and_can_be_repeated(
    server: MemoryServer, bench: Bench, key: str, error: StorageError
) -> None:
    server.faults.append(Fault("put", key, error=error, times=9))

    with pytest.raises(type(error)):
        bench.proto().create()
    assert not bench.broker().has_admin_metadata()
    server.faults.clear()
    bench.proto().create()

    assert bench.broker().get_admin_metadata()["type"] == "protodataset"


def test_creating_over_a_frozen_dataset_changes_nothing(server: MemoryServer, bench: Bench) -> None:
    write(bench, DatasetFixture(prefix="u/alice/"))
    before = content(server)

    with pytest.raises(FrozenDataset):
        bench.broker().create_structure()

    assert content(server) == before


def test_creating_over_a_proto_dataset_changes_nothing(server: MemoryServer, bench: Bench) -> None:
    write(bench, DatasetFixture(prefix="u/alice/", is_frozen=False))
    before = content(server)

    with pytest.raises(UUIDTaken, match="resume"):
        bench.broker().create_structure()

    assert content(server) == before


@pytest.mark.parametrize("prefix", ["", "u/bob/"])
def test_creating_what_is_registered_elsewhere_changes_nothing(
    server: MemoryServer, bench: Bench, prefix: str
) -> None:
    write(bench, DatasetFixture(prefix=prefix))
    before = content(server)

    with pytest.raises(UUIDTaken):
        bench.broker().create_structure()

    assert content(server) == before


def test_an_unsafe_prefix_is_refused_before_any_request(server: MemoryServer, tmp_path: Path) -> None:
    bench = Bench(server.store(BUCKET), tmp_path, prefix="dtool/")

    with pytest.raises(SettingsError, match="prefix"):
        bench.broker().create_structure()

    assert server.requests == []


def test_somebody_elses_name_in_any_script_can_create(bench: Bench) -> None:
    broker = bench.broker()
    broker.create_structure()

    broker.put_admin_metadata(bench.admin_metadata(creator_username="Ólavur"))

    assert bench.broker().get_admin_metadata()["creator_username"] == "Ólavur"


def test_a_frozen_dataset_never_becomes_a_proto_dataset_again(server: MemoryServer, bench: Bench) -> None:
    write(bench, DatasetFixture(prefix="u/alice/"))
    before = content(server)

    with pytest.raises(FrozenDataset):
        bench.broker().put_admin_metadata(DatasetFixture(is_frozen=False).admin())

    assert content(server) == before


def test_a_frozen_dataset_may_get_another_name(server: MemoryServer, bench: Bench) -> None:
    write(bench, DatasetFixture(prefix="u/alice/"))

    bench.frozen().update_name("better")

    assert bench.broker().get_admin_metadata() == {**DatasetFixture().admin(), "name": "better"}


@pytest.mark.parametrize("field", ["creator_username", "created_at", "frozen_at", "dtoolcore_version"])
def test_nothing_else_of_a_frozen_dataset_may_change(server: MemoryServer, bench: Bench, field: str) -> None:
    write(bench, DatasetFixture(prefix="u/alice/"))
    before = content(server)

    with pytest.raises(FrozenDataset):
        bench.broker().put_admin_metadata({**DatasetFixture().admin(), field: "1.0"})

    assert content(server) == before


def test_metadata_of_another_uuid_are_refused(bench: Bench) -> None:
    broker = bench.broker()
    broker.create_structure()

    with pytest.raises(InvalidAdminMetadata):
        broker.put_admin_metadata(bench.admin_metadata(uuid="00000000-0000-4000-8000-000000000000"))


def test_a_dataset_that_is_not_there_cannot_be_frozen(server: MemoryServer, bench: Bench) -> None:
    with pytest.raises(DatasetMissing):
        bench.broker().put_admin_metadata(DatasetFixture().admin())

    assert server.keys(BUCKET) == []


def test_what_is_not_there_is_no_dataset(bench: Bench) -> None:
    assert not bench.broker().has_admin_metadata()
    with pytest.raises(DatasetMissing):
        bench.broker().get_admin_metadata()


@pytest.mark.parametrize("key", [LAYOUT.registration_key, LAYOUT.admin_metadata_key])
@pytest.mark.parametrize("error", [AccessDenied("403"), BucketUnreachable("503")])
def test_an_answer_that_says_nothing_is_no_absence(
    server: MemoryServer, bench: Bench, key: str, error: StorageError
) -> None:
    write(bench, DatasetFixture(prefix="u/bob/"))
    server.faults.append(Fault("get", f"*{key[-40:]}", error=error))

    with pytest.raises(type(error)):
        bench.broker().has_admin_metadata()


@pytest.mark.parametrize("prefix", ["", "u/bob/"])
def test_the_registered_prefix_counts_not_the_configured_one(bench: Bench, prefix: str) -> None:
    write(bench, DatasetFixture(prefix=prefix))

    assert bench.broker().get_readme_key() == f"{prefix}{UUID}/README.yml"


def test_data_under_a_prefix_without_slash_are_found(bench: Bench) -> None:
    write(bench, DatasetFixture(prefix="u/olssont"))

    assert bench.broker().get_readme_content() == "description: a sample\n"
    assert bench.broker().data_key_prefix == f"u/olssont{UUID}/data/"


def test_lost_headers_and_headers_in_another_case_are_tolerated(server: MemoryServer, bench: Bench) -> None:
    write(bench, DatasetFixture(prefix="u/alice/"))
    body = server.read(BUCKET, LAYOUT.admin_metadata_key).body
    server.write(BUCKET, LAYOUT.admin_metadata_key, body, metadata={"Type": "dataset"})

    assert bench.broker().get_admin_metadata() == DatasetFixture().admin()


def test_a_bucket_is_no_dataset(server: MemoryServer) -> None:
    broker = S3StorageBroker(f"s3://{BUCKET}", store=server.store(BUCKET))

    assert not broker.has_admin_metadata()
    with pytest.raises(InvalidURI):
        broker.get_readme_content()
    with pytest.raises(InvalidURI):
        broker.create_structure()


@pytest.mark.parametrize("base", [f"s3://{BUCKET}", f"s3://{BUCKET}/"])
def test_a_uri_is_bucket_and_uuid(base: str) -> None:
    uri = S3StorageBroker.generate_uri("name", UUID, base)

    assert uri == f"s3://{BUCKET}/{UUID}"
    assert S3StorageBroker(uri).generate_base_uri(uri) == f"s3://{BUCKET}"


def test_a_prefix_in_the_base_uri_is_refused() -> None:
    with pytest.raises(InvalidURI, match="prefix is never part"):
        S3StorageBroker.generate_uri("name", UUID, f"s3://{BUCKET}/u/alice")


def test_two_brokers_do_not_share_their_structure(bench: Bench, server: MemoryServer) -> None:
    first = bench.broker()
    S3StorageBroker(f"s3://{BUCKET}/00000000-0000-4000-8000-000000000000", store=server.store(BUCKET))

    first.create_structure()

    assert server.read(BUCKET, LAYOUT.structure_key).body == LAYOUT.structure_document()


def test_a_registration_key_is_not_lost_on_a_store_that_ignores_conditions() -> None:
    server = MemoryServer(honours_preconditions=False)
    server.create_bucket(BUCKET)
    server.write(BUCKET, LAYOUT.registration_key, b"u/bob/")
    broker = S3StorageBroker(f"s3://{BUCKET}/{UUID}", store=server.store(BUCKET), prefix="u/alice/")

    with pytest.raises(UUIDTaken):
        broker.create_structure()

    assert server.keys(BUCKET) == [LAYOUT.registration_key]
    assert server.read(BUCKET, LAYOUT.registration_key).body == b"u/bob/"
