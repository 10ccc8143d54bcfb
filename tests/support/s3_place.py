"""A place on an S3 server for one test: the sandbox's, or one that the user names with S3_TEST_BASE_URI.

`S3_TEST_BASE_URI=s3://some-bucket` runs the tests that ask for `s3_place` on that bucket, with what dtool
and the AWS SDKs know of it (DTOOL_S3_* of the bucket, else the AWS chain). Everything such a test makes lies
under a prefix of its own, besides registration keys of random UUIDs; it is removed at the test's end, also
after a failure. Touches no other key.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from dtool_s3.configuration import read_configuration
from dtool_s3.errors import InvalidURI, NotFound
from dtool_s3.layout import DatasetLayout
from dtool_s3.settings import Credentials, CredentialsSource, Endpoint, Secret
from dtool_s3.store.s3 import S3Store
from dtool_s3.uri import BaseURI, parse_uri
from tests.support.upstream import bucket_environment

if TYPE_CHECKING:
    from pathlib import Path

    from sandbox.seaweedfs import ObjectStore

VARIABLE = "S3_TEST_BASE_URI"
_REGISTRATION = "dtool-"
_MAX_REGISTRATION_BYTES = 10_000


def named_bucket() -> str | None:
    """Return the bucket that the user names; None: the sandbox's server is used. Raises InvalidURI."""
    text = os.environ.get(VARIABLE)
    if not text:
        return None
    uri = parse_uri(text)
    if not isinstance(uri, BaseURI):
        raise InvalidURI(f"{VARIABLE}={text!r} is not a base URI such as s3://some-bucket")
    return uri.bucket


@dataclass(frozen=True, slots=True)
class S3Place:
    """Where one test may write: all below `prefix` of `bucket`, and registration keys of `new_uuid()`s.

    `endpoint` and `credentials` are what stores are opened with. `environment` is that of a user's `dtool`
    subprocess (ours or upstream's, see `tests.support.upstream.Dtool`) whose datasets go to `prefix`.
    `is_sandbox`: the sandbox's SeaweedFS, whose behaviour is known in detail; else somebody's S3.
    """

    bucket: str
    prefix: str
    endpoint: Endpoint
    credentials: CredentialsSource
    environment: Mapping[str, str]
    is_sandbox: bool
    _opened: list[S3Store] = field(default_factory=list, repr=False)
    _uuids: list[str] = field(default_factory=list, repr=False)

    @property
    def base_uri(self) -> str:
        """Base URI for dtool."""
        return f"s3://{self.bucket}"

    def open_store(self, **options: object) -> S3Store:
        """Open the bucket; `options` are those of S3Store. It is closed at the test's end."""
        store = S3Store(self.endpoint, self.bucket, self.credentials, **options)  # type: ignore[arg-type]
        self._opened.append(store)
        return store

    def new_uuid(self) -> str:
        """Return a UUID for a dataset; its registration key is removed whatever it says in the end."""
        self._uuids.append(str(uuid.uuid4()))
        return self._uuids[-1]

    def layout(self, dataset_uuid: str | None = None) -> DatasetLayout:
        """Return the keys of a dataset below the prefix, of a new UUID unless one is given."""
        return DatasetLayout(self.prefix, dataset_uuid or self.new_uuid())

    async def list_registrations(self, store: S3Store) -> set[str]:
        """Return all registration keys of the bucket."""
        return {found.key for found in (await store.list(_REGISTRATION)).objects}

    async def remove_all(self, foreign: set[str]) -> None:
        """Remove what the test made; registration keys in `foreign` were there before.

        Of the others, those that name a place below the prefix are the test's, and those of its UUIDs.
        """
        async with S3Store(self.endpoint, self.bucket, self.credentials) as store:
            for upload in await store.list_uploads(self.prefix):
                await store.abort_upload(upload)
            for found in (await store.list(self.prefix)).objects:
                await store.delete(found.key)
            for key in sorted(await self.list_registrations(store) - foreign):
                if key.removeprefix(_REGISTRATION) in self._uuids or await self._is_ours(store, key):
                    await store.delete(key)

    async def _is_ours(self, store: S3Store, key: str) -> bool:
        with contextlib.suppress(NotFound):
            found = await store.get(key, max_bytes=_MAX_REGISTRATION_BYTES)
            return found.body.startswith(self.prefix.encode())
        return False

    async def close(self) -> None:
        """Close the stores that were opened."""
        for store in self._opened:
            await asyncio.to_thread(store.close)


def _build_named(bucket: str, prefix: str, directory: Path) -> S3Place:
    configuration = read_configuration(bucket)
    environment = {
        **os.environ,
        f"DTOOL_S3_DATASET_PREFIX_{bucket}": prefix,
        "DTOOL_CACHE_DIRECTORY": str(directory / "cache"),
    }
    environment.setdefault("USER", "tester")
    return S3Place(
        bucket, prefix, configuration.endpoint, configuration.credentials, environment, is_sandbox=False
    )


def _build_sandboxed(server: ObjectStore, bucket: str, prefix: str, directory: Path) -> S3Place:
    admin = server.identity("admin")
    keys = Credentials(admin.access_key, Secret(admin.secret_key))
    environment = bucket_environment(
        bucket, server.endpoint, admin.access_key, admin.secret_key, directory / "home", prefix
    )
    endpoint = Endpoint(server.endpoint, "us-east-1")
    return S3Place(bucket, prefix, endpoint, lambda: keys, environment, is_sandbox=True)


@pytest.fixture
async def make_s3_place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Callable[[], S3Place]]:
    """A function that makes places (see S3Place); all of them are emptied at the test's end."""
    places: list[S3Place] = []
    bucket = named_bucket()
    directory = tmp_path_factory.mktemp("s3-place")
    foreign: set[str] = set()
    if bucket:
        async with S3Store(*_source(bucket)) as store:
            foreign = {found.key for found in (await store.list(_REGISTRATION)).objects}

    def make() -> S3Place:
        prefix = f"test-dtool-s3/{secrets.token_hex(8)}/"
        if bucket:
            places.append(_build_named(bucket, prefix, directory / str(len(places))))
        else:
            server: ObjectStore = request.getfixturevalue("object_store")
            name = server.create_bucket(f"test-{secrets.token_hex(4)}")
            places.append(_build_sandboxed(server, name, prefix, directory / str(len(places))))
        return places[-1]

    yield make
    outcomes = await asyncio.gather(*(_end(place, foreign) for place in places), return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome


async def _end(place: S3Place, foreign: set[str]) -> None:
    await place.close()
    await place.remove_all(foreign)


def _source(bucket: str) -> tuple[Endpoint, str, CredentialsSource]:
    configuration = read_configuration(bucket)
    return configuration.endpoint, bucket, configuration.credentials


@pytest.fixture
def s3_place(make_s3_place: Callable[[], S3Place]) -> S3Place:
    """A place on S3 for this test alone: bucket, prefix, `open_store()`, a dtool subprocess's environment."""
    return make_s3_place()
