"""Real upstream dtool-s3 0.14.1 and ours as writer and as reader, through dtool's commands, on two servers.

Each writer writes once a server, each reader reads all of it once; the tests look at what they printed.
What the command line cannot show (headers, bodies, times) is in `test_upstream.py`.
"""

from __future__ import annotations

import functools
import itertools
import secrets
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import urllib3

from dtool_s3.layout import item_identifier
from tests.support.upstream import Dtool, bucket_environment, ensure_upstream

if TYPE_CHECKING:
    from sandbox.seaweedfs import ObjectStore
    from tests.support.moto import MotoServer

SERVERS = ("seaweedfs", "moto")
PACKAGES = ("ours", "upstream")
PREFIX = "u/alice/"
CONTENT: Mapping[str, bytes] = {
    "a.txt": b"alpha",
    "empty": b"",
    "sub dir/b.csv": b"1,2\n",
    "ünï/cödé 例.bin": bytes(range(256)),
}
README = "---\ndescription: second thoughts\n"
IDENTIFIERS = {relpath: item_identifier(relpath) for relpath in CONTENT}
#: The datasets that a writer makes, each in a bucket of its own.
DATASETS = ("written", "copied", "resumed")

Command = dict[str, Any]
Result = dict[str, Any]


def dtool(*arguments: str, stdin: str = "", name: str = "") -> Command:
    """One `dtool …`; later commands find what it printed as {name}."""
    return {"arguments": list(arguments), "stdin": stdin} | ({"name": name} if name else {})


def writing(files: Mapping[str, Path], buckets: Mapping[str, str]) -> Iterator[Command]:
    """Everything that writes."""
    home, copied, resumed = (f"s3://{buckets[name]}" for name in DATASETS)
    uri = "{written}"
    yield dtool("create", "--quiet", "draft", home, name="written")
    for relpath, path in files.items():
        yield dtool("add", "item", str(path), uri, relpath)
        yield dtool("add", "metadata", uri, relpath, "kind", "sample")
    yield dtool("name", uri, "sample")
    yield dtool("readme", "write", uri, "-", stdin="---\ndescription: first thoughts\n")
    yield dtool("tag", "set", uri, "blue")
    yield dtool("annotation", "set", uri, "project", "atlas")
    yield dtool("status", uri, name="status")
    yield dtool("freeze", uri)
    yield dtool("tag", "set", uri, "late")
    yield dtool("tag", "set", uri, "wrong")
    yield dtool("tag", "delete", uri, "wrong")
    yield dtool("annotation", "set", "--type", "json", uri, "numbers", '{"pi": [3, 1.5, null]}')
    yield dtool("overlays", "template", "glob", uri, "is_csv", "*.csv", name="template")
    yield dtool("overlays", "write", uri, "-", stdin="{template}\n")
    yield dtool("readme", "write", uri, "-", stdin=README)
    yield dtool("cp", "--quiet", uri, copied, name="copied")
    yield {"begin_copy": uri, "to": resumed}
    yield dtool("cp", "--quiet", "--resume", uri, resumed, name="resumed")


def fetching(url: str, disk: Path) -> dict[str, Command]:
    """Everything that a stranger reads of a published dataset."""
    disk.mkdir(parents=True)
    return {
        "items": dtool("ls", url),
        "readme": dtool("readme", "show", url),
        "tags": dtool("tag", "ls", url),
        "annotation": dtool("annotation", "get", url, "project"),
        "overlays": dtool("overlays", "show", url),
        "cp": dtool("cp", "--quiet", url, str(disk)),
    }


def reading(uris: Mapping[str, str], directory: Path) -> Iterator[tuple[str, Command]]:
    """Everything that reads, each with its place in the table."""
    for dataset in DATASETS:
        uri = uris[dataset]
        base_uri = uri.rpartition("/")[0]
        disk = directory / dataset
        disk.mkdir(parents=True)
        commands = {
            "ls of the bucket": ("ls", "--quiet", base_uri),
            "ls of the items": ("ls", uri),
            "verify": ("verify", uri),
            "verify in full": ("verify", "--full", uri),
            "summary": ("summary", uri),
            "status": ("status", uri),
            "name": ("name", uri),
            "uuid": ("uuid", uri),
            "readme": ("readme", "show", uri),
            "tags": ("tag", "ls", uri),
            "annotations": ("annotation", "ls", uri),
            "an annotation": ("annotation", "get", uri, "numbers"),
            "overlays": ("overlays", "show", uri),
            "an overlay": ("item", "overlay", "kind", uri, IDENTIFIERS["a.txt"]),
            "cp to disk": ("cp", "--quiet", uri, str(disk)),
        }
        yield from ((f"{what} ({dataset})", dtool(*command)) for what, command in commands.items())
    yield "diff", dtool("diff", "--full", uris["copied"], uris["written"])


#: What each command prints; where it is a set of texts, all of them among other things.
EXPECTED: Mapping[str, str | set[str]] = {
    "ls of the items": {*CONTENT},
    "verify": "All good :)",
    "verify in full": "All good :)",
    "summary": {"number_of_items: 4", "name: sample", "creator_username: olssont"},
    "status": "frozen",
    "name": "sample",
    "readme": README.strip(),
    "tags": "blue\nlate",
    "annotations": {"project\tatlas", "numbers\t"},
    "an annotation": "{'pi': [3, 1.5, None]}",
    "overlays": {
        f"{IDENTIFIERS['sub dir/b.csv']},True,sample,sub dir/b.csv",
        f"{IDENTIFIERS['empty']},False,sample,empty",
    },
    "an overlay": "sample",
}


class Matrix:
    """Both servers and both packages; each writes and reads at the first question."""

    def __init__(self, object_store: ObjectStore, moto_server: MotoServer, directory: Path) -> None:
        admin, keys = object_store.identity("admin"), moto_server.credentials
        self._access = {
            "seaweedfs": (object_store.endpoint, admin.access_key, admin.secret_key),
            "moto": (moto_server.url, keys.access_key_id, keys.secret_access_key.reveal()),
        }
        create = {"seaweedfs": object_store.create_bucket, "moto": moto_server.create_bucket}
        self._directory = directory
        self._buckets = {
            (server, writer): {name: f"{writer}-{name}-{secrets.token_hex(4)}" for name in DATASETS}
            for server, writer in itertools.product(SERVERS, PACKAGES)
        }
        for (server, _), buckets in self._buckets.items():
            for bucket in buckets.values():
                create[server](bucket)
        self._files = {}
        for relpath, body in CONTENT.items():
            self._files[relpath] = directory / item_identifier(relpath)
            self._files[relpath].write_bytes(body)

    def dtool(self, package: str, server: str, **more: str) -> Dtool:
        """Return a package's dtool; it knows all buckets of a server."""
        home = self._directory / f"{package}-{server}"
        environment: dict[str, str] = {}
        for (its_server, _), buckets in self._buckets.items():
            for bucket in buckets.values() if its_server == server else ():
                environment |= bucket_environment(bucket, *self._access[server], home, PREFIX)
        directory = Path(sys.executable).parent if package == "ours" else ensure_upstream() / "bin"
        return Dtool(directory, environment | more)

    @functools.cache  # noqa: B019 - one matrix a module
    def write(self, server: str, writer: str) -> Mapping[str, str]:
        """Let a package write everything on a server; return the URIs of its datasets."""
        commands = list(writing(self._files, self._buckets[server, writer]))
        results = self.dtool(writer, server).commands(commands)
        failed = [
            f"dtool {command.get('arguments', 'begin copy')}: {result}"
            for command, result in zip(commands, results, strict=True)
            if result["exit_code"]
        ]
        assert not failed, "\n".join(failed)
        names = [command.get("name", "") for command in commands]
        assert results[names.index("status")]["stdout"] == "proto"
        return {name: results[names.index(name)]["stdout"] for name in DATASETS}

    @functools.cache  # noqa: B019 - as above
    def publish(self, server: str, writer: str, *, is_signed: bool) -> Result:
        """Let a package publish what it wrote, to everybody or by signed URLs."""
        uri = self.write(server, writer)["copied" if is_signed else "written"]
        more = {"DTOOL_S3_PUBLISH_EXPIRY": "600"} if is_signed else {}
        (result,) = self.dtool(writer, server, **more).commands([dtool("publish", "--quiet", uri)])
        return result

    def fetch(self, url: str, reader: str, disk: Path) -> dict[str, Result]:
        """Let a package read a published dataset without any keys."""
        program = self.dtool(reader, SERVERS[0])
        environment = {k: v for k, v in program.environment.items() if not k.startswith("DTOOL_S3_")}
        # a cache of its own: what was read with keys must not help
        stranger = replace(program, environment=environment | {"DTOOL_CACHE_DIRECTORY": f"{disk}-cache"})
        table = fetching(url, disk)
        return dict(zip(table, stranger.commands(list(table.values())), strict=True))

    @functools.cache  # noqa: B019 - as above
    def read(self, server: str, writer: str, reader: str) -> Mapping[str, Result]:
        """Let a package read everything that another one wrote on a server."""
        directory = self.disk(server, writer, reader)
        table = dict(reading(self.write(server, writer), directory))
        results = self.dtool(reader, server).commands(list(table.values()))
        return dict(zip(table, results, strict=True))

    def disk(self, server: str, writer: str, reader: str) -> Path:
        """Return the directory of the copies to disk."""
        return self._directory / f"{server}-{writer}-{reader}"


@pytest.fixture(scope="module")
def matrix(
    object_store: ObjectStore, moto_server: MotoServer, tmp_path_factory: pytest.TempPathFactory
) -> Matrix:
    return Matrix(object_store, moto_server, tmp_path_factory.mktemp("matrix"))


every_pair = [
    pytest.mark.parametrize("reader", PACKAGES),
    pytest.mark.parametrize("writer", PACKAGES),
    pytest.mark.parametrize("server", SERVERS),
]


def of_every_pair(test: Any) -> Any:
    """Run a test for every server, writer and reader."""
    return functools.reduce(lambda decorated, mark: mark(decorated), every_pair, test)


@of_every_pair
@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("what", EXPECTED)
def test_a_reader_prints_what_was_written(
    matrix: Matrix, server: str, writer: str, reader: str, dataset: str, what: str
) -> None:
    result = matrix.read(server, writer, reader)[f"{what} ({dataset})"]

    expected = EXPECTED[what]
    assert result["exit_code"] == 0, result
    if isinstance(expected, str):
        assert result["stdout"] == expected
    else:
        assert all(text in result["stdout"] for text in expected), result["stdout"]


@of_every_pair
@pytest.mark.parametrize("dataset", DATASETS)
def test_a_reader_finds_a_dataset_and_its_bytes(
    matrix: Matrix, server: str, writer: str, reader: str, dataset: str
) -> None:
    read = matrix.read(server, writer, reader)
    uri = matrix.write(server, writer)[dataset]

    assert read[f"ls of the bucket ({dataset})"]["stdout"] == uri
    assert read[f"uuid ({dataset})"]["stdout"] == uri.rpartition("/")[2]
    assert read[f"cp to disk ({dataset})"]["exit_code"] == 0
    assert content_of(matrix.disk(server, writer, reader) / dataset) == CONTENT


def content_of(directory: Path) -> dict[str, bytes]:
    """Return the items of the one dataset in a directory."""
    (dataset,) = directory.iterdir()
    data = dataset / "data"
    return {str(p.relative_to(data)): p.read_bytes() for p in data.rglob("*") if p.is_file()}


@of_every_pair
def test_a_reader_sees_no_difference_between_a_dataset_and_its_copy(
    matrix: Matrix, server: str, writer: str, reader: str
) -> None:
    assert matrix.read(server, writer, reader)["diff"]["exit_code"] == 0


@pytest.mark.parametrize("reader", PACKAGES)
@pytest.mark.parametrize("writer", PACKAGES)
@pytest.mark.parametrize(("server", "is_signed"), [("moto", False), ("moto", True), ("seaweedfs", True)])
def test_a_stranger_reads_what_was_published(
    matrix: Matrix, server: str, writer: str, reader: str, is_signed: bool, tmp_path: Path
) -> None:
    published = matrix.publish(server, writer, is_signed=is_signed)
    assert published["exit_code"] == 0, published

    read = matrix.fetch(published["stdout"], reader, tmp_path / "disk")

    assert all(result["exit_code"] == 0 for result in read.values()), read
    assert set(CONTENT) <= {line.split("\t")[-1] for line in read["items"]["stdout"].splitlines()}
    assert read["readme"]["stdout"] == README.strip()
    assert read["tags"]["stdout"] == "blue\nlate"
    assert read["annotation"]["stdout"] == "atlas"
    assert "True,sample,sub dir/b.csv" in read["overlays"]["stdout"]
    assert content_of(tmp_path / "disk") == CONTENT


def test_where_acls_do_not_count_upstream_prints_a_dead_url_and_we_say_so(matrix: Matrix) -> None:
    ours = matrix.publish("seaweedfs", "ours", is_signed=False)
    theirs = matrix.publish("seaweedfs", "upstream", is_signed=False)

    assert ours["exit_code"] != 0
    assert ours["stdout"] == ""
    assert "DTOOL_S3_PUBLISH_EXPIRY" in ours["stderr"]
    assert theirs["exit_code"] == 0
    assert status_of(f"{theirs['stdout']}/http_manifest.json") == 403


def status_of(url: str) -> int:
    """GET a URL without credentials; return the HTTP status."""
    with urllib3.PoolManager() as pool:
        return pool.request("GET", url, retries=False).status
