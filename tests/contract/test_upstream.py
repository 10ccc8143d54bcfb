"""Real upstream dtool-s3 0.14.1 and our broker on a real S3 server, below dtool's commands.

Headers, bodies, times, large items, changes by turns and damage; the commands are in `test_matrix.py`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dtool_s3.layout import DatasetLayout, item_identifier
from tests.support.upstream import Dtool, bucket_environment, ensure_upstream

if TYPE_CHECKING:
    from sandbox.seaweedfs import ObjectStore

UUID = "1c10766c-c4a9-4a4f-9b5d-0d5f0e1c7a11"
CONTENT: Mapping[str, bytes] = {
    "a.txt": b"alpha",
    "sub/b.csv": b"1,2\n",
    "empty": b"",
    "ünï/cödé 例.bin": bytes(range(256)),
}
ADMIN = {
    "uuid": UUID,
    "dtoolcore_version": "3.19.0",
    "name": "sample",
    "type": "protodataset",
    "creator_username": "olssont",
    "created_at": 1795329207.5,
    "frozen_at": 1795329300.25,
}
README = "---\ndescription: a sample with an ü\n"
ANNOTATIONS = {"project": "atlas", "numbers": [1, 2.5, None]}
PREFIXES = ["", "u/alice/"]


@dataclass(frozen=True, slots=True)
class Place:
    """One empty bucket and both dtools configured for it."""

    bucket: str
    client: Any
    ours: Dtool
    upstream: Dtool
    directory: Path
    prefix: str

    @property
    def base_uri(self) -> str:
        return f"s3://{self.bucket}"

    @property
    def uri(self) -> str:
        return f"{self.base_uri}/{UUID}"

    @property
    def layout(self) -> DatasetLayout:
        return DatasetLayout(self.prefix, UUID)

    def files(self, content: Mapping[str, bytes] = CONTENT) -> dict[str, str]:
        """Local files with the content, by relpath."""
        paths = {}
        for relpath, body in content.items():
            path = self.directory / item_identifier(relpath)
            path.write_bytes(body)
            paths[relpath] = str(path)
        return paths

    def write(self, dtool: Dtool, content: Mapping[str, bytes] = CONTENT, **values: Any) -> str:
        """Write the sample dataset with one of the dtools."""
        sample = {
            "base_uri": self.base_uri,
            "admin": ADMIN,
            "items": self.files(content),
            "metadata": {"length": 7},
            "readme": README,
            "tags": ["blue", "green.1"],
            "annotations": ANNOTATIONS,
            "overlays": {"later": "x"},
        }
        uri: str = dtool.script("write", **(sample | values))
        return uri

    def objects(self) -> dict[str, Any]:
        """Every object of the bucket: headers and body."""
        keys = [entry["Key"] for entry in self.client.list_objects_v2(Bucket=self.bucket)["Contents"]]
        found = {}
        for key in keys:
            answer = self.client.get_object(Bucket=self.bucket, Key=key)
            found[key] = (answer["Metadata"], answer["ContentType"], answer["Body"].read())
        return found


@pytest.fixture(scope="session")
def upstream_directory() -> Path:
    return ensure_upstream()


@pytest.fixture(params=PREFIXES, ids=["no prefix", "prefix"])
def prefix(request: pytest.FixtureRequest) -> str:
    value: str = request.param
    return value


@pytest.fixture
def make_place(
    object_store: ObjectStore, make_bucket: Callable[[], str], upstream_directory: Path, tmp_path: Path
) -> Callable[..., Place]:
    def make(prefix: str = "") -> Place:
        bucket = make_bucket()
        admin = object_store.identity("admin")
        directory = tmp_path / bucket
        directory.mkdir()

        def environment(user: str) -> dict[str, str]:
            return bucket_environment(
                bucket, object_store.endpoint, admin.access_key, admin.secret_key, directory / user, prefix
            )

        ours = Dtool(Path(sys.executable).parent, environment("ours"))
        upstream = Dtool(upstream_directory / "bin", environment("upstream"))
        return Place(bucket, object_store.client(), ours, upstream, directory, prefix)

    return make


@pytest.fixture
def place(make_place: Callable[..., Place], prefix: str) -> Place:
    return make_place(prefix)


def check_reading(read: dict[str, Any], content: Mapping[str, bytes] = CONTENT) -> None:
    """Compare what a reader saw with what was written."""
    relpaths = {i: item["relpath"] for i, item in read["manifest"]["items"].items()}
    assert {relpaths[i]: Path(path).read_bytes() for i, path in read["paths"].items()} == dict(content)
    assert read["generated"] == read["manifest"]["items"]
    assert read["admin"]["type"] == "dataset"
    assert {**read["admin"], "type": "protodataset"} == ADMIN
    assert read["readme"] == README
    assert read["tags"] == ["blue", "green.1"]
    assert read["annotations"] == ANNOTATIONS
    assert read["overlays"] == {"length": dict.fromkeys(relpaths, 7), "later": dict.fromkeys(relpaths, "x")}


def test_upstream_reads_what_we_wrote(place: Place) -> None:
    uri = place.write(place.ours)

    check_reading(place.upstream.script("read", uri=uri))


def test_we_read_what_upstream_wrote(place: Place) -> None:
    uri = place.write(place.upstream)

    check_reading(place.ours.script("read", uri=uri))


def test_our_command_line_copies_from_disk_and_compares(make_place: Callable[..., Place]) -> None:
    place = make_place()
    disk = place.directory / "disk"
    disk.mkdir()
    local = place.upstream.script(
        "write",
        base_uri=str(disk),
        admin=ADMIN,
        items=place.files(),
        metadata={"length": 7},
        readme=README,
        tags=["blue", "green.1"],
        annotations=ANNOTATIONS,
        overlays={"later": "x"},
    )

    uri = place.ours.run("cp", "--quiet", local, place.base_uri)

    place.ours.run("diff", "--full", uri, local)
    assert place.ours.attempt("cp", "--quiet", local, place.base_uri).returncode != 0
    assert place.upstream.run("uuid", uri) == UUID
    assert "All good" in place.upstream.run("verify", "--full", uri)
    assert place.upstream.script("read", uri=uri)["admin"]["frozen_at"] == ADMIN["frozen_at"]


@pytest.mark.parametrize("writer", ["ours", "upstream"])
def test_each_copies_the_others_dataset_to_another_bucket(
    make_place: Callable[..., Place], writer: str
) -> None:
    source, target = make_place(), make_place("u/bob/")
    uri = source.write(source.ours if writer == "ours" else source.upstream)
    one, other = (target.upstream, target.ours) if writer == "ours" else (target.ours, target.upstream)
    home = source.upstream if writer == "ours" else source.ours
    both = Dtool(one.bin_directory, {**home.environment, **one.environment})

    copied = both.script("copy", source=uri, target=target.base_uri)

    check_reading(other.script("read", uri=copied))


def test_both_write_the_same_keys_headers_and_bodies(make_place: Callable[..., Place], prefix: str) -> None:
    ours, upstream = make_place(prefix), make_place(prefix)
    ours.write(ours.ours)
    upstream.write(upstream.upstream)

    mine, theirs = ours.objects(), upstream.objects()

    assert list(mine) == list(theirs)
    assert {key: entry[:2] for key, entry in mine.items()} == {
        key: entry[:2] for key, entry in theirs.items()
    }
    layout = ours.layout
    differing = {key for key in mine if mine[key][2] != theirs[key][2]}
    assert differing <= {layout.dtool_readme_key, layout.manifest_key}
    assert mine[layout.dtool_readme_key][2].startswith(b"README")
    assert without_times(mine[layout.manifest_key][2]) == without_times(theirs[layout.manifest_key][2])


def without_times(body: bytes) -> dict[str, Any]:
    """Manifest without the times of upload."""
    manifest: dict[str, Any] = json.loads(body)
    assert body == json.dumps(manifest, indent=2, sort_keys=True).encode()
    for item in manifest["items"].values():
        assert item.pop("utc_timestamp") % 1 == 0
    return manifest


def test_the_times_of_upload_are_those_upstream_sees(make_place: Callable[..., Place]) -> None:
    place = make_place()
    uri = place.write(place.ours)

    # upstream's times are right where the zone is UTC
    utc = Dtool(place.upstream.bin_directory, {**place.upstream.environment, "TZ": "UTC"})

    read = utc.script("read", uri=uri)
    assert read["generated"] == read["manifest"]["items"]


@pytest.mark.parametrize("beginner", ["ours", "upstream"])
def test_each_finishes_what_the_other_began(make_place: Callable[..., Place], beginner: str) -> None:
    place = make_place("u/alice/")
    first, second = (place.ours, place.upstream) if beginner == "ours" else (place.upstream, place.ours)
    uri = place.write(first, metadata={}, is_frozen=False)
    more = {"late.txt": b"late"}

    second.script("finish", uri=uri, items=place.files(more))

    assert "All good" in first.run("verify", "--full", uri)
    assert len(first.run("identifiers", uri).split()) == len(CONTENT) + 1


@pytest.mark.parametrize("changer", ["ours", "upstream"])
def test_each_sees_what_the_other_changed_on_a_frozen_dataset(
    make_place: Callable[..., Place], changer: str
) -> None:
    place = make_place()
    uri = place.write(place.ours)
    first, second = (place.ours, place.upstream) if changer == "ours" else (place.upstream, place.ours)

    first.script("change", uri=uri, readme="---\nnew: 1\n", tag="late", annotation="late")

    read = second.script("read", uri=uri)
    assert read["readme"] == "---\nnew: 1\n"
    assert "late" in read["tags"]
    assert read["annotations"]["late"] == {"by": "script"}
    backups = [key for key in place.objects() if key.startswith(f"{place.layout.readme_key}-")]
    assert len(backups) == 1


def test_large_items_go_both_ways(make_place: Callable[..., Place]) -> None:
    ours, upstream = make_place(), make_place()
    large = {"large.bin": bytes(range(256)) * 4096 * 33}  # 33 MiB: three of our parts, five of theirs
    mine = ours.write(ours.ours, large)
    theirs = upstream.write(upstream.upstream, large)

    check_reading(ours.upstream.script("read", uri=mine), large)
    check_reading(upstream.ours.script("read", uri=theirs), large)


def test_we_notice_damage_that_upstream_calls_good(make_place: Callable[..., Place]) -> None:
    place = make_place()
    uri = place.write(place.upstream)
    key = place.layout.item_key(item_identifier("a.txt"))
    metadata = place.client.head_object(Bucket=place.bucket, Key=key)["Metadata"]
    place.client.put_object(Bucket=place.bucket, Key=key, Body=b"ALPHA", Metadata=metadata)

    verified = place.ours.attempt("verify", "--full", uri)

    assert verified.returncode == 1
    assert "Altered item hash" in verified.stdout
    assert "All good" in place.upstream.run("verify", "--full", uri)


def test_our_own_installation_names_itself(make_place: Callable[..., Place]) -> None:
    assert "s3, dtool-s3, version" in make_place().ours.run("--version")
