"""HEAD and GET of one object, whole, in part or as a stream; owns no state."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

from dtool_s3.errors import (
    BucketNotFound,
    NotFound,
    NotSupported,
    PreconditionFailed,
    RequestRefused,
    StorageError,
)
from dtool_s3.store.boto.answer import Answer, parse_date, parse_etag, parse_info, parse_total_bytes
from dtool_s3.store.boto.connection import Client, Connection
from dtool_s3.store.boto.listing import list_objects
from dtool_s3.store.protocol import ByteStream, ObjectInfo, StoredObject

CHUNK_BYTES = 1024 * 1024

# answers to HEAD have no body: 400 and 403 do not tell a wrong key from a missing right
_BARE_CODES = frozenset({"400", "403"})
# answers to HEAD with a part's number where the server does not know of parts, or the object has none
_NO_PARTS = frozenset({"400", "416", "501", "InvalidPart", "InvalidPartNumber"})
#: Above this, unequal parts are not asked for one by one.
MAX_UNEQUAL_PARTS = 1000

_T = TypeVar("_T")


async def check_bucket(connection: Connection) -> datetime:
    """HEAD the bucket, and list one key where the answer does not say why it is refused; see the protocol."""

    def ask(client: Client) -> datetime:
        return parse_date(client.head_bucket(Bucket=connection.bucket))

    try:
        return await connection.ask("check_bucket", "", ask)
    except NotFound as error:
        raise BucketNotFound(str(error), code=error.code) from error
    except StorageError as error:
        if error.code not in _BARE_CODES:
            raise
        await list_objects(connection, "", delimiter="", limit=1)
        return datetime.now(UTC)


async def head(connection: Connection, key: str) -> ObjectInfo:
    """HEAD an object. A missing bucket looks like a missing key: HEAD does not tell them apart."""
    return await _explained(connection, key, lambda: _head(connection, key))


async def _explained(connection: Connection, key: str, request: Callable[[], Awaitable[_T]]) -> _T:
    try:
        return await request()
    except StorageError as error:
        if error.code not in _BARE_CODES:
            raise
        await _explain(connection, key, error)
    return await request()


async def _head(connection: Connection, key: str) -> ObjectInfo:
    return await connection.ask("head", key, lambda client: head_once(client, connection.bucket, key))


def head_once(client: Client, bucket: str, key: str) -> ObjectInfo:
    """HEAD an object with a client."""
    return parse_info(key, client.head_object(Bucket=bucket, Key=key))


async def _explain(connection: Connection, key: str, bare: StorageError) -> None:
    """Ask for one byte, because the refusal of a GET says why; no error: credentials were renewed by it."""

    def read_byte(client: Client) -> None:
        client.get_object(Bucket=connection.bucket, Key=key, Range="bytes=0-0")["Body"].close()

    try:
        await connection.ask("get", key, read_byte)
    except StorageError as told:
        if told.code != "InvalidRange":  # allowed to read it, but it is empty
            raise told from bare


async def get(connection: Connection, key: str, *, max_bytes: int) -> StoredObject:
    """Read an object whole. Raises RequestRefused, before reading, above `max_bytes`."""

    def read(client: Client) -> StoredObject:
        found = client.get_object(Bucket=connection.bucket, Key=key)
        info = parse_info(key, found)
        with found["Body"] as body:
            if info.size_bytes > max_bytes:
                message = f"{connection.place(key)} has {info.size_bytes} bytes, more than {max_bytes}"
                raise RequestRefused(message, code="EntityTooLarge")
            return StoredObject(info, body.read())  # compares the length itself, as every read below

    return await connection.ask("get", key, read)


async def get_range(
    connection: Connection, key: str, first_byte: int, size_bytes: int, *, etag: str
) -> bytes:
    """Read a part of an object that still has `etag`."""
    last_byte = first_byte + size_bytes - 1

    def read(client: Client) -> bytes:
        found = client.get_object(
            Bucket=connection.bucket, Key=key, Range=f"bytes={first_byte}-{last_byte}", IfMatch=f'"{etag}"'
        )
        with found["Body"] as body:
            _check_range(connection.place(key), found, first_byte, size_bytes, etag)
            content: bytes = body.read()
            return content

    return await connection.ask("get_range", key, read)


def _check_range(place: str, found: Answer, first_byte: int, size_bytes: int, etag: str) -> None:
    """Compare an answer with what was asked for: servers may cut at the end, or not know conditions."""
    if parse_etag(found) != etag:
        raise PreconditionFailed(f"{place} has another ETag", code="PreconditionFailed")
    told = found.get("ContentRange", "").partition("/")[0]
    if told and told == f"bytes {first_byte}-{first_byte + size_bytes - 1}":
        return
    if (total := parse_total_bytes(found)) is not None and total < first_byte + size_bytes:
        message = f"{place} has {total} bytes: there are no {size_bytes} from {first_byte} on"
        raise RequestRefused(message, code="InvalidRange")
    if told or first_byte > 0 or found["ContentLength"] != size_bytes:
        raise NotSupported(f"{place}: the server does not give ranges of bytes", code="NotImplemented")


async def part_sizes(connection: Connection, key: str) -> Sequence[int]:
    """Sizes of the parts that an object was uploaded in; empty where the server does not tell."""
    try:
        first = await _explained(connection, key, lambda: _head_part(connection, key, 1, None))
    except (RequestRefused, NotSupported) as error:
        if error.code not in _NO_PARTS:
            raise
        return ()
    count, etag = first.get("PartsCount", 0), parse_etag(first)
    if not count or "-" not in etag:
        return ()
    last = first if count == 1 else await _head_part(connection, key, count, etag)
    size_bytes, last_bytes = first["ContentLength"], last["ContentLength"]
    if count == 1 or parse_total_bytes(last) == size_bytes * (count - 1) + last_bytes:
        return (*[size_bytes] * (count - 1), last_bytes)
    if count > MAX_UNEQUAL_PARTS:
        return ()
    between = await asyncio.gather(*(_head_part(connection, key, number, etag) for number in range(2, count)))
    return (size_bytes, *(answer["ContentLength"] for answer in between), last_bytes)


async def _head_part(connection: Connection, key: str, number: int, etag: str | None) -> Answer:
    condition = {} if etag is None else {"IfMatch": f'"{etag}"'}

    def call(client: Client) -> Answer:
        answer: Answer = client.head_object(Bucket=connection.bucket, Key=key, PartNumber=number, **condition)
        return answer

    return await connection.ask("part_sizes", key, call)


@asynccontextmanager
async def stream(connection: Connection, key: str) -> AsyncIterator[ByteStream]:
    """Read an object in chunks. Opening is repeated, reading is not: it raises BucketUnreachable."""
    found = await connection.ask(
        "stream", key, lambda client: client.get_object(Bucket=connection.bucket, Key=key)
    )
    info = parse_info(key, found)
    try:
        yield ByteStream(info, _chunks(connection, info, found["Body"]))
    finally:
        connection.discard(found["Body"].close)


async def _chunks(connection: Connection, info: ObjectInfo, body: Any) -> AsyncIterator[bytes]:
    while chunk := await connection.read(info.key, lambda: body.read(CHUNK_BYTES)):
        yield chunk
