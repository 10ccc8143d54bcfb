"""What S3Store promises beyond the protocol: lost answers, rotated credentials, dead endpoints, threads."""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from datetime import UTC, datetime

import pytest

from dtool_s3.errors import (
    BucketUnreachable,
    CredentialsRejected,
    PreconditionFailed,
    SettingsError,
)
from dtool_s3.settings import ConditionalWrites, Credentials, Endpoint, Secret
from dtool_s3.store.faults import Request
from dtool_s3.store.protocol import IF_ABSENT, ListedObject, if_match
from dtool_s3.store.s3 import S3Store
from sandbox.port import find_free_ports
from sandbox.seaweedfs import ObjectStore
from tests.support.fault_proxy import FaultProxy, fault_proxy, lost_answer

WRONG = Credentials("NOBODY", Secret("nothing"))


@pytest.fixture
def admin(object_store: ObjectStore) -> Credentials:
    identity = object_store.identity("admin")
    return Credentials(identity.access_key, Secret(identity.secret_key))


@pytest.fixture
def endpoint(object_store: ObjectStore) -> Endpoint:
    return Endpoint(object_store.endpoint)


@pytest.fixture
def proxy(object_store: ObjectStore) -> Iterator[FaultProxy]:
    with fault_proxy(object_store.endpoint) as running:
        yield running


@pytest.fixture
async def store(proxy: FaultProxy, admin: Credentials, bucket_name: str) -> AsyncIterator[S3Store]:
    async with S3Store(Endpoint(proxy.url), bucket_name, lambda: admin) as opened:
        await opened.check_bucket()
        yield opened


def sent(proxy: FaultProxy, method: str) -> int:
    return sum(request.method == method for request in proxy.requests)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())  # other tests leave the stores that brokers share
    yield
    left = set(threading.enumerate()) - before
    assert [thread.name for thread in left if thread.name.startswith("dtool-s3_")] == []


async def test_a_create_whose_answer_was_lost_is_our_success(store: S3Store, proxy: FaultProxy) -> None:
    proxy.faults.append(lost_answer("PUT", "/key"))

    written = await store.put("key", b"ours", metadata={"A": "b"}, precondition=IF_ABSENT)

    assert sent(proxy, "PUT") == 1
    assert written == await store.head("key")


async def test_a_write_whose_answer_was_lost_is_not_repeated(store: S3Store, proxy: FaultProxy) -> None:
    await store.put("key", b"before")
    proxy.faults.append(lost_answer("PUT", "/key"))

    await store.put("key", b"after")

    assert sent(proxy, "PUT") == 2
    assert (await store.get("key", max_bytes=10)).body == b"after"


async def test_a_refusal_whose_answer_was_lost_stays_a_refusal(store: S3Store, proxy: FaultProxy) -> None:
    await store.put("key", b"theirs")
    proxy.faults.append(lost_answer("PUT", "/key"))

    with pytest.raises(PreconditionFailed):
        await store.put("key", b"ours", precondition=IF_ABSENT)

    assert (await store.get("key", max_bytes=10)).body == b"theirs"


async def test_a_create_is_ours_even_where_looking_for_it_failed_too(
    store: S3Store, proxy: FaultProxy
) -> None:
    proxy.faults += [lost_answer("PUT", "/key"), lost_answer("HEAD", "/key")]

    await store.put("key", b"ours", precondition=IF_ABSENT)

    assert sent(proxy, "PUT") == 2  # the second was refused, and the object found to be ours
    assert (await store.get("key", max_bytes=10)).body == b"ours"


async def test_a_replacement_whose_answer_was_lost_is_our_success(store: S3Store, proxy: FaultProxy) -> None:
    first = await store.put("key", b"first")
    proxy.faults.append(lost_answer("PUT", "/key"))

    await store.put("key", b"second", precondition=if_match(first.etag))

    assert (await store.get("key", max_bytes=10)).body == b"second"


async def test_losses_without_end_are_reported_in_the_end(proxy: FaultProxy, admin: Credentials) -> None:
    proxy.faults.append(lost_answer("GET", "/bucket/key", times=100))

    async with S3Store(Endpoint(proxy.url), "bucket", lambda: admin, attempts=3) as store:
        with pytest.raises(BucketUnreachable, match="s3://bucket/key"):
            await store.get("key", max_bytes=1)

    assert sent(proxy, "GET") == 1 + 3  # the object loop's, which counts for none of the attempts


async def test_a_completion_whose_answer_was_lost_is_our_success(store: S3Store, proxy: FaultProxy) -> None:
    upload = await store.start_upload("large", {})
    part = await store.put_part(upload, 1, b"content")
    proxy.faults.append(lost_answer("POST", "uploadId="))

    etag = await store.complete_upload(upload, [part])

    assert etag == (await store.head("large")).etag
    assert sent(proxy, "POST") == 2  # the start and one completion


async def test_deletes_and_aborts_whose_answers_were_lost_are_done(store: S3Store, proxy: FaultProxy) -> None:
    written = await store.put("key", b"")
    upload = await store.start_upload("large", {})
    proxy.faults += [lost_answer("DELETE", "/key"), lost_answer("DELETE", "/large")]

    await store.delete("key", precondition=if_match(written.etag))
    await store.abort_upload(upload)

    assert (await store.list("")).objects == ()
    assert await store.list_uploads("") == ()


async def test_a_copy_whose_answer_was_lost_is_repeated(store: S3Store, proxy: FaultProxy) -> None:
    source = await store.put("source", b"content")
    listed = ListedObject("source", 7, source.etag, datetime.now(UTC))
    proxy.faults.append(lost_answer("PUT", "/target"))

    assert await store.copy(store.bucket, listed, "target") == source.etag


async def test_a_body_that_was_cut_is_read_again(store: S3Store, proxy: FaultProxy) -> None:
    body = b"x" * 500_000
    await store.put("key", body)
    proxy.faults.append(lost_answer("GET", "/key", after_bytes=100_000))

    assert (await store.get("key", max_bytes=1_000_000)).body == body


async def test_a_stream_that_is_cut_in_the_middle_fails(store: S3Store, proxy: FaultProxy) -> None:
    await store.put("key", b"x" * 5_000_000)
    proxy.faults.append(lost_answer("GET", "/key", after_bytes=3_000_000))
    received = [0]

    async def read() -> None:
        async with store.stream("key") as stream:
            async for chunk in stream.chunks:
                received[0] += len(chunk)

    with pytest.raises(BucketUnreachable):
        await read()

    assert 0 < received[0] < 5_000_000


async def test_an_endpoint_where_nothing_listens_is_named_soon(admin: Credentials) -> None:
    port = find_free_ports(1)[0]
    before = time.monotonic()

    async with S3Store(Endpoint(f"http://127.0.0.1:{port}"), "bucket", lambda: admin) as store:
        with pytest.raises(BucketUnreachable, match=f"127.0.0.1:{port}"):
            await store.put("key", b"")

    assert time.monotonic() - before < 15


async def test_rotated_credentials_are_read_again(
    endpoint: Endpoint, admin: Credentials, bucket_name: str
) -> None:
    given = iter([WRONG, admin])

    async with S3Store(endpoint, bucket_name, lambda: next(given)) as store:
        await store.put("key", b"content")

    given = iter([WRONG, admin])
    async with S3Store(endpoint, bucket_name, lambda: next(given)) as store:
        await store.check_bucket()
        assert (await store.head("key")).size_bytes == 7


async def test_many_requests_under_way_survive_a_rotation(
    endpoint: Endpoint, admin: Credentials, bucket_name: str
) -> None:
    given = iter([WRONG, admin])

    async with S3Store(endpoint, bucket_name, lambda: next(given)) as store:
        await asyncio.gather(*(store.put(f"key-{number}", b"") for number in range(40)))

        assert len((await store.list("")).objects) == 40


async def test_credentials_that_did_not_change_are_not_tried_again(
    endpoint: Endpoint, bucket_name: str
) -> None:
    requests: list[Request] = []

    async with S3Store(endpoint, bucket_name, lambda: WRONG, on_request=requests.append) as store:
        with pytest.raises(CredentialsRejected):
            await store.put("key", b"")

    assert requests == [Request("put", bucket_name, "key")] * 2  # the object loop's, and one


async def test_no_message_holds_a_secret_or_the_servers_answer(
    endpoint: Endpoint, admin: Credentials, bucket_name: str
) -> None:
    stranger = Credentials(admin.access_key_id, Secret("very-secret-key"))

    async with S3Store(endpoint, bucket_name, lambda: stranger) as store:
        with pytest.raises(CredentialsRejected) as caught:
            await store.get("key", max_bytes=1)

    assert str(caught.value) == f"get of s3://{bucket_name}/key: SignatureDoesNotMatch (HTTP 403)"


async def test_without_conditional_writes_a_create_looks_before_and_after(
    proxy: FaultProxy, admin: Credentials, bucket_name: str
) -> None:
    weak = Endpoint(proxy.url, conditional_writes=ConditionalWrites.BEST_EFFORT)

    async with S3Store(weak, bucket_name, lambda: admin) as store:
        first = await store.put("key", b"first", precondition=IF_ABSENT)
        assert [r.method for r in proxy.requests] == ["HEAD", "PUT", "HEAD"]
        with pytest.raises(PreconditionFailed):
            await store.put("key", b"second", precondition=IF_ABSENT)
        with pytest.raises(PreconditionFailed):
            await store.put("key", b"second", precondition=if_match("0" * 32))
        with pytest.raises(PreconditionFailed):
            await store.delete("key", precondition=if_match("0" * 32))
        await store.put("key", b"second", precondition=if_match(first.etag))

        assert (await store.get("key", max_bytes=10)).body == b"second"


async def test_every_request_is_counted(endpoint: Endpoint, admin: Credentials, bucket_name: str) -> None:
    requests: list[Request] = []

    async with S3Store(endpoint, bucket_name, lambda: admin, on_request=requests.append) as store:
        await store.put("a/key", b"")
        await store.list("a/")

    assert requests == [Request("put", bucket_name, "a/key"), Request("list", bucket_name, "a/")]


async def test_settings_that_cannot_work_are_named(admin: Credentials) -> None:
    async with S3Store(Endpoint("http://127.0.0.1:1", ca_bundle="missing.pem"), "b", lambda: admin) as store:
        with pytest.raises(SettingsError, match=r"missing\.pem"):
            await store.head("key")
    async with S3Store(Endpoint("not a url"), "b", lambda: admin) as store:
        with pytest.raises(SettingsError, match="not a url"):
            await store.head("key")


_FORK = """
import asyncio, os, sys
from dtool_s3.settings import Credentials, Endpoint, Secret
from dtool_s3.store.s3 import S3Store
url, bucket, key, secret = sys.argv[1:]
store = S3Store(Endpoint(url), bucket, lambda: Credentials(key, Secret(secret)))
asyncio.run(store.put("parent", b""))
child = os.fork()
if child == 0:
    asyncio.run(store.put("child", b""))
    os._exit(0)
_, status = os.waitpid(child, 0)
names = [found.key for found in asyncio.run(store.list("")).objects]
assert (status, names) == (0, ["child", "parent"]), (status, names)
"""


def test_a_store_works_on_in_a_forked_child(endpoint: Endpoint, admin: Credentials, bucket_name: str) -> None:
    keys = [admin.access_key_id, admin.secret_access_key.reveal()]
    command = [sys.executable, "-c", _FORK, str(endpoint.url), bucket_name, *keys]

    subprocess.run(command, check=True, timeout=60)


def test_a_closed_store_is_told_from_a_broken_one(endpoint: Endpoint, admin: Credentials) -> None:
    with closing(S3Store(endpoint, "bucket", lambda: admin)) as store:
        pass

    with pytest.raises(RuntimeError, match="shutdown"):
        asyncio.run(store.head("key"))
