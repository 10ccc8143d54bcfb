"""Rule 5, hostile workers: what the Pod of a Job without keys reaches with its token and URLs, on SeaweedFS.

The worker here asks the endpoint whatever it likes, and uses URLs however it likes; what it may ask for is
tabled in `tests/unit/dtool_operator/transfers/signing/test_grant.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from yarl import URL

from dtool_operator.api.reasons import Reason, find_reason
from dtool_operator.errors import ApiFailure
from dtool_operator.planning.task import Task, TaskKind
from dtool_operator.transfers.signing.wire import CALL_PATH, GREETING_PATH, URLS_PATH, SigningFailed
from dtool_operator.transfers.telling import tell_error
from dtool_s3.documents import AdminMetadata, DatasetType, dump_admin_metadata
from dtool_s3.errors import FrozenDataset, NotFound
from dtool_s3.layout import item_identifier, item_metadata
from dtool_s3.settings import Credentials
from dtool_s3.settings import Endpoint as S3Endpoint
from dtool_s3.store.s3 import S3Store
from tests.support.eventually import eventually_async
from tests.support.signing import (
    PREFIX,
    ROOT,
    UUID,
    Endpoint,
    build_credentials,
    build_job,
    build_location,
    build_task,
    running_endpoint,
)

if TYPE_CHECKING:
    from pathlib import Path

    from sandbox.seaweedfs import ObjectStore

BODY = b"content"
MD5 = hashlib.md5(BODY, usedforsecurity=False).hexdigest()
ITEM = f"{ROOT}data/{item_identifier('a.txt')}"
OTHER_UUID = "11111111-82f4-4e60-9ba8-0ee8c1dd1b0e"


@dataclass
class Stage:
    """An endpoint, the bucket behind it as an administrator sees it, and a stranger's HTTP client."""

    endpoint: Endpoint
    bucket: S3Store
    keys: Credentials
    upload: Task
    http: aiohttp.ClientSession

    async def ask(self, path: str, question: dict[str, Any], *, number: int | None = 1) -> tuple[int, Any]:
        """Ask the endpoint as a Pod with the token of this number."""
        headers = {} if number is None else {"Authorization": f"Bearer token-{number}"}
        url = self.endpoint.url + path
        body = io.BytesIO(json.dumps(question).encode())
        async with self.http.post(url, data=body, headers=headers) as answer:
            return answer.status, json.loads(await answer.text())

    async def ask_url(self, **asked: Any) -> dict[str, Any]:
        """Ask for one URL; return what is given or why not."""
        status, answer = await self.ask(URLS_PATH, {"asked": [asked]})
        assert status == 200, answer
        given: dict[str, Any] = answer["given"][0]
        return given

    async def put_url(self, **changes: Any) -> dict[str, Any]:
        """Ask for the URL of an item."""
        asked = {"do": "put", "key": ITEM, "size_bytes": len(BODY), "md5": MD5}
        return await self.ask_url(**{**asked, "metadata": item_metadata("a.txt", MD5), **changes})

    async def send(
        self,
        method: str,
        given: dict[str, Any],
        body: bytes | AsyncIterator[bytes] | None = None,
        **headers: str,
    ) -> tuple[int, bytes]:
        """Use a URL; `headers` replace those that were given, an empty one leaves it out."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {name: value for name, value in {**given["headers"], **named}.items() if value}
        async with self.http.request(
            method, URL(given["url"], encoded=True), headers=sent, data=body
        ) as answer:
            return answer.status, await answer.read()

    async def freeze(self) -> None:
        """Make the dataset frozen, as a publication does."""
        await put_admin(self.bucket, DatasetType.FROZEN)


async def put_admin(bucket: S3Store, kind: DatasetType) -> None:
    admin = AdminMetadata(UUID, kind, "rnaseq", "alice", created_at=1.0, frozen_at=1.0)
    body, metadata = dump_admin_metadata(admin.as_dict())
    await bucket.put(f"{ROOT}dtool", body, metadata=metadata)


@pytest.fixture
async def stage(object_store: ObjectStore, bucket_name: str, tmp_path: Path) -> AsyncIterator[Stage]:
    """A proto dataset, and a Job that may upload to it."""
    identity = object_store.identity("admin")
    keys = build_credentials(identity.access_key, identity.secret_key)
    task = build_task(TaskKind.UPLOAD, build_location(object_store.endpoint, bucket_name))
    async with (
        S3Store(S3Endpoint(object_store.endpoint), bucket_name, lambda: keys) as bucket,
        running_endpoint(tmp_path, expiry_seconds=30) as endpoint,
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=False), skip_auto_headers=("Content-Type",)
        ) as http,
    ):
        await put_admin(bucket, DatasetType.PROTO)
        await endpoint.give(task, keys)
        yield Stage(endpoint, bucket, keys, task, http)


async def test_an_item_is_written_by_its_url(stage: Stage) -> None:
    given = await stage.put_url()

    assert (await stage.send("PUT", given, BODY))[0] == 200

    info = await stage.bucket.head(ITEM)
    assert (info.etag, dict(info.metadata)) == (MD5, item_metadata("a.txt", MD5))


@pytest.mark.parametrize(
    "key",
    [
        f"dtool-{UUID}",
        f"{PREFIX}.dtool-owner",
        f"{ROOT}dtool",
        f"{ROOT}structure.json",
        f"{PREFIX}{OTHER_UUID}/data/{item_identifier('a.txt')}",
        f"u/bob/{UUID}/data/{item_identifier('a.txt')}",
        f"{ROOT}data/../dtool",
        f"{ROOT}tags/..",
        f"{ROOT}tags/../../{OTHER_UUID}/README.yml",
        f"{ROOT}data/{item_identifier('a.txt')}/x",
        f"/{ROOT}README.yml",
        f"{ROOT}tags/a?acl",
        "",
    ],
)
async def test_rule_5_no_url_is_signed_to_write_another_key(stage: Stage, key: str) -> None:
    given = await stage.put_url(key=key)

    assert given["error"] == "AccessDenied"
    assert "url" not in given


@pytest.mark.parametrize(
    "key", [f"dtool-{UUID}", f"{PREFIX}.dtool-owner", f"{PREFIX}{OTHER_UUID}/manifest.json", f"{ROOT}../x"]
)
async def test_no_url_is_signed_to_read_another_dataset(stage: Stage, key: str) -> None:
    assert (await stage.ask_url(do="get", key=key))["error"] == "AccessDenied"
    assert (await stage.ask_url(do="head", key=key))["error"] == "AccessDenied"


@pytest.mark.parametrize(
    "prefix", ["", "u/", PREFIX, ROOT[:-1], f"{PREFIX}{OTHER_UUID}/", f"{ROOT}../", "dtool-"]
)
async def test_no_url_is_signed_to_list_more_than_the_dataset(stage: Stage, prefix: str) -> None:
    assert (await stage.ask_url(do="list", prefix=prefix))["error"] == "AccessDenied"


@pytest.mark.parametrize("token", ["", f"{PREFIX}", "u/bob/", f"{ROOT}data/zz", "../", "u/zz"])
async def test_a_forged_continuation_leads_to_nothing_of_others(stage: Stage, token: str) -> None:
    for key in ("u/bob/secret", f"{PREFIX}{OTHER_UUID}/x", f"{PREFIX}zzz", "zzz"):
        await stage.bucket.put(key, b"")
    given = await stage.ask_url(do="list", prefix=ROOT, token=token)

    _, answer = await stage.send("GET", given)

    assert b"secret" not in answer
    assert b"zzz" not in answer
    assert OTHER_UUID.encode() not in answer


async def test_a_url_serves_no_other_key_bucket_method_or_question(
    stage: Stage, object_store: ObjectStore
) -> None:
    other = object_store.create_bucket(f"{stage.bucket.bucket}-other")
    await stage.bucket.put(f"u/bob/{item_identifier('a.txt')}", b"secret")
    read, write = await stage.ask_url(do="get", key=f"{ROOT}dtool"), await stage.put_url()
    listing = await stage.ask_url(do="list", prefix=ROOT)
    path = URL(write["url"], encoded=True).raw_path

    misuses = [
        (
            "GET",
            {**read, "url": read["url"].replace(f"/{ROOT}dtool", f"/u/bob/{item_identifier('a.txt')}")},
            None,
        ),
        ("GET", {**read, "url": read["url"].replace("/u/alice/", "/u/alice/../bob/")}, None),
        ("DELETE", read, None),
        ("DELETE", write, BODY),
        ("GET", {**write, "headers": {}}, None),
        ("PUT", {**read, "headers": {}}, BODY),
        ("GET", {**listing, "url": listing["url"].replace("alice", "bob")}, None),
        ("GET", {**listing, "url": f"{listing['url']}&prefix=u%2Fbob%2F"}, None),
        ("PUT", {**write, "url": write["url"].replace(stage.bucket.bucket, other)}, BODY),
        ("PUT", {**write, "url": write["url"].replace(path, f"/{stage.bucket.bucket}/{ROOT}dtool")}, BODY),
        ("PUT", {**write, "url": f"{write['url']}&uploadId=1&partNumber=1"}, BODY),
    ]
    for method, given, body in misuses:
        status, answer = await stage.send(method, given, body)
        assert status in {400, 403, 404, 405}, (method, given["url"].partition("?")[0], status)
        assert b"secret" not in answer

    with pytest.raises(NotFound):
        await stage.bucket.head(ITEM)
    assert (await stage.bucket.head(f"{ROOT}dtool")).size_bytes > 0


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"CONTENT", {}),
        (b"content and more", {}),
        (b"content and more", {"Content_Length": "16"}),
        (b"con", {"Content_Length": "3"}),
        (b"CONTENT", {"Content_MD5": "RWhelZheIIIvslOKUipczw=="}),
        (b"CONTENT", {"Content_MD5": ""}),
        (BODY, {"x_amz_meta_handle": "Yi50eHQ="}),
        (BODY, {"x_amz_meta_checksum": "0" * 32}),
        (BODY, {"x_amz_meta_handle": ""}),
        (BODY, {"If_None_Match": ""}),
    ],
    ids=str,
)
async def test_only_the_bytes_and_headers_that_were_signed_are_written(
    stage: Stage, body: bytes, headers: dict[str, str]
) -> None:
    given = await stage.put_url()
    given["headers"].pop("Content-Length")

    try:
        status, _ = await stage.send("PUT", given, body, **headers)
    except aiohttp.ClientError:
        status = 0

    assert status != 200
    with pytest.raises(NotFound):
        await stage.bucket.head(ITEM)


async def test_a_url_replaces_no_item_that_is_there(stage: Stage) -> None:
    """Rule 16: nothing frozen is changed back, also not by a URL that outlives the freezing."""
    given = await stage.put_url()
    await stage.bucket.put(ITEM, b"frozen!", metadata=item_metadata("a.txt", "0" * 32))
    await stage.freeze()

    assert (await stage.send("PUT", given, BODY))[0] == 412

    assert (await stage.bucket.get(ITEM, max_bytes=10)).body == b"frozen!"


async def test_a_body_that_drips_until_the_dataset_is_frozen_replaces_no_item(stage: Stage) -> None:
    """The URL was good when the request began; what counts is what is there when it ends."""
    given = await stage.put_url()
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def drip() -> AsyncIterator[bytes]:
        yield BODY[:1]
        begun.set()
        await go_on.wait()
        yield BODY[1:]

    late = asyncio.create_task(stage.send("PUT", given, drip()))
    await asyncio.wait_for(begun.wait(), 20)
    await stage.bucket.put(ITEM, b"frozen!", metadata=item_metadata("a.txt", "0" * 32))
    await stage.freeze()
    go_on.set()

    assert (await late)[0] == 412
    assert (await stage.bucket.get(ITEM, max_bytes=10)).body == b"frozen!"
    refused = await stage.put_url(if_match=(await stage.bucket.head(ITEM)).etag)
    assert refused["error"] == "AccessDenied", "nor would a condition that holds be signed"


async def test_a_url_is_of_no_use_later(stage: Stage, tmp_path: Path) -> None:
    async with running_endpoint(tmp_path, expiry_seconds=1) as endpoint:
        await endpoint.give(stage.upload, stage.keys)
        short = replace(stage, endpoint=endpoint)
        # times are signed in whole seconds: the one signed first has ended when the other has
        write, read = await short.put_url(), await short.ask_url(do="get", key=f"{ROOT}dtool")

        async def is_over() -> None:
            assert (await short.send("GET", read))[0] == 403

        await eventually_async(is_over, within=20)

        assert (await short.send("PUT", write, BODY))[0] == 403


async def test_nothing_is_signed_or_done_without_a_grant(stage: Stage) -> None:
    questions = [
        (GREETING_PATH, {}),
        (URLS_PATH, {"asked": [{"do": "get", "key": ITEM}]}),
        (CALL_PATH, {"call": {"do": "delete", "key": ITEM}}),
    ]
    for path, question in questions:
        assert (await stage.ask(path, question))[0] in {200, 403 if path == CALL_PATH else 200}

    await stage.endpoint.grants.withdraw(stage.upload.key)

    for path, question in questions:
        status, answer = await stage.ask(path, question)
        assert (status, answer["code"]) == (403, "NoGrant")


@pytest.mark.parametrize(
    "change", [{"uid": "job-uid-2"}, {"name": "dtool-upload-2"}, {"namespace": "bob"}], ids=str
)
async def test_the_pod_of_another_job_gets_nothing(stage: Stage, change: dict[str, str]) -> None:
    """A Job of the same name that was made later has another uid."""
    stage.endpoint.reviewer.jobs["token-2"] = replace(build_job(1), **change)

    status, answer = await stage.ask(URLS_PATH, {"asked": [{"do": "get", "key": ITEM}]}, number=2)

    assert (status, answer["code"]) == (403, "NoGrant")


async def test_each_job_works_with_its_own_dataset(stage: Stage, object_store: ObjectStore) -> None:
    location = build_location(object_store.endpoint, stage.bucket.bucket)
    task = build_task(TaskKind.DOWNLOAD, location, key="dataset-2", uuid=OTHER_UUID)
    await stage.endpoint.give(task, stage.keys, number=2)

    _, answer = await stage.ask(URLS_PATH, {"asked": [{"do": "get", "key": ITEM}]}, number=2)
    _, own = await stage.ask(
        URLS_PATH, {"asked": [{"do": "get", "key": f"{PREFIX}{OTHER_UUID}/dtool"}]}, number=2
    )

    assert answer["given"][0]["error"] == "AccessDenied"
    assert "url" in own["given"][0]


@pytest.mark.parametrize("number", [None, 7])
async def test_a_token_that_means_nothing_is_refused(stage: Stage, number: int | None) -> None:
    assert (await stage.ask(GREETING_PATH, {}, number=number))[0] == 401


async def test_who_guesses_tokens_is_told_to_wait_and_others_work_on(stage: Stage) -> None:
    statuses = [(await stage.ask(GREETING_PATH, {}, number=n))[0] for n in range(100, 140)]

    assert statuses[:20] == [401] * 20
    assert set(statuses[20:]) == {429}
    assert stage.endpoint.reviewer.asked <= 21


async def test_an_api_server_that_does_not_answer_lets_nobody_in(stage: Stage) -> None:
    stage.endpoint.reviewer.failure = ApiFailure("no answer")

    assert (await stage.ask(GREETING_PATH, {}))[0] == 503


async def test_a_frozen_dataset_gets_no_grant_and_an_item_of_it_is_not_deleted(stage: Stage) -> None:
    await stage.bucket.put(ITEM, BODY)
    await stage.freeze()

    with pytest.raises(FrozenDataset):
        await stage.endpoint.give(stage.upload, stage.keys)
    status, answer = await stage.ask(CALL_PATH, {"call": {"do": "delete", "key": ITEM}})

    assert (status, answer["error"]) == (424, "FrozenDataset")
    assert (await stage.bucket.head(ITEM)).size_bytes == len(BODY)


async def test_more_bytes_than_the_task_may_write_are_not_signed(stage: Stage) -> None:
    bounded = stage.upload.model_copy(update={"max_size_bytes": 10})
    await stage.endpoint.give(bounded, stage.keys)

    first, again = await stage.put_url(), await stage.put_url()
    other = await stage.put_url(
        key=f"{ROOT}data/{item_identifier('b.txt')}", metadata=item_metadata("b.txt", MD5)
    )

    assert "url" in first
    assert "url" in again
    assert other["error"] == "QuotaExceeded"


@pytest.mark.parametrize(
    "question",
    [
        {"asked": [{"do": "get", "key": ITEM}] * 501},
        {"asked": []},
        {"asked": [{"do": "get", "key": "k" * 2000}]},
        {"asked": [{"do": "delete", "key": ITEM}]},
        {"asked": [{"do": "put", "key": ITEM, "size_bytes": -1, "md5": MD5}]},
        {"asked": [{"do": "get", "key": ITEM, "expires": 600_000}]},
        {"asked": "x" * 100},
    ],
    ids=["501 URLs", "none", "a long key", "a delete", "less than nothing", "a longer life", "no list"],
)
async def test_questions_beyond_bounds_are_refused(stage: Stage, question: dict[str, Any]) -> None:
    assert (await stage.ask(URLS_PATH, question))[0] == 400


@contextlib.asynccontextmanager
async def open_connections(endpoint: Endpoint, count: int) -> AsyncIterator[list[asyncio.StreamReader]]:
    """Hold TLS connections that say nothing."""
    context = ssl.create_default_context(cadata=endpoint.certificate.ca_pem)
    port = endpoint.server.port
    opened = [await asyncio.open_connection("127.0.0.1", port, ssl=context) for _ in range(count)]
    yield [reader for reader, _ in opened]
    for _, writer in opened:
        writer.transport.abort()


async def test_one_address_does_not_take_every_connection(tmp_path: Path) -> None:
    async with (
        running_endpoint(tmp_path, max_connections=80) as endpoint,
        open_connections(endpoint, 10) as kept,
        open_connections(endpoint, 1) as (refused,),
    ):
        assert await asyncio.wait_for(refused.read(), 10) == b""
        assert not any(reader.at_eof() for reader in kept)


async def test_who_connects_and_asks_nothing_does_not_stay(tmp_path: Path) -> None:
    async with (
        running_endpoint(tmp_path, silent_seconds=0.2) as endpoint,
        open_connections(endpoint, 1) as (silent,),
    ):
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(silent.read(), 10) == b""


async def test_a_giant_question_is_not_read(stage: Stage) -> None:
    assert (await stage.ask(URLS_PATH, {"asked": "x" * 3_000_000}))[0] == 413


async def test_no_url_and_no_token_is_in_an_error_a_repr_or_a_log(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    store = stage.endpoint.open(stage.upload)
    await store.put(ITEM, BODY, metadata=item_metadata("a.txt", MD5))
    requests = store._requests
    desk, _ = await requests._open()
    written = await stage.bucket.head(ITEM)
    assert await store.get_range(ITEM, 0, 1, etag=written.etag) == BODY[:1]
    assert desk._kept
    said = [repr(desk.__dict__), repr(store), repr(stage.endpoint.grants._by_key), repr(stage.upload)]
    stage.endpoint.grants._by_key[stage.upload.key]._store = None  # type: ignore[assignment]
    for act in (store.get(ITEM, max_bytes=1), store.get(f"{ROOT}README.yml", max_bytes=1), store.head("x")):
        with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever it is, it shows nothing
            await asyncio.wait_for(act, 1)
        said += [repr(caught.value), str(caught.value), repr(caught.value.__cause__)]

    for secret in ("X-Amz-", "token-1", stage.keys.secret_access_key.reveal()):
        assert secret not in "\n".join([*said, caplog.text])


async def test_a_worker_with_a_wrong_token_or_without_a_grant_is_told_so(stage: Stage) -> None:
    """It is the endpoint that does not serve it: nothing is said of S3's keys or rights."""
    for number, says in ((9, "token"), (2, "no work here")):
        stage.endpoint.reviewer.jobs["token-2"] = build_job(2)
        store = stage.endpoint.open(stage.upload, number=number, patience_seconds=0.5)
        with pytest.raises(SigningFailed, match=says) as caught:
            await store.head(ITEM)
        line = tell_error(caught.value)
        assert find_reason(line.reason, Reason.TRANSFER_FAILED) is Reason.SIGNING_FAILED


async def test_a_worker_that_does_not_reach_the_endpoint_says_so(stage: Stage) -> None:
    store = stage.endpoint.open(stage.upload, patience_seconds=0.5)
    await stage.endpoint.server.stop()

    with pytest.raises(SigningFailed, match="no answer from the signing endpoint"):
        await store.head(ITEM)


async def test_a_worker_trusts_no_other_certificate(stage: Stage, tmp_path: Path) -> None:
    directory = tmp_path / "other"
    directory.mkdir()
    async with running_endpoint(directory) as other:
        place = stage.endpoint.place("token-1").model_copy(update={"url": other.url})
        from dtool_operator.planning.task import Side
        from dtool_operator.transfers.signing.signed_store import open_signed_store

        task = stage.upload.model_copy(update={"signing": place})
        async with open_signed_store(task, Side.TARGET, patience_seconds=0.5) as store:
            with pytest.raises(SigningFailed, match="certificate"):
                await store.head(ITEM)
