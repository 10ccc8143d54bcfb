"""What the object loop sends on a real server, with which keys, and when botocore is asked instead."""

import asyncio
import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from itertools import cycle
from pathlib import Path

import pytest

from dtool_s3.errors import BadDigest, BucketUnreachable, NotFound, PreconditionFailed, StorageError
from dtool_s3.settings import (
    Credentials,
    CredentialsSource,
    Encryption,
    EncryptionMode,
    Endpoint,
    Secret,
    ambient_credentials,
)
from dtool_s3.store.object_loop.bucket import MAX_GET_BYTES
from dtool_s3.store.object_loop.loop import MAX_PUT_BYTES
from dtool_s3.store.protocol import IF_ABSENT, ListedObject
from dtool_s3.store.s3 import S3Store
from sandbox.certificates import Authority, create_authority
from sandbox.identity import Identity
from sandbox.port import find_free_ports
from sandbox.seaweedfs import ObjectStore
from tests.support.front import Front, running_front
from tests.support.key_services import container_service, web_identity_service

ODD_KEYS = [
    "a b",
    "ü/日本",
    "a+b",
    "100%/%41",
    "q?x=1&y",
    "a#b",
    "semi;colon:at@=,",
    "~tilde*star!'()",
    "..twice/...",
    ".hidden",
    "<x>&\"'[]{}|^`",  # no backslash: SeaweedFS makes slashes of them
    "e\u0301 combining",
]


@pytest.fixture(autouse=True)
def no_aws_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("AWS_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def identity(object_store: ObjectStore) -> Identity:
    return object_store.identity("admin")


@pytest.fixture
def keys(identity: Identity) -> Credentials:
    return Credentials(identity.access_key, Secret(identity.secret_key))


@pytest.fixture
def front(object_store: ObjectStore) -> Iterator[Front]:
    with running_front(object_store.endpoint) as running:
        yield running


OpenStore = Callable[[], S3Store]


@pytest.fixture
async def store(front: Front, bucket_name: str, keys: Credentials) -> AsyncIterator[S3Store]:
    async with S3Store(Endpoint(front.url), bucket_name, lambda: keys, attempts=2) as opened:
        yield opened


@asynccontextmanager
async def opened(
    endpoint: Endpoint, bucket: str, credentials: CredentialsSource = ambient_credentials
) -> AsyncIterator[S3Store]:
    async with S3Store(endpoint, bucket, credentials, attempts=1) as store:
        yield store


async def listed(store: S3Store, key: str) -> ListedObject:
    return next(found for found in (await store.list(key)).objects if found.key == key)


async def check_that_the_object_loop_works(store: S3Store, front: Front) -> None:
    await store.put("key", b"content", metadata={"handle": "aGk="})
    found = await store.get("key", max_bytes=10)

    assert (found.body, dict(found.info.metadata)) == (b"content", {"handle": "aGk="})
    assert [passed.method for passed in front.passed if passed.is_of_the_object_loop] == ["PUT", "GET"]
    assert len(front.passed) == 2


async def test_small_requests_are_made_by_the_object_loop(store: S3Store, front: Front) -> None:
    written = await store.put("key", b"content", metadata={"Handle": "aGk="})
    found = await store.get("key", max_bytes=10)
    head = await store.head("key")
    part = await store.get_range("key", 1, 3, etag=head.etag)
    told = await store.copy(store.bucket, ListedObject("key", 7, head.etag, head.last_modified), "copy")

    assert all(passed.is_of_the_object_loop for passed in front.passed)
    assert [passed.method for passed in front.passed] == ["PUT", "GET", "HEAD", "GET", "PUT"]
    assert (found.body, part, told) == (b"content", b"ont", None)
    assert found.info == head == replace(written, last_modified=head.last_modified)
    assert abs(written.last_modified - head.last_modified) < timedelta(minutes=5)
    assert replace(await store.head("copy"), key="key", last_modified=head.last_modified) == head


async def test_a_view_of_memory_is_put_as_it_is(store: S3Store, front: Front) -> None:
    await store.put("key", memoryview(bytearray(b"a view of it"))[2:6])

    assert (await store.get("key", max_bytes=10)).body == b"view"
    assert all(passed.is_of_the_object_loop for passed in front.passed)


async def test_other_requests_are_botocores(store: S3Store, front: Front) -> None:
    large = b"x" * (MAX_PUT_BYTES + 1)
    written = await store.put("new", b"", precondition=IF_ABSENT)
    await store.put("large", large)
    await store.put("odd metadata", b"", metadata={"name": "two  spaces"})
    await store.put("named as a header", b"", metadata={"content-type": "x"})
    await store.copy(store.bucket, await listed(store, "new"), "copy", metadata={"a": "b"})
    await store.delete("new")

    assert not any(passed.is_of_the_object_loop for passed in front.passed)
    assert written.etag == hashlib.md5(b"", usedforsecurity=False).hexdigest()
    assert dict((await store.head("named as a header")).metadata) == {"content-type": "x"}


@pytest.mark.parametrize("key", ODD_KEYS)
async def test_keys_arrive_as_they_are(store: S3Store, front: Front, key: str) -> None:
    await store.put(key, b"content", metadata={"handle": "aGk="})
    await store.copy(store.bucket, await listed(store, key), f"copy of {key}")

    names = [found.key for found in (await store.list("")).objects]
    assert sorted(names) == sorted([key, f"copy of {key}"])
    assert (await store.get(key, max_bytes=10)).body == b"content"
    copied = await store.get(f"copy of {key}", max_bytes=10)
    assert (copied.body, dict(copied.info.metadata)) == (b"content", {"handle": "aGk="})
    looped = [passed for passed in front.passed if passed.is_of_the_object_loop]
    assert [passed.method for passed in looped] == ["PUT", "PUT", "GET", "GET"]


@pytest.mark.parametrize("key", ODD_KEYS)
async def test_a_copy_from_another_bucket_arrives_as_it_is(
    store: S3Store, front: Front, make_bucket: Callable[[], str], keys: Credentials, key: str
) -> None:
    other = make_bucket()
    async with opened(Endpoint(front.url), other, lambda: keys) as source:
        await source.put(key, b"content", metadata={"handle": "aGk="})
        found = await listed(source, key)
    front.passed.clear()

    await store.copy(other, found, f"from elsewhere/{key}")

    assert [passed.is_of_the_object_loop for passed in front.passed] == [True]
    copied = await store.get(f"from elsewhere/{key}", max_bytes=10)
    assert (copied.body, dict(copied.info.metadata)) == (b"content", {"handle": "aGk="})


@pytest.mark.parametrize("key", ["/name", "name/", "a/./name", "a//name", "a/../name", "a/na\tme"])
async def test_a_key_that_would_be_sent_as_another_is_not(store: S3Store, front: Front, key: str) -> None:
    for plain in ("name", "a/name"):
        await store.put(plain, b"of another key")
    front.passed.clear()

    await asyncio.gather(store.get(key, max_bytes=100), return_exceptions=True)  # servers have their own ways

    sent = {(passed.path, passed.is_of_the_object_loop) for passed in front.passed}
    assert sent == {(f"/{store.bucket}/{key}", False)}


async def test_what_is_missing_takes_one_request(store: S3Store, front: Front) -> None:
    for request in (
        store.head("missing"),
        store.get("missing", max_bytes=1),
        store.get_range("missing", 0, 1, etag="x"),
    ):
        front.passed.clear()
        with pytest.raises(NotFound, match=f"s3://{store.bucket}/missing: "):
            await request
        assert len(front.passed) == 1


async def test_a_range_of_an_object_that_changed_is_refused(store: S3Store) -> None:
    before = await store.put("key", b"before")
    await store.put("key", b"after!")

    with pytest.raises(PreconditionFailed):
        await store.get_range("key", 0, 3, etag=before.etag)


@pytest.mark.parametrize("size", [12, 1_000_000])
async def test_bytes_that_changed_on_the_way_are_refused_by_the_server(
    store: S3Store, front: Front, size: int
) -> None:
    body = b"a right byte".ljust(size, b".")
    front.change, front.changes_left = (b"a right byte", b"a wrong byte"), 1

    await store.put("key", body)

    puts = [passed for passed in front.passed if passed.method == "PUT"]
    assert [passed.is_of_the_object_loop for passed in puts] == [True, False]
    assert (await store.get("key", max_bytes=size)).body == body
    assert front.passed[-1].is_of_the_object_loop

    front.passed.clear()
    await store.put("key", body)
    assert front.passed[0].is_of_the_object_loop  # the server had refused the other bytes by itself

    front.changes_left = 100
    with pytest.raises(BadDigest):
        await store.put("other", body)
    with pytest.raises(NotFound):
        await store.head("other")


async def test_puts_whose_etags_prove_nothing_are_botocores(store: S3Store, front: Front) -> None:
    front.answers = (hashlib.md5(b"content", usedforsecurity=False).hexdigest().encode(), b"0" * 32)

    for _ in range(2):
        await store.put("key", b"content")

    assert [passed.is_of_the_object_loop for passed in front.passed] == [True, False, False]


async def test_what_the_object_loop_is_refused_is_asked_again(store: S3Store, front: Front) -> None:
    await store.put("key", b"content")
    front.change, front.changes_left = (b"AWS4-HMAC-SHA256", b"AWS4-HMAC-SHA255"), 1

    assert (await store.get("key", max_bytes=10)).body == b"content"

    assert [passed.is_of_the_object_loop for passed in front.passed] == [True, True, False]


async def test_keys_of_the_environment_reach_the_object_loop(
    front: Front, bucket_name: str, identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", identity.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", identity.secret_key)
    monkeypatch.setenv("AWS_ENDPOINT_URL", front.url)

    async with opened(Endpoint(), bucket_name) as store:
        await check_that_the_object_loop_works(store, front)


async def test_a_profile_gives_endpoint_region_and_keys(
    front: Front, bucket_name: str, identity: Identity, tmp_path: Path
) -> None:
    config = f"[profile lab]\nendpoint_url = {front.url}\nregion = eu-north-1\n"
    (tmp_path / "config").write_text(config)
    secret = f"aws_secret_access_key = {identity.secret_key}\n"
    (tmp_path / "credentials").write_text(f"[lab]\naws_access_key_id = {identity.access_key}\n{secret}")

    async with opened(Endpoint(profile="lab"), bucket_name) as store:
        await check_that_the_object_loop_works(store, front)

    assert all("/eu-north-1/s3/" in passed.headers["authorization"] for passed in front.passed)


async def test_a_web_identity_reaches_the_object_loop(
    front: Front, bucket_name: str, identity: Identity, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("who I am")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/lab")

    with web_identity_service(lambda: identity, "who I am") as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", url)
        async with opened(Endpoint(front.url), bucket_name) as store:
            await check_that_the_object_loop_works(store, front)


async def test_the_keys_of_a_container_reach_the_object_loop(
    front: Front, bucket_name: str, identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    with container_service(lambda: identity) as url:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)
        async with opened(Endpoint(front.url), bucket_name) as store:
            await check_that_the_object_loop_works(store, front)


async def test_keys_that_end_soon_are_renewed_for_the_object_loop(
    front: Front, bucket_name: str, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = [object_store.identity("admin"), object_store.identity("instruments")]
    turns = cycle(people)

    with container_service(lambda: next(turns), timedelta(minutes=5)) as url:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)
        async with opened(Endpoint(front.url), bucket_name) as store:
            for _ in range(4):
                await asyncio.gather(store.head("missing"), return_exceptions=True)

    looped = [passed.signer for passed in front.passed if passed.is_of_the_object_loop]
    assert set(looped) == {person.access_key for person in people}


async def test_given_keys_that_changed_are_used_by_the_object_loop(
    front: Front, bucket_name: str, keys: Credentials
) -> None:
    current = Credentials("NOBODY", Secret("nothing"), Secret("and no token"))

    async with opened(Endpoint(front.url), bucket_name, lambda: current) as store:
        with pytest.raises(StorageError):
            await store.put("key", b"")
        current = keys
        await store.put("key", b"")  # botocore notices
        front.passed.clear()
        await check_that_the_object_loop_works(store, front)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return create_authority(tmp_path / "authority")


@pytest.fixture
def tls_front(object_store: ObjectStore, authority: Authority) -> Iterator[Front]:
    certificate = authority.issue_server("localhost", "127.0.0.1")
    with running_front(object_store.endpoint, certificate) as running:
        yield running


async def test_an_authority_of_ones_own_is_trusted_where_it_is_named(
    tls_front: Front, bucket_name: str, keys: Credentials, authority: Authority
) -> None:
    endpoint = Endpoint(tls_front.url, ca_bundle=str(authority.certificate_file))

    async with opened(endpoint, bucket_name, lambda: keys) as store:
        await check_that_the_object_loop_works(store, tls_front)


async def test_an_authority_of_the_environment_is_trusted(
    tls_front: Front,
    bucket_name: str,
    keys: Credentials,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(authority.certificate_file))

    async with opened(Endpoint(tls_front.url), bucket_name, lambda: keys) as store:
        await check_that_the_object_loop_works(store, tls_front)


async def test_an_unknown_authority_is_not_trusted(
    tls_front: Front, bucket_name: str, keys: Credentials
) -> None:
    async with opened(Endpoint(tls_front.url), bucket_name, lambda: keys) as store:
        with pytest.raises(BucketUnreachable, match="SSLError"):
            await store.put("key", b"")

    assert tls_front.passed == []


async def test_hosts_without_a_proxy_are_spoken_to_directly(
    front: Front, bucket_name: str, keys: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = f"http://127.0.0.1:{find_free_ports(1)[0]}"
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "AWS_PROXY_URL"):
        monkeypatch.setenv(name, nobody)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    async with opened(Endpoint(front.url), bucket_name, lambda: keys) as store:
        await check_that_the_object_loop_works(store, front)


async def test_a_proxy_that_botocore_does_not_know_counts_for_neither(
    front: Front, bucket_name: str, keys: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{find_free_ports(1)[0]}")

    async with opened(Endpoint(front.url), bucket_name, lambda: keys) as store:
        await check_that_the_object_loop_works(store, front)


async def test_hosts_behind_a_proxy_are_botocores(
    front: Front, bucket_name: str, keys: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{find_free_ports(1)[0]}")

    async with opened(Endpoint(front.url), bucket_name, lambda: keys) as store:
        with pytest.raises(BucketUnreachable, match="ProxyConnectionError"):
            await store.put("key", b"")

    assert front.passed == []


async def test_what_obstore_reads_in_the_environment_counts_for_nothing(
    front: Front, bucket_name: str, keys: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = f"http://127.0.0.1:{find_free_ports(1)[0]}"
    for name, value in {
        "AWS_SESSION_TOKEN": "of somebody else",
        "AWS_ENDPOINT_URL": nobody,
        "AWS_ENDPOINT_URL_S3": nobody,
        "AWS_ENDPOINT": nobody,
        "AWS_BUCKET": "other",
        "AWS_REGION": "nowhere",
        "AWS_SKIP_SIGNATURE": "true",
        "AWS_UNSIGNED_PAYLOAD": "true",
        "AWS_S3_EXPRESS": "true",
        "AWS_REQUEST_PAYER": "true",
        "AWS_TIMEOUT": "1 ns",
    }.items():
        monkeypatch.setenv(name, value)

    async with opened(Endpoint(front.url, region="us-east-1"), bucket_name, lambda: keys) as store:
        await check_that_the_object_loop_works(store, front)

    for passed in front.passed:
        assert not {"x-amz-security-token", "x-amz-request-payer"} & set(passed.headers)
        assert passed.headers["x-amz-content-sha256"] != "UNSIGNED-PAYLOAD"


async def test_encryption_that_only_obstore_would_ask_for_leaves_it_out(
    front: Front, bucket_name: str, keys: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SERVER_SIDE_ENCRYPTION", "aws:kms")

    async with opened(Endpoint(front.url), bucket_name, lambda: keys) as store:
        await store.put("key", b"")

    assert [passed.is_of_the_object_loop for passed in front.passed] == [False]
    assert "x-amz-server-side-encryption" not in front.passed[0].headers


async def test_encryption_is_asked_for_with_every_write(
    front: Front, bucket_name: str, keys: Credentials
) -> None:
    plain = Endpoint(front.url)
    async with opened(plain, bucket_name, lambda: keys) as store:
        await store.put("source", b"content")
        source = await listed(store, "source")
    front.passed.clear()

    for number, mode in enumerate(EncryptionMode):
        encryption = Encryption(mode, "key-id" if mode is EncryptionMode.SSE_KMS else None)
        async with opened(replace(plain, encryption=encryption), bucket_name, lambda: keys) as store:
            await asyncio.gather(  # SeaweedFS has no keys here: only what it is asked for counts
                store.put(f"put {number}", b"content"),
                store.copy(bucket_name, source, f"copy {number}"),
                return_exceptions=True,
            )

    writes = [passed for passed in front.passed if passed.method == "PUT"]
    asked = [passed.headers["x-amz-server-side-encryption"] for passed in writes]
    kms_keys = [passed.headers.get("x-amz-server-side-encryption-aws-kms-key-id") for passed in writes]
    assert len(writes) >= 4
    assert set(zip(asked, kms_keys, strict=True)) == {("AES256", None), ("aws:kms", "key-id")}
    kms_puts = [passed for passed in writes if "/put 1" in passed.path]
    assert not any(passed.is_of_the_object_loop for passed in kms_puts)  # their ETags prove nothing


async def test_the_object_loop_rests_where_it_fails(bucket_name: str, keys: Credentials) -> None:
    dead = Endpoint(f"http://127.0.0.1:{find_free_ports(1)[0]}")
    told: list[object] = []

    async with S3Store(dead, bucket_name, lambda: keys, attempts=1, on_request=told.append) as store:
        for _ in range(12):
            with pytest.raises(BucketUnreachable):
                await store.head("key")

    assert len(told) == 8 + 12


async def test_closing_ends_all_threads(front: Front, bucket_name: str, keys: Credentials) -> None:
    before = set(threading.enumerate())

    def ours() -> list[str]:
        new = set(threading.enumerate()) - before
        return [thread.name for thread in new if thread.name.startswith("dtool-s3")]

    store = S3Store(Endpoint(front.url), bucket_name, lambda: keys, max_concurrency=2)
    await asyncio.gather(*(store.put(f"key{number}", b"") for number in range(20)))
    running = ours()
    await asyncio.to_thread(store.close)

    assert 1 <= len([name for name in running if "objects" in name]) <= 4
    assert ours() == []


_FORKING = """
import asyncio, multiprocessing, os, sys
from dtool_s3.settings import Endpoint
from dtool_s3.store.s3 import S3Store

store = S3Store(Endpoint(), sys.argv[1])

async def use():
    await asyncio.gather(*(store.put(f"key{number}", b"content") for number in range(8)))
    return (await store.get("key1", max_bytes=10)).body

def child():
    assert asyncio.run(use()) == b"content"
    asyncio.run(S3Store(Endpoint(), sys.argv[1]).head("key1"))
    store.close()

child_before = multiprocessing.get_context("fork").Process(target=child)
child_before.start()
child_before.join()
store = S3Store(Endpoint(), sys.argv[1])
assert asyncio.run(use()) == b"content"
child_after = multiprocessing.get_context("fork").Process(target=child)
child_after.start()
child_after.join()
assert asyncio.run(use()) == b"content"
pid = os.fork()
if pid == 0:
    child()
    os._exit(0)
status = os.waitpid(pid, 0)[1]
print(child_before.exitcode, child_after.exitcode, status)
"""


def test_a_forked_child_is_served_by_botocore(front: Front, bucket_name: str, identity: Identity) -> None:
    environment = {
        **os.environ,
        "AWS_ACCESS_KEY_ID": identity.access_key,
        "AWS_SECRET_ACCESS_KEY": identity.secret_key,
        "AWS_ENDPOINT_URL": front.url,
    }
    command = [sys.executable, "-c", _FORKING, bucket_name]

    ended = subprocess.run(command, env=environment, timeout=50, check=False, capture_output=True, text=True)

    assert (ended.stdout.split(), ended.returncode) == (["0", "0", "0"], 0), ended.stderr
    assert any(passed.is_of_the_object_loop for passed in front.passed)


async def test_a_service_is_the_same_whoever_says_where_it_is(
    front: Front, bucket_name: str, keys: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"{front.url}/")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", keys.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", keys.secret_access_key.reveal())
    monkeypatch.setenv("AWS_REGION", "us-east-1")

    async with (
        opened(Endpoint(), bucket_name) as chain,
        opened(Endpoint(front.url), bucket_name, keys) as said,
    ):
        await chain.check_bucket()

        assert chain.endpoint_url == said.endpoint_url == front.url
    async with opened(Endpoint("https://s3.eu-central-1.amazonaws.com"), bucket_name, keys) as aws:
        assert aws.endpoint_url == ""


async def test_many_copies_are_seen_at_once_and_what_is_odd_is_left_to_single_ones(
    object_store: ObjectStore, make_bucket: Callable[[], str], keys: Credentials
) -> None:
    source, target, endpoint = make_bucket(), make_bucket(), Endpoint(object_store.endpoint)
    async with opened(endpoint, source, keys) as origin, opened(endpoint, target, keys) as place:
        written = [await origin.put(f"in/{n}", str(n).encode(), metadata={"n": str(n)}) for n in range(5)]
        listed = (await origin.list("in/")).objects
        gone = replace(listed[0], key="in/gone")

        found = await place.copy_many(source, [*((each, f"out/{each.key}") for each in listed), (gone, "x")])
        odd = await place.copy_many(source, [(listed[0], "out//in")])

    *copied, missing = found
    assert [info and (info.etag, dict(info.metadata)) for info in copied] == [
        (info.etag, dict(info.metadata)) for info in written
    ]
    assert (missing, odd) == (None, [None])


async def test_a_large_object_is_read_by_botocore_into_one_place(store: S3Store, front: Front) -> None:
    body = bytes(MAX_GET_BYTES + 1)
    await store.put("large", body)
    front.passed.clear()

    found = await store.get("large", max_bytes=len(body))

    assert found.body == body
    assert [passed.is_of_the_object_loop for passed in front.passed] == [True, False]
