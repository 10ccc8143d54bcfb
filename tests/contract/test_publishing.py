"""Publishing over HTTP on real servers: what is called published is read by the real dtool without keys."""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
import urllib3

from dtool_s3.errors import AccessDenied, SourceNotFrozen
from dtool_s3.layout import DatasetLayout, item_identifier
from dtool_s3.publication.publishing import publish, unpublish
from dtool_s3.publication.signing import sign_dataset, sign_item_write, sign_write
from dtool_s3.settings import Credentials, Endpoint, Secret
from dtool_s3.store.s3 import S3Store
from tests.support.datasets import ITEMS, DatasetFixture, md5, write_dataset
from tests.support.upstream import Dtool, bucket_environment, ensure_upstream

if TYPE_CHECKING:
    from tests.support.s3_place import S3Place

PREFIX = "u/alice/"


@dataclass(frozen=True, slots=True)
class Place:
    """One bucket: our store, and the environment of somebody who has its keys."""

    store: S3Store
    environment: dict[str, str]

    def dtool(self, **more: str) -> Dtool:
        """Our dtool for who has the keys."""
        return Dtool(Path(sys.executable).parent, self.environment | more)


@dataclass(frozen=True, slots=True)
class Stranger:
    """Somebody with dtool and without keys."""

    dtool: Dtool
    directory: Path

    def reads(self, url: str) -> dict[str, bytes]:
        """Copy a published dataset and verify the copy; return its items by relpath.

        (dtool-http 0.5.2 cannot verify over HTTP: its broker does not list items.)
        """
        target = self.directory / secrets.token_hex(4)
        target.mkdir()
        self.dtool.run("cp", "--quiet", url, target.as_uri())
        (dataset,) = target.iterdir()
        self.dtool.run("verify", "--full", str(dataset))
        data = dataset / "data"
        return {str(path.relative_to(data)): path.read_bytes() for path in data.rglob("*") if path.is_file()}


def environment_of_nobody(home: Path) -> dict[str, str]:
    """Environment without any key of S3."""
    made = bucket_environment("none", "", "", "", home)
    return {name: value for name, value in made.items() if not name.startswith("DTOOL_S3_")}


@pytest.fixture(params=["ours", "upstream"])
def stranger(request: pytest.FixtureRequest, tmp_path: Path) -> Stranger:
    programs = Path(sys.executable).parent if request.param == "ours" else ensure_upstream() / "bin"
    return Stranger(Dtool(programs, environment_of_nobody(tmp_path / "nobody")), tmp_path)


@pytest.fixture
def weed(s3_place: S3Place) -> Place:
    """A server that takes ACLs without honouring them."""
    return Place(s3_place.open_store(), dict(s3_place.environment))


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def moto(moto_url: str, tmp_path: Path) -> Iterator[Place]:
    """A server that honours ACLs."""
    bucket = f"test-{secrets.token_hex(4)}"
    keys = Credentials("access", Secret("secret"))
    session = boto3.session.Session("access", "secret", region_name="us-east-1")
    session.client("s3", endpoint_url=moto_url).create_bucket(Bucket=bucket)
    environment = bucket_environment(bucket, moto_url, "access", "secret", tmp_path / "home", PREFIX)
    store = S3Store(Endpoint(moto_url, "us-east-1"), bucket, keys)
    yield Place(store, environment)
    store.close()


def status_of(url: str) -> int:
    with urllib3.PoolManager() as pool:
        return pool.request("GET", url, retries=False).status


def put(url: str, body: bytes, headers: dict[str, str]) -> int:
    with urllib3.PoolManager() as pool:
        return pool.request("PUT", url, body=body, headers=headers, retries=False).status


async def written(store: S3Store, prefix: str, **fields: Any) -> DatasetLayout:
    return await write_dataset(store, DatasetFixture(prefix=prefix, **fields))


async def test_a_public_dataset_is_read_by_anybody(moto: Place, stranger: Stranger) -> None:
    overlays = {"n": dict.fromkeys(map(item_identifier, ITEMS), 1)}
    layout = await written(moto.store, PREFIX, overlays=overlays, annotations={"v1.2": "x"})

    url = await publish(moto.store, layout)

    assert "?" not in url
    assert stranger.reads(url) == dict(ITEMS)
    assert "a sample" in stranger.dtool.run("readme", "show", url)
    assert stranger.dtool.run("tag", "ls", url) == "blue"
    assert stranger.dtool.run("annotation", "get", url, "v1.2") == "x"
    assert "a.txt" in stranger.dtool.run("ls", url)
    assert status_of(f"{url}/dtool") == 403


async def test_a_dataset_with_signed_urls_is_read_by_who_was_given_its_url(
    weed: Place, s3_place: S3Place, stranger: Stranger
) -> None:
    layout = await written(weed.store, s3_place.prefix, uuid=s3_place.new_uuid())

    url = await publish(weed.store, layout, expires_seconds=600)

    assert stranger.reads(url) == dict(ITEMS)
    assert status_of(url.partition("?")[0] + "/http_manifest.json") == 403


@pytest.mark.parametrize("place", ["moto", "weed"])
async def test_the_publish_command_signs_where_an_expiry_is_set(
    place: str, request: pytest.FixtureRequest, s3_place: S3Place, stranger: Stranger
) -> None:
    at: Place = request.getfixturevalue(place)
    prefix = PREFIX if place == "moto" else s3_place.prefix
    layout = await written(at.store, prefix, uuid=s3_place.new_uuid())
    uri = f"s3://{at.store.bucket}/{layout.uuid}"

    url = at.dtool(DTOOL_S3_PUBLISH_EXPIRY="600").run("publish", "--quiet", uri)

    assert "X-Amz-Expires=600" in url
    assert stranger.reads(url) == dict(ITEMS)


async def test_the_publish_command_publishes_to_all_where_acls_count(moto: Place, stranger: Stranger) -> None:
    layout = await written(moto.store, PREFIX)

    url = moto.dtool().run("publish", "--quiet", f"s3://{moto.store.bucket}/{layout.uuid}")

    assert stranger.reads(url) == dict(ITEMS)


async def test_what_does_not_answer_is_not_called_published(weed: Place, s3_place: S3Place) -> None:
    layout = await written(weed.store, s3_place.prefix, uuid=s3_place.new_uuid())

    with pytest.raises(AccessDenied, match=r"although the server took the ACLs.*PUBLISH_EXPIRY"):
        await publish(weed.store, layout)
    failed = weed.dtool().attempt("publish", "--quiet", f"s3://{weed.store.bucket}/{layout.uuid}")

    assert failed.returncode != 0
    assert failed.stdout == ""
    keys = {listed.key for listed in (await weed.store.list(layout.root)).objects}
    assert layout.http_manifest_key not in keys


async def test_what_is_unpublished_answers_nobody(moto: Place) -> None:
    layout = await written(moto.store, PREFIX)
    url = await publish(moto.store, layout)
    keys = json.loads((await moto.store.get(layout.http_manifest_key, max_bytes=10**6)).body)["item_urls"]
    assert {status_of(one) for one in keys.values()} == {200}

    await unpublish(moto.store, layout)

    assert {status_of(one) for one in keys.values()} == {403}
    assert status_of(f"{url}/http_manifest.json") in {403, 404}
    assert {status_of(moto.store.public_url(key)) for key in (layout.readme_key, layout.manifest_key)} == {
        403
    }


async def test_a_proto_dataset_is_not_published(moto: Place) -> None:
    layout = await written(moto.store, PREFIX, is_frozen=False)

    with pytest.raises(SourceNotFrozen):
        await publish(moto.store, layout)


async def test_everything_can_be_read_with_signed_urls(weed: Place, s3_place: S3Place) -> None:
    overlays = {"my.key": dict.fromkeys(map(item_identifier, ITEMS), 1)}
    layout = await written(weed.store, s3_place.prefix, uuid=s3_place.new_uuid(), overlays=overlays)

    signed = await sign_dataset(weed.store, layout, 600)

    single = [signed[f"{name}_url"] for name in ("admin_metadata", "manifest", "readme")]
    several = [url for name in ("item", "overlay", "annotation") for url in signed[f"{name}_urls"].values()]
    assert {status_of(url) for url in single + several} == {200}
    assert {status_of(url.partition("?")[0]) for url in single + several} == {403}
    assert (set(signed["item_urls"]), signed["tags"]) == ({item_identifier(r) for r in ITEMS}, ["blue"])


async def test_an_item_is_written_with_the_bytes_and_headers_that_were_signed_only(
    weed: Place, s3_place: S3Place
) -> None:
    layout = await written(weed.store, s3_place.prefix, uuid=s3_place.new_uuid(), is_frozen=False, items={})
    key = layout.item_key(item_identifier("ü/a.txt"))

    url, headers = await sign_item_write(weed.store, layout, "ü/a.txt", md5(b"alpha"), 600)

    assert put(url, b"other", headers) == 400
    for lacking in headers:
        partial = {name: value for name, value in headers.items() if name != lacking}
        assert put(url, b"alpha", partial) in {400, 403}
    assert put(url, b"alpha", headers | {"x-amz-meta-handle": "eA=="}) == 403
    assert not (await weed.store.list(key)).objects
    assert put(url, b"alpha", headers) == 200
    assert (await weed.store.head(key)).metadata == {"handle": "w7wvYS50eHQ=", "checksum": md5(b"alpha")}


async def test_a_text_is_written_with_a_signed_url(weed: Place, s3_place: S3Place) -> None:
    layout = await written(weed.store, s3_place.prefix, uuid=s3_place.new_uuid(), is_frozen=False)

    url = await sign_write(weed.store, layout.readme_key, 600)

    assert put(url, b"description: better", {}) == 200
    assert (await weed.store.get(layout.readme_key, max_bytes=100)).body == b"description: better"
