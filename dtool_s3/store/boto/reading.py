"""HEAD and GET of one object, whole or as a stream; owns no state."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from dtool_s3.errors import BucketNotFound, NotFound, RequestRefused, StorageError
from dtool_s3.store.boto.answer import parse_info
from dtool_s3.store.boto.connection import Client, Connection
from dtool_s3.store.boto.listing import list_objects
from dtool_s3.store.protocol import ByteStream, ObjectInfo, StoredObject

CHUNK_BYTES = 1024 * 1024

# answers to HEAD have no body: 400 and 403 do not tell a wrong key from a missing right
_BARE_CODES = frozenset({"400", "403"})


async def check_bucket(connection: Connection) -> None:
    """HEAD the bucket, and list one key where the answer does not say why it is refused."""
    try:
        await connection.ask("check_bucket", "", lambda client: client.head_bucket(Bucket=connection.bucket))
    except NotFound as error:
        raise BucketNotFound(str(error), code=error.code) from error
    except StorageError as error:
        if error.code not in _BARE_CODES:
            raise
        await list_objects(connection, "", delimiter="", limit=1)


async def head(connection: Connection, key: str) -> ObjectInfo:
    """HEAD an object. A missing bucket looks like a missing key: HEAD does not tell them apart."""
    try:
        return await _head(connection, key)
    except StorageError as error:
        if error.code not in _BARE_CODES:
            raise
        await _explain(connection, key, error)
    return await _head(connection, key)


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
