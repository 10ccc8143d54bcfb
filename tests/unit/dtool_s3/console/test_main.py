"""Every command on buckets in memory: what it prints, for people and for programs, and its exit code."""

import io
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dtool_s3.errors import AccessDenied, BucketUnreachable
from dtool_s3.layout import DatasetLayout
from dtool_s3.store.faults import Fault
from tests.support.datasets import ITEMS, UUID, DatasetFixture
from tests.support.two_buckets import TwoBuckets

if TYPE_CHECKING:
    from tests.unit.dtool_s3.console.conftest import Ran

Run = Callable[..., "Ran"]
Write = Callable[..., DatasetLayout]

URI = f"s3://source/{UUID}"
COPY = f"s3://target/{UUID}"
SIZE_BYTES = sum(map(len, ITEMS.values()))


class Terminal(io.StringIO):
    """What a program takes for a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_copy_prints_its_uri_as_the_only_line_on_stdout(run: Run, write: Write) -> None:
    write(DatasetFixture())

    ran = run("cp", URI, "s3://target")

    assert (ran.code, ran.out) == (0, f"{COPY}\n")
    assert "3 items" in ran.err


def test_a_quiet_copy_prints_nothing_else(run: Run, write: Write) -> None:
    write(DatasetFixture())

    assert run("cp", "--quiet", URI, "s3://target").err == ""


@pytest.mark.parametrize("argv", [("--json", "cp"), ("cp", "--json")], ids=["before", "after"])
def test_a_copy_is_told_to_programs(run: Run, write: Write, argv: tuple[str, ...]) -> None:
    write(DatasetFixture())

    ran = run(*argv, URI, "s3://target")

    assert ran.err == ""
    assert ran.document["uri"] == COPY
    assert (ran.document["items"], ran.document["size_in_bytes"], ran.document["moved"]) == (3, SIZE_BYTES, 3)


def test_a_whole_dataset_is_verified_with_success(run: Run, write: Write) -> None:
    write(DatasetFixture())

    ran = run("verify", URI)

    assert ran.code == 0
    assert ran.out.startswith(f"{URI}: complete: 3 items")


@pytest.mark.parametrize("method", ["listing", "content"])
def test_a_missing_item_and_a_foreign_key_are_named_and_have_an_exit_code(
    run: Run, write: Write, buckets: TwoBuckets, method: str
) -> None:
    layout = write(DatasetFixture(stored={"a.txt": None}))
    buckets.server.write("source", f"{layout.data_prefix}thumbs.db", b"!")

    ran = run("verify", "--method", method, URI)

    assert ran.code == 3
    assert "a.txt: expected 5 bytes, found absent" in ran.out
    assert "thumbs.db" in ran.out


def test_only_reading_finds_bytes_that_changed_in_place(run: Run, write: Write) -> None:
    write(DatasetFixture(stored={"a.txt": b"ALPHA"}))

    listed, read = run("--json", "verify", URI), run("--json", "verify", "--method", "content", URI)

    assert listed.document["is_complete"]
    assert listed.document["unproven"] == 1
    assert (read.code, read.document["mismatch_count"]) == (3, 1)
    assert read.document["mismatches"][0]["relpath"] == "a.txt"


@pytest.mark.parametrize("command", [("verify", URI), ("cp", URI, "s3://source")], ids=["verify", "cp"])
def test_what_a_listing_cannot_prove_is_told_with_the_command_that_proves_it(
    run: Run, write: Write, buckets: TwoBuckets, command: tuple[str, ...]
) -> None:
    write(DatasetFixture(stored={"a.txt": b"ALPHA"}))

    told, document = run(*command), run("--json", *command).document

    assert told.code == 0
    assert "(2 by ETag, 1 unproven)" in told.out + told.err
    proof = f"`dtool-s3 verify --method content {URI}`"
    assert f"note: 1 item has the right size and no evidence of bytes by listing: {proof}" in told.err
    assert proof in document["hint"]
    assert (document["evidence"]["etagMD5"], document["unproven"]) == (2, 1)
    assert run("--quiet", *command).err == ""


def test_where_every_byte_was_read_there_is_nothing_to_hint_at(run: Run, write: Write) -> None:
    write(DatasetFixture())

    told = run("verify", "--method", "content", URI)
    document = run("--json", "verify", "--method", "content", URI).document

    assert "(3 read)" in told.out
    assert (told.err, document["hint"]) == ("", "")


def test_datasets_are_listed_one_a_line_for_pipes(run: Run, write: Write) -> None:
    write(DatasetFixture(name="wheat", prefix="u/bob/"))

    ran = run("ls", "s3://source")

    assert ran.code == 0
    assert ran.out.split("\t")[:5] == ["frozen", URI, "wheat", "olssont", "u/bob/"]


def test_broken_datasets_are_listed_with_what_is_wrong(run: Run, write: Write, buckets: TwoBuckets) -> None:
    layout = write(DatasetFixture())
    buckets.server.write("source", layout.admin_metadata_key, b"{")
    buckets.server.write("source", "dtool-2d21877d-d5ba-4b5a-8c6e-1e6a1f2d8b22", b"gone/")

    ran = run("ls", "s3://source")

    lines = [line.split("\t") for line in ran.out.splitlines()]
    assert ran.code == 0
    assert {line[0] for line in lines} == {"unreadable", "dangling"}
    assert all(line[5] for line in lines)


def test_an_unregistered_dataset_is_found_under_a_prefix_that_is_named(
    run: Run, write: Write, buckets: TwoBuckets
) -> None:
    layout = write(DatasetFixture(prefix="u/bob/"))
    buckets.server.remove("source", layout.registration_key)

    assert run("ls", "s3://source").out == ""
    assert run("ls", "--prefix", "u/bob", "s3://source").out.startswith("unregistered")


def test_a_bucket_without_datasets_says_so_beside_the_result(run: Run) -> None:
    told = run("ls", "s3://source")

    assert (told.code, told.out) == (0, "")
    assert told.err == "no datasets are registered in s3://source\n"
    assert run("--json", "ls", "s3://source").err == ""


def test_a_listing_for_programs_is_one_document_a_dataset(run: Run, write: Write) -> None:
    write(DatasetFixture())

    document = run("ls", "--json", "s3://source").document

    assert (document["uri"], document["state"], document["created_at"]) == (URI, "frozen", 1795329207.5)


def test_a_terminal_gets_a_table_without_control_characters(
    write: Write, buckets: TwoBuckets, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dtool_s3.console.main import main

    write(DatasetFixture(name="wh\x1b[2Jeat"))
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", "200")

    assert main(["ls", "s3://source"], configure=buckets.configure) == 0

    assert UUID in terminal.getvalue()
    assert "\x1b[2J" not in terminal.getvalue()


def test_a_proto_dataset_is_frozen(run: Run, write: Write) -> None:
    write(DatasetFixture(is_frozen=False))

    ran = run("freeze", URI)

    assert (ran.code, ran.out) == (0, f"{URI}\n")
    assert run("verify", URI).code == 0


def test_a_removal_needs_a_yes_where_nobody_can_be_asked(run: Run, write: Write, buckets: TwoBuckets) -> None:
    write(DatasetFixture())
    before = buckets.list_keys("source")

    ran = run("rm", URI)

    assert (ran.code, ran.out) == (2, "")
    assert "--yes" in ran.err
    assert buckets.list_keys("source") == before


@pytest.mark.parametrize(("answer", "code", "is_left"), [("y\n", 0, False), ("\n", 2, True)])
def test_a_removal_asks_at_a_terminal(
    run: Run,
    write: Write,
    buckets: TwoBuckets,
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    code: int,
    is_left: bool,
) -> None:
    write(DatasetFixture())
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    monkeypatch.setattr(sys, "stderr", asked := Terminal())

    assert run("rm", URI).code == code

    assert f"Remove {URI}" in asked.getvalue()
    assert bool(buckets.list_keys("source")) == is_left


def test_one_key_is_not_keys(run: Run, buckets: TwoBuckets) -> None:
    buckets.server.write("source", f"dtool-{UUID}", b"gone/")

    assert run("rm", "--yes", URI).out == f"{URI}: 1 key removed\n"


def test_a_removal_is_told_and_cannot_be_repeated(run: Run, write: Write, buckets: TwoBuckets) -> None:
    write(DatasetFixture())

    first, again = run("--json", "rm", "--yes", URI), run("--json", "rm", "--yes", URI)

    assert (first.code, first.document["uri"]) == (0, URI)
    assert buckets.list_keys("source") == []
    assert (again.code, again.document["error"]["reason"]) == (4, "DatasetMissing")


def test_a_frozen_dataset_is_kept_where_only_a_proto_dataset_is_meant(run: Run, write: Write) -> None:
    write(DatasetFixture())

    ran = run("rm", "--yes", "--only-proto", URI)

    assert ran.code == 6
    assert ran.err.startswith("dtool-s3: FrozenDataset: ")


def test_a_lost_registration_key_is_written_and_then_left(
    run: Run, write: Write, buckets: TwoBuckets
) -> None:
    layout = write(DatasetFixture(prefix="u/bob/"))
    buckets.server.remove("source", layout.registration_key)

    first = run("--json", "register", URI, "--prefix", "u/bob")
    again = run("--json", "register", URI, "--prefix", "u/bob/")

    assert (first.document["is_new"], again.document["is_new"]) == (True, False)
    assert buckets.server.read("source", layout.registration_key).body == b"u/bob/"


def test_unfinished_uploads_are_aborted_and_counted(run: Run, write: Write, buckets: TwoBuckets) -> None:
    import asyncio

    layout = write(DatasetFixture(is_frozen=False))
    asyncio.run(buckets.server.store("source").start_upload(f"{layout.data_prefix}x", {}))

    assert run("--json", "abort-uploads", URI).document == {"uri": URI, "aborted": 1}


def test_a_failure_is_one_line_with_what_to_do_and_no_traceback(run: Run) -> None:
    ran = run("verify", URI)

    assert ran.code == 4
    assert ran.out == ""
    (line,) = ran.err.splitlines()
    assert line.startswith("dtool-s3: DatasetMissing: ")
    assert "dtool-s3 ls" in line


def test_a_failure_is_a_document_for_programs(run: Run, buckets: TwoBuckets) -> None:
    buckets.server.faults.append(Fault("get", error=BucketUnreachable("no answer"), times=None))

    ran = run("--json", "verify", URI)

    assert (ran.code, ran.err) == (75, "")
    error = ran.document["error"]
    assert (error["reason"], error["exit_code"], error["retryable"]) == ("BucketUnreachable", 75, True)


def test_secrets_in_urls_are_not_printed_in_errors(run: Run, buckets: TwoBuckets) -> None:
    url = "https://alice:hush@s3.example.org/k?X-Amz-Credential=AKIA&X-Amz-Signature=abcdef"
    buckets.server.faults.append(Fault("get", error=AccessDenied(f"{url} said no"), times=None))

    ran = run("verify", URI)

    assert ran.code == 5
    assert "said no" in ran.err
    assert not any(secret in ran.err for secret in ("hush", "AKIA", "abcdef"))


def test_an_error_nobody_thought_of_is_still_one_line(run: Run, buckets: TwoBuckets) -> None:
    def fail() -> None:
        raise LookupError("odd\nthing")

    buckets.server.faults.append(Fault("get", hook=fail))

    ran = run("verify", URI)

    assert (ran.code, ran.err) == (1, "dtool-s3: LookupError: odd thing\n")


def test_ctrl_c_ends_with_its_code_after_the_uploads_are_gone(
    run: Run, write: Write, buckets: TwoBuckets
) -> None:
    write(DatasetFixture())
    buckets.server.faults.append(Fault("copy", hook=lambda: signal.raise_signal(signal.SIGINT)))

    ran = run("cp", URI, "s3://target")

    assert (ran.code, ran.out) == (130, "")
    assert ran.err == "dtool-s3: interrupted: call the same again, it goes on where it was\n"
    assert f"u/alice/{UUID}/manifest.json" not in buckets.list_keys()


def test_sigterm_ends_with_its_code(run: Run, write: Write, buckets: TwoBuckets) -> None:
    write(DatasetFixture())
    buckets.server.faults.append(Fault("copy", hook=lambda: signal.raise_signal(signal.SIGTERM)))

    assert run("cp", URI, "s3://target").code == 143


@pytest.mark.parametrize(
    "argv",
    [
        (),
        ("cp", URI),
        ("nonsense",),
        ("ls", "--concurrency", "0", "s3://source"),
        ("ls", "--config", "/no/such/file", "s3://source"),
        ("register", URI),
    ],
)
def test_a_command_line_that_cannot_be_is_a_usage_error(run: Run, argv: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(*argv)

    assert caught.value.code == 2


def test_a_bucket_where_a_dataset_is_meant_is_a_usage_error(run: Run) -> None:
    assert run("verify", "s3://source").code == 2


def test_progress_is_drawn_at_a_terminal_only(
    write: Write, buckets: TwoBuckets, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    write(DatasetFixture())
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())

    ran = run("cp", URI, "s3://target")

    assert ran.code == 0
    assert "3/3 items" in terminal.getvalue()


def test_the_doctor_tells_people_and_programs(run: Run, buckets: TwoBuckets) -> None:
    told, document = run("doctor", "s3://target"), run("--json", "doctor", "s3://target").document

    assert told.code == 0
    assert all(line.startswith("ok ") for line in told.out.splitlines())
    assert "If-Match" in told.out
    assert document["is_healthy"]
    assert buckets.list_keys() == []


def test_the_doctors_exit_code_is_that_of_the_first_failure(run: Run, buckets: TwoBuckets) -> None:
    buckets.server.delete_bucket("target")

    ran = run("doctor", "s3://target")

    assert ran.code == 4
    assert "fail bucket: BucketNotFound" in ran.out


def test_foreign_keys_among_the_items_are_removed_only_when_asked(
    run: Run, write: Write, buckets: TwoBuckets
) -> None:
    layout = write(DatasetFixture(is_frozen=False))
    buckets.server.write("source", f"{layout.data_prefix}thumbs.db", b"!")

    refused, done = run("freeze", URI), run("freeze", "--remove-extra", URI)

    assert (refused.code, done.code) == (6, 0)
    assert "thumbs.db" in refused.err
    assert run("verify", URI).code == 0


def test_a_dataset_is_published_with_its_url_alone_on_stdout_and_withdrawn(
    run: Run, write: Write, buckets: TwoBuckets
) -> None:
    layout = write(DatasetFixture())

    published = run("publish", "--expires-seconds", "60", URI)

    assert published.code == 0
    assert published.out.startswith("memory://")
    assert layout.http_manifest_key in buckets.list_keys("source")
    withdrawn = run("unpublish", URI)
    assert withdrawn.code == 0
    assert "signed URLs that were given out work until they expire" in withdrawn.out
    assert "until they expire" in run("--json", "unpublish", URI).document["hint"]
    assert layout.http_manifest_key not in buckets.list_keys("source")


def test_plain_objects_become_a_dataset(run: Run, buckets: TwoBuckets, tmp_path: Path) -> None:
    buckets.server.write("source", "run-17/a.txt", b"alpha")
    readme = tmp_path / "readme.yml"
    readme.write_text("description: run 17\n")

    ran = run("ingest", "s3://source/run-17/", "s3://target", "--name", "run-17", "--readme", str(readme))

    uri = ran.out.strip()
    assert ran.code == 0
    assert uri.rpartition("/")[2] in ran.err
    assert run("verify", uri).code == 0
