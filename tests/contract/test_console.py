"""The `dtool-s3` command as a process of its own on a real S3 server: every command, --json, exit codes."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dtoolcore
import pytest

from dtool_s3.settings import Credentials, Secret
from tests.support.datasets import ITEMS, DatasetFixture, write_dataset
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from tests.support.s3_place import S3Place

PROGRAM = Path(sys.executable).with_name("dtool-s3")
NOBODY = "3e329880-e6cb-4c6b-9d7f-2f7b203e9c33"


@dataclass(frozen=True, slots=True)
class Ran:
    """What one run left."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Its one line of JSON."""
        return json.loads(self.out)


@dataclass(slots=True)
class User:
    """Somebody with a shell, and places on S3 to work in."""

    places: Sequence[S3Place]
    directory: Path
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> Mapping[str, str]:
        """Everything the command sees of this user."""
        merged: dict[str, str] = {}
        for place in self.places:
            merged |= place.environment
        return merged | {"COLUMNS": "200"} | self.variables

    def start(self, *argv: str, **options: Any) -> subprocess.Popen[str]:
        """Start the command."""
        return subprocess.Popen(
            [PROGRAM, *argv],
            env=self.environment,
            cwd=self.directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def run(self, *argv: str) -> Ran:
        """Run the command to its end, with nobody at a terminal."""
        process = self.start(*argv, stdin=subprocess.DEVNULL)
        out, err = process.communicate(timeout=120)
        assert "Traceback" not in err
        return Ran(process.returncode, out, err)

    def write(self, place: S3Place, **fields: Any) -> str:
        """Write a dataset and return its URI."""
        uuid = place.new_uuid()
        dataset = DatasetFixture(uuid=uuid, prefix=place.prefix, **fields)

        async def write() -> None:
            async with place.open_store() as store:
                await write_dataset(store, dataset)

        asyncio.run(write())
        return f"{place.base_uri}/{uuid}"


@pytest.fixture
def user(make_s3_place: Callable[[], S3Place], tmp_path: Path) -> User:
    return User([make_s3_place()], tmp_path)


def _layout(place: S3Place, uri: str) -> Any:
    return place.layout(uri.rpartition("/")[2])


def _change(place: S3Place, action: Callable[[Any], Any]) -> Any:
    async def change() -> Any:
        async with place.open_store() as store:
            return await action(store)

    return asyncio.run(change())


def test_a_dataset_goes_to_a_directory_and_back(user: User) -> None:
    place = user.places[0]
    uri = user.write(place)

    down = user.run("cp", uri, f"file://{user.directory}")
    removed = user.run("rm", "--yes", uri)
    up = user.run("--json", "cp", down.out.strip(), place.base_uri)

    assert (down.code, removed.code, up.code) == (0, 0, 0)
    assert (user.directory / "sample" / "data" / "a.txt").read_bytes() == ITEMS["a.txt"]
    assert len(list(dtoolcore.DataSet.from_uri(down.out.strip()).identifiers)) == len(ITEMS)
    assert up.document["uri"] == uri
    assert user.run("verify", "--method", "content", uri).code == 0


def test_a_dataset_goes_from_bucket_to_bucket(make_s3_place: Callable[[], S3Place], tmp_path: Path) -> None:
    source, target = places = (make_s3_place(), make_s3_place())
    if source.bucket == target.bucket:
        pytest.skip("a UUID is once in a bucket, and one bucket was named")
    user = User(places, tmp_path)
    uri = user.write(source)

    copied, again = user.run("cp", uri, target.base_uri), user.run("--json", "cp", uri, target.base_uri)

    assert (copied.code, again.code, again.document["moved"]) == (0, 0, 0)
    assert copied.out == f"{target.base_uri}/{uri.rpartition('/')[2]}\n"
    assert user.run("verify", copied.out.strip()).code == 0


def test_what_is_wrong_with_a_dataset_is_a_result_with_its_own_exit_code(user: User) -> None:
    place = user.places[0]
    whole, damaged = user.write(place), user.write(place, stored={"a.txt": b"ALPHA"})

    assert user.run("verify", whole).code == 0
    read = user.run("--json", "verify", "--method", "content", damaged)

    assert read.code == 3
    assert [m["relpath"] for m in read.document["mismatches"]] == ["a.txt"]


def test_all_datasets_of_a_bucket_are_listed(user: User) -> None:
    place = user.places[0]
    frozen, proto, lost = (
        user.write(place, name="wheat"),
        user.write(place, is_frozen=False),
        user.write(place),
    )
    _change(place, lambda store: store.delete(_layout(place, lost).registration_key))

    plain, documents = user.run("ls", place.base_uri), user.run("--json", "ls", place.base_uri)

    states = {line.split("\t")[1]: line.split("\t")[0] for line in plain.out.splitlines()}
    assert states.items() >= {frozen: "frozen", proto: "proto", lost: "unregistered"}.items()
    found = {document["uri"]: document for document in map(json.loads, documents.out.splitlines())}
    assert (found[frozen]["name"], found[frozen]["prefix"]) == ("wheat", place.prefix)


def test_a_proto_dataset_is_frozen_and_foreign_keys_are_removed_only_when_asked(user: User) -> None:
    place = user.places[0]
    uri = user.write(place, is_frozen=False)
    _change(place, lambda store: store.put(f"{_layout(place, uri).data_prefix}thumbs.db", b"!"))

    refused, done, again = (
        user.run("freeze", uri),
        user.run("freeze", "--remove-extra", uri),
        user.run("freeze", uri),
    )

    assert (refused.code, done.code, again.code) == (6, 0, 6)
    assert "thumbs.db" in refused.err
    assert user.run("verify", uri).code == 0


def test_a_removal_needs_a_yes_and_leaves_nothing(user: User) -> None:
    place = user.places[0]
    uri = user.write(place)

    asked, done, again = (
        user.run("rm", uri),
        user.run("rm", "--yes", uri),
        user.run("--json", "rm", "--yes", uri),
    )

    assert (asked.code, done.code, again.code) == (2, 0, 4)
    assert again.document["error"]["reason"] == "DatasetMissing"
    assert not _change(place, lambda store: store.list(place.prefix)).objects


def test_a_lost_registration_key_is_written_again(user: User) -> None:
    place = user.places[0]
    uri = user.write(place)
    key = _layout(place, uri).registration_key
    _change(place, lambda store: store.delete(key))

    first = user.run("--json", "register", uri, "--prefix", place.prefix)
    again = user.run("--json", "register", uri, "--prefix", place.prefix)

    assert (first.document["is_new"], again.document["is_new"]) == (True, False)
    assert user.run("verify", uri).code == 0


def test_unfinished_uploads_are_aborted(user: User) -> None:
    place = user.places[0]
    uri = user.write(place, is_frozen=False)
    _change(place, lambda store: store.start_upload(f"{_layout(place, uri).data_prefix}x", {}))

    assert user.run("--json", "abort-uploads", uri).document["aborted"] == 1
    assert user.run("--json", "abort-uploads", uri).document["aborted"] == 0


def test_plain_objects_become_a_dataset(user: User) -> None:
    place = user.places[0]

    async def write(store: Any) -> None:
        for name, body in ITEMS.items():
            await store.put(f"{place.prefix}run-17/{name}", body)

    _change(place, write)

    ran = user.run("ingest", f"{place.base_uri}/{place.prefix}run-17/", place.base_uri, "--name", "run-17")

    assert ran.code == 0
    assert user.run("verify", "--method", "content", ran.out.strip()).code == 0


def test_a_dataset_is_published_by_signed_urls_and_withdrawn(user: User) -> None:
    place = user.places[0]
    uri = user.write(place)

    published = user.run("publish", "--expires-seconds", "600", uri)
    withdrawn = user.run("unpublish", uri)

    assert (published.code, withdrawn.code) == (0, 0)
    assert published.out.startswith("http")
    assert _layout(place, uri).root.rstrip("/") in published.out


def test_the_doctor_finds_the_server_healthy(user: User) -> None:
    place = user.places[0]

    told, document = (
        user.run("doctor", place.base_uri),
        user.run("--json", "doctor", place.base_uri).document,
    )

    assert told.code == 0
    assert document["is_healthy"]
    assert not [f for f in document["findings"] if f["status"] == "fail"]
    assert "If-None-Match" in told.out
    assert not _change(place, lambda store: store.list(place.prefix)).objects


def test_wrong_keys_are_told_without_showing_them(user: User) -> None:
    place = user.places[0]
    if not place.is_sandbox:
        pytest.skip("the keys of a user's own bucket are not replaced")
    user.variables[f"DTOOL_S3_SECRET_ACCESS_KEY_{place.bucket}"] = "hushhushhush"

    listed, asked = user.run("--json", "ls", place.base_uri), user.run("doctor", place.base_uri)

    assert (listed.code, asked.code) == (5, 5)
    assert listed.document["error"]["reason"] == "CredentialsRejected"
    assert "hushhushhush" not in listed.out + listed.err + asked.out + asked.err


def test_a_server_that_does_not_answer_is_worth_another_try(user: User) -> None:
    place = user.places[0]
    if not place.is_sandbox:
        pytest.skip("the endpoint of a user's own bucket is not replaced")
    user.variables[f"DTOOL_S3_ENDPOINT_{place.bucket}"] = "http://127.0.0.1:9"

    ran = user.run("--json", "ls", place.base_uri)

    assert (ran.code, ran.document["error"]["retryable"]) == (75, True)


def test_configuration_comes_from_a_file_that_is_named(user: User) -> None:
    place = user.places[0]
    if not place.is_sandbox:
        pytest.skip("the keys of a user's own bucket are not written to a file")
    keys = place.credentials()
    assert isinstance(keys, Credentials)
    assert isinstance(keys.secret_access_key, Secret)
    uri = user.write(place)
    path = user.directory / "dtool.json"
    path.write_text(
        json.dumps(
            {
                f"DTOOL_S3_ENDPOINT_{place.bucket}": place.endpoint.url,
                f"DTOOL_S3_ACCESS_KEY_ID_{place.bucket}": keys.access_key_id,
                f"DTOOL_S3_SECRET_ACCESS_KEY_{place.bucket}": keys.secret_access_key.reveal(),
                f"DTOOL_S3_REGION_{place.bucket}": "us-east-1",
            }
        )
    )
    done = subprocess.run(
        [PROGRAM, "verify", "--config", path, uri],
        env={"PATH": os.environ["PATH"], "HOME": str(user.directory)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_what_is_not_there_and_what_cannot_be_have_their_exit_codes(user: User) -> None:
    base_uri = user.places[0].base_uri

    missing, mistaken = user.run("verify", f"{base_uri}/{NOBODY}"), user.run("verify", base_uri)

    assert (missing.code, mistaken.code) == (4, 2)
    assert missing.err.startswith("dtool-s3: DatasetMissing: ")
    assert len(missing.err.splitlines()) == len(mistaken.err.splitlines()) == 1


def test_ctrl_c_ends_an_upload_in_a_moment_and_leaves_no_parts(user: User) -> None:
    place = user.places[0]
    uri = user.write(place, items={f"{number}.bin": os.urandom(40 * 1024 * 1024) for number in range(3)})
    down = user.run("cp", uri, f"file://{user.directory}").out.strip()
    assert user.run("rm", "--yes", uri).code == 0
    process = user.start("cp", down, place.base_uri, stdin=subprocess.DEVNULL)

    def check_that_parts_are_uploaded() -> None:
        assert _change(place, lambda store: store.list_uploads(place.prefix))

    eventually(check_that_parts_are_uploaded, within=60)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)

    assert (process.returncode, out) == (130, ""), err
    assert "Traceback" not in err
    assert not _change(place, lambda store: store.list_uploads(place.prefix))
    assert user.run("cp", down, place.base_uri).code == 0
    assert user.run("verify", uri).code == 0


def test_a_terminal_is_shown_progress_and_a_table_and_is_asked(user: User) -> None:
    place = user.places[0]
    uri = user.write(place, name="wheat")

    shown = _at_terminal(user, ["cp", uri, f"file://{user.directory}"])
    table = _at_terminal(user, ["ls", place.base_uri])
    kept = _at_terminal(user, ["rm", uri], typed="n\n")

    assert "3/3 items" in shown
    assert "wheat" in table
    assert "\t" not in table
    assert f"Remove {uri}" in kept
    assert user.run("verify", uri).code == 0


def _at_terminal(user: User, argv: Sequence[str], *, typed: str = "") -> str:
    """Run the command with a terminal on all three streams; return everything it showed."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [PROGRAM, *argv],
        env={**user.environment, "TERM": "xterm-256color"},
        cwd=user.directory,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    os.write(ours, typed.encode())
    shown = b""
    try:
        while chunk := os.read(ours, 65536):
            shown += chunk
    except OSError:  # the other side is closed
        pass
    finally:
        os.close(ours)
        process.wait(timeout=60)
    return shown.decode()


PROGRAM_TEXT = """
import asyncio, sys, threading
import dtool_s3, dtool_s3.sync

uri = sys.argv[1]
base_uri = uri.rpartition("/")[0]
asyncio.run(dtool_s3.verify(uri))
print(len(dtool_s3.sync.list_datasets(base_uri).entries))
asyncio.run(dtool_s3.verify(uri))
dtool_s3.close_stores()
print(*sorted(t.name for t in threading.enumerate() if not t.daemon))
"""


@pytest.mark.parametrize("is_closed", [True, False])
def test_a_program_leaves_no_threads_and_no_open_sockets(user: User, is_closed: bool) -> None:
    """Warnings about what was left open are printed to stderr in development mode."""
    uri = user.write(user.places[0])
    text = PROGRAM_TEXT if is_closed else PROGRAM_TEXT.replace("dtool_s3.close_stores()", "pass")

    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error::ResourceWarning", "-c", text, uri],
        env=user.environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )

    listed, threads = done.stdout.splitlines()
    assert (int(listed) > 0, "ResourceWarning" in done.stderr) == (True, False), done.stderr
    assert not is_closed or threads == "MainThread"
