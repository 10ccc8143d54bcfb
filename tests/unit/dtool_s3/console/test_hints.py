"""What a failed command advises: it fits what happened, and is nothing that fails by itself."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dtool_s3.console.hints import Asked, hint
from dtool_s3.errors import AccessDenied, BucketUnreachable, ItemMissing, SourceDamaged
from dtool_s3.layout import DatasetLayout
from dtool_s3.store.faults import Fault
from tests.support.datasets import ITEMS, UUID, DatasetFixture
from tests.support.two_buckets import TwoBuckets

if TYPE_CHECKING:
    from tests.unit.dtool_s3.console.conftest import Ran

Run = Callable[..., "Ran"]
Write = Callable[..., DatasetLayout]

URI = f"s3://source/{UUID}"
INGEST = ("ingest", "s3://source/run-17/", "s3://target", "--name", "run-17")


@pytest.mark.parametrize("code", ["EndpointConnectionError", "SSLError", "ConnectTimeoutError"])
def test_who_cannot_connect_is_told_to_look_at_the_endpoint(code: str) -> None:
    told = hint(BucketUnreachable("no answer", code=code))

    assert "DTOOL_S3_ENDPOINT_<bucket>" in told
    assert "http or https" in told
    assert "DTOOL_S3_CA_BUNDLE_<bucket>" in told


def test_other_temporary_failures_are_tried_again() -> None:
    assert hint(BucketUnreachable("no answer", code="503")).startswith("try the same again")


def test_directory_markers_lead_to_the_option_and_to_no_uuid_to_go_on_with(
    run: Run, buckets: TwoBuckets
) -> None:
    buckets.server.write("source", "run-17/", b"")

    ran = run(*INGEST)

    assert ran.code == 1
    assert "--skip-markers" in ran.err
    assert "--uuid" not in ran.err
    assert len(ran.err.splitlines()) == 1


def test_an_interrupted_ingestion_says_with_which_uuid_it_goes_on(run: Run, buckets: TwoBuckets) -> None:
    buckets.server.write("source", "run-17/a.txt", b"alpha")
    buckets.server.faults.append(Fault("copy", hook=lambda: signal.raise_signal(signal.SIGINT)))

    ran = run(*INGEST)

    said = ran.err.splitlines()[-1]
    assert ran.code == 130
    assert said.endswith(", it goes on where it was")
    uuid = said.partition("--uuid ")[2].partition(",")[0]
    assert f"target/u/alice/{uuid}/dtool" in [f"target/{key}" for key in buckets.list_keys()]
    buckets.server.faults.clear()
    assert run(*INGEST, "--uuid", uuid).out == f"s3://target/{uuid}\n"


def test_another_dataset_with_the_same_uuid_is_not_to_be_cleaned_up(run: Run, write: Write) -> None:
    write(DatasetFixture())
    write(DatasetFixture(prefix="u/alice/", items={"other.txt": b"other"}), "target")

    ran = run("cp", URI, "s3://target")

    assert ran.code == 6
    assert "frozen already, with another manifest (the datasets differ" in ran.err
    assert "nothing was written" in ran.err
    assert "--remove-extra" not in ran.err


def test_foreign_keys_of_a_proto_dataset_lead_to_the_option_that_removes_them(
    run: Run, write: Write, buckets: TwoBuckets
) -> None:
    layout = write(DatasetFixture(is_frozen=False))
    buckets.server.write("source", f"{layout.data_prefix}thumbs.db", b"!")

    assert "`dtool-s3 freeze --remove-extra`" in run("freeze", URI).err


@pytest.mark.parametrize("kind", [SourceDamaged, ItemMissing])
@pytest.mark.parametrize("source", ["file:///data/wheat", "wheat"])
def test_damage_in_a_directory_leads_to_a_command_that_reads_directories(
    kind: type[Exception], source: str
) -> None:
    told = hint(kind("x"), Asked("cp", source))

    assert told.startswith(f"`dtool verify --full {source}`")


def test_a_directory_without_dataset_is_not_looked_for_in_a_bucket(run: Run, tmp_path: Path) -> None:
    ran = run("cp", str(tmp_path), "s3://target")

    assert ran.code == 4
    assert "check the path" in ran.err
    assert "dtool-s3 ls" not in ran.err


def test_a_proto_dataset_is_to_be_frozen_before_it_is_verified(run: Run, write: Write) -> None:
    write(DatasetFixture(is_frozen=False))

    ran = run("verify", URI)

    assert ran.code == 6
    assert ran.err.startswith("dtool-s3: SourceNotFrozen: ")
    assert "`dtool-s3 freeze`" in ran.err


def test_a_directory_to_copy_to_that_is_not_there_is_named(run: Run, write: Write, tmp_path: Path) -> None:
    write(DatasetFixture())
    missing = tmp_path / "nodir"

    ran = run("--json", "cp", URI, str(missing))

    assert ran.code == 4
    assert str(missing) in json.loads(ran.out)["error"]["message"]
    assert not missing.exists()


def test_a_file_where_a_directory_is_meant_is_named(run: Run, write: Write, tmp_path: Path) -> None:
    write(DatasetFixture())
    (tmp_path / "file").write_bytes(b"")

    ran = run("cp", URI, str(tmp_path / "file"))

    assert ran.code == 4
    assert f"'{tmp_path / 'file'}' is no directory" in ran.err


@pytest.mark.parametrize("paths", [(URI, "there"), (URI, "."), ("there", "s3://target")])
def test_a_working_directory_that_was_deleted_is_named(
    run: Run, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, paths: tuple[str, str]
) -> None:
    write(DatasetFixture())
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    monkeypatch.setenv("PWD", str(gone))
    gone.rmdir()

    ran = run("cp", *paths)

    assert ran.code == 4
    assert f"working directory '{gone}' was deleted" in ran.err


def test_what_acls_do_not_allow_has_no_second_advice_that_contradicts_the_first(
    run: Run, write: Write, buckets: TwoBuckets, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(DatasetFixture(items=ITEMS))

    async def refuse(*_: object, **__: object) -> bytes:
        raise AccessDenied("no")

    monkeypatch.setattr("dtool_s3.store.memory_store.MemoryStore.fetch_unsigned", refuse, raising=True)
    ran = run("publish", URI)

    assert ran.code == 5
    assert "although the server took the ACLs" in ran.err
    assert "the keys are known but may not do this" not in ran.err
