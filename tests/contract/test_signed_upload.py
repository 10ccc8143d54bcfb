"""Work by signed URLs survives what happens to operators: restarts, new keys and tokens, expired URLs."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dtool_operator.planning.task import Task, TaskKind
from dtool_operator.planning.transfer import JobRef
from dtool_operator.transfers.executor import TaskCredentials
from dtool_operator.transfers.signing import client
from dtool_operator.transfers.signing.wire import ReadAsked
from dtool_s3.documents import AdminMetadata, DatasetType, dump_admin_metadata
from dtool_s3.errors import AccessDenied, ClockSkewed, CredentialsRejected
from dtool_s3.layout import DatasetLayout, item_identifier, item_metadata
from dtool_s3.settings import Credentials
from dtool_s3.settings import Endpoint as S3Endpoint
from dtool_s3.store.boto import publishing
from dtool_s3.store.protocol import Part, Upload
from dtool_s3.store.s3 import S3Store
from dtool_s3.transfer.multipart import upload_in_parts
from tests.support.signing import (
    PREFIX,
    ROOT,
    UUID,
    Endpoint,
    build_credentials,
    build_location,
    build_task,
    running_endpoint,
)

if TYPE_CHECKING:
    from sandbox.seaweedfs import ObjectStore

MIB = 1024 * 1024
LAYOUT = DatasetLayout(PREFIX, UUID)


@dataclass
class Stage:
    """An endpoint, the bucket behind it, and a task that may upload."""

    endpoint: Endpoint
    bucket: S3Store
    keys: Credentials
    upload: Task


@pytest.fixture
async def stage(object_store: ObjectStore, bucket_name: str, tmp_path: Path) -> AsyncIterator[Stage]:
    identity = object_store.identity("admin")
    keys = build_credentials(identity.access_key, identity.secret_key)
    task = build_task(TaskKind.UPLOAD, build_location(object_store.endpoint, bucket_name))
    admin = AdminMetadata(UUID, DatasetType.PROTO, "rnaseq", "alice", created_at=1.0)
    body, metadata = dump_admin_metadata(admin.as_dict())
    async with (
        S3Store(S3Endpoint(object_store.endpoint), bucket_name, lambda: keys) as bucket,
        running_endpoint(tmp_path) as endpoint,
    ):
        await bucket.put(LAYOUT.admin_metadata_key, body, metadata=metadata)
        await endpoint.give(task, keys)
        yield Stage(endpoint, bucket, keys, task)


def md5(body: bytes) -> str:
    return hashlib.md5(body, usedforsecurity=False).hexdigest()


async def test_an_endpoint_that_restarts_in_the_middle_of_an_upload_holds_it_up_only(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = stage.endpoint.open(stage.upload, patience_seconds=60)
    begun, parts = asyncio.Event(), [b"a" * (5 * MIB), b"b" * (5 * MIB), b"end"]
    bodies = {f"{number}.txt": f"content {number}".encode() for number in range(200)}

    async def put(relpath: str, body: bytes) -> None:
        key = LAYOUT.item_key(item_identifier(relpath))
        await store.put(key, body, metadata=item_metadata(relpath, md5(body)))
        begun.set()

    async def produce(upload: Upload) -> list[Part]:
        first = await store.put_part(upload, 1, parts[0])
        begun.set()
        return [first, *[await store.put_part(upload, n, body) for n, body in enumerate(parts[1:], 2)]]

    large = LAYOUT.item_key(item_identifier("large"))
    uploading = asyncio.gather(
        upload_in_parts(store, large, item_metadata("large", md5(b"".join(parts))), produce),
        *(put(relpath, body) for relpath, body in bodies.items()),
    )
    await begun.wait()
    await stage.endpoint.restart()
    find, unknown = stage.endpoint.grants.find, asyncio.Event()

    def find_none(job: JobRef) -> object:
        unknown.set()
        return find(job)

    monkeypatch.setattr(stage.endpoint.grants, "find", find_none)
    await asyncio.wait_for(
        unknown.wait(), 30
    )  # the new operator has told the worker that it knows no such Job
    assert not uploading.done()
    await stage.endpoint.give(stage.upload, stage.keys)  # as the operator does once it has adopted the Job

    await uploading

    listed = {one.key: one.etag for one in (await stage.bucket.list(LAYOUT.data_prefix)).objects}
    small = {LAYOUT.item_key(item_identifier(name)): md5(body) for name, body in bodies.items()}
    assert small.items() <= listed.items()
    assert listed.keys() - small.keys() == {large}
    assert (await stage.bucket.get(large, max_bytes=11 * MIB)).body == b"".join(parts)
    assert await stage.bucket.list_uploads("") == ()


async def test_an_item_of_an_earlier_run_is_kept_if_it_is_the_same_and_replaced_if_not(stage: Stage) -> None:
    store = stage.endpoint.open(stage.upload)
    same, other = (LAYOUT.item_key(item_identifier(name)) for name in ("same", "other"))
    await stage.bucket.put(same, b"content", metadata=item_metadata("same", md5(b"content")))
    before = await stage.bucket.head(same)
    await stage.bucket.put(other, b"something else", metadata=item_metadata("other", "0" * 32))

    for name, key in (("same", same), ("other", other)):
        await store.put(key, b"content", metadata=item_metadata(name, md5(b"content")))

    assert await stage.bucket.head(same) == before
    found = await stage.bucket.get(other, max_bytes=100)
    assert (found.body, dict(found.info.metadata)) == (b"content", item_metadata("other", md5(b"content")))


async def test_many_requests_at_a_time_are_few_questions(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[int] = []
    sign = client.EndpointClient.sign

    async def counted(self: client.EndpointClient, asked: list[ReadAsked]) -> object:
        batches.append(len(asked))
        return await sign(self, asked)

    monkeypatch.setattr(client.EndpointClient, "sign", counted)
    store = stage.endpoint.open(stage.upload)

    await asyncio.gather(*(store.head(LAYOUT.admin_metadata_key) for _ in range(300)))

    assert sum(batches) == 300
    assert len(batches) < 200  # how few depends on how busy the machine is
    assert stage.endpoint.reviewer.asked == 1


async def test_ranges_of_one_object_need_one_url(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    written = await stage.bucket.put(LAYOUT.readme_key, bytes(range(100)))
    asked: list[int] = []
    sign = client.EndpointClient.sign

    async def counted(self: client.EndpointClient, batch: list[ReadAsked]) -> object:
        asked.append(len(batch))
        return await sign(self, batch)

    monkeypatch.setattr(client.EndpointClient, "sign", counted)
    store = stage.endpoint.open(stage.upload)

    for first in range(0, 100, 10):
        found = await store.get_range(LAYOUT.readme_key, first, 10, etag=written.etag)
        assert found == bytes(range(first, first + 10))

    assert asked == [1]


async def test_a_url_that_s3_refuses_is_asked_for_again(stage: Stage) -> None:
    """A kept URL that has expired by S3's clock, or was signed with keys that are no more."""
    written = await stage.bucket.put(LAYOUT.readme_key, b"content")
    store = stage.endpoint.open(stage.upload)
    assert await store.get_range(LAYOUT.readme_key, 0, 3, etag=written.etag) == b"con"
    desk, _ = await store._requests._open()
    (asked, (until, given)) = desk._kept.popitem()
    spoiled = given.model_copy(update={"url": given.url.replace("X-Amz-Date=2", "X-Amz-Date=1")})
    desk._kept[asked] = until, spoiled

    assert await store.get_range(LAYOUT.readme_key, 0, 3, etag=written.etag) == b"con"


async def test_a_server_whose_clock_is_ahead_is_told_from_missing_rights(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the server it is the same, and to HEAD it says nothing but 403."""
    behind = timedelta(seconds=100)

    class Behind(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return datetime.now(tz) - behind

    await stage.bucket.put(LAYOUT.readme_key, b"content")
    store = stage.endpoint.open(stage.upload)
    monkeypatch.setattr(publishing, "datetime", Behind)

    for read in (store.head(LAYOUT.readme_key), store.get(LAYOUT.readme_key, max_bytes=10)):
        with pytest.raises(ClockSkewed, match=r"by the endpoint's clock the signed URL had ended \d+ s"):
            await read

    monkeypatch.undo()
    assert (await store.get(LAYOUT.readme_key, max_bytes=10)).body == b"content"


async def test_keys_that_were_replaced_are_signed_with_at_once(stage: Stage) -> None:
    """Rule 19."""
    await stage.bucket.put(LAYOUT.readme_key, b"content")
    store, wrong = stage.endpoint.open(stage.upload), build_credentials("NOBODY", "nothing")
    stage.endpoint.grants.refresh(stage.upload.key, TaskCredentials(wrong))
    with pytest.raises((CredentialsRejected, AccessDenied)):
        await store.get(LAYOUT.readme_key, max_bytes=10)

    stage.endpoint.grants.refresh(stage.upload.key, TaskCredentials(stage.keys))

    assert (await store.get(LAYOUT.readme_key, max_bytes=10)).body == b"content"


async def test_a_token_that_was_replaced_is_read_again(stage: Stage) -> None:
    store = stage.endpoint.open(stage.upload)
    await store.head(LAYOUT.admin_metadata_key)
    jobs = stage.endpoint.reviewer.jobs
    jobs["new"] = jobs.pop("token-1")
    (stage.endpoint.directory / "token-token-1").write_text("new\n")
    await stage.endpoint.restart()
    await stage.endpoint.grants.give(stage.upload, jobs["new"], TaskCredentials(stage.keys))

    assert (await store.head(LAYOUT.admin_metadata_key)).size_bytes > 0


async def test_a_withdrawn_grant_waits_for_what_is_under_way(stage: Stage) -> None:
    grant = stage.endpoint.grants.find(stage.endpoint.reviewer.jobs["token-1"])
    assert grant is not None
    async with grant.turn():
        withdrawing = asyncio.ensure_future(stage.endpoint.grants.withdraw(stage.upload.key))
        await asyncio.sleep(0)
        assert not withdrawing.done()
        with pytest.raises(AccessDenied):
            async with grant.turn():
                pass

    await withdrawing


async def test_connections_beyond_the_bound_are_closed(stage: Stage, tmp_path: Path) -> None:
    directory = tmp_path / "small"
    directory.mkdir()
    async with running_endpoint(directory, max_connections=0) as endpoint:
        await endpoint.give(stage.upload, stage.keys)

        with pytest.raises(Exception, match="no answer from the signing endpoint"):
            await endpoint.open(stage.upload, patience_seconds=0.5).head(f"{ROOT}dtool")
