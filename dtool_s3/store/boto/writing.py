"""PUT and server-side copy of one object, with their conditions; owns no state.

A write whose answer was lost is looked for before it is repeated: what lies there with the same bytes and
metadata is our success, also when the repetition of our own conditional write is refused.
"""

from collections.abc import Mapping
from contextlib import suppress

from dtool_s3.digest import md5_hexdigest
from dtool_s3.errors import (
    BucketUnreachable,
    NotFound,
    NotSupported,
    PreconditionFailed,
    RequestRefused,
    StorageError,
)
from dtool_s3.settings import ConditionalWrites
from dtool_s3.store.boto.answer import (
    condition_parameters,
    content_md5,
    encryption_parameters,
    lowered,
    parse_copied_etag,
    parse_date,
    parse_etag,
)
from dtool_s3.store.boto.connection import Call, Client, Connection
from dtool_s3.store.boto.reading import get, head, head_once
from dtool_s3.store.boto.wire import sendable
from dtool_s3.store.protocol import ALWAYS, Body, ListedObject, ObjectInfo, Precondition

#: What S3 copies in one request.
MAX_COPY_BYTES = 5 * 1024**3
#: A copy above this may keep the server silent for longer than the usual read timeout.
PATIENT_COPY_BYTES = 256 * 1024**2

# failures before anything was sent
_NEVER_SENT = frozenset(
    {"EndpointConnectionError", "ConnectTimeoutError", "ProxyConnectionError", "SSLError"}
)


async def put(
    connection: Connection, key: str, body: Body, metadata: Mapping[str, str], precondition: Precondition
) -> ObjectInfo:
    """Write an object. `last_modified` of the result is the server's clock at its answer."""
    if precondition == ALWAYS or connection.endpoint.conditional_writes is ConditionalWrites.REQUIRED:
        return await _put(connection, key, body, metadata, condition_parameters(precondition))
    await check_by_looking(connection, "put", key, precondition)
    written = await _put(connection, key, body, metadata, {})
    if await _find_written(connection, key, body, metadata) is None:
        message = f"put of {connection.place(key)}: another writer was there at the same time"
        raise PreconditionFailed(message, code="PreconditionFailed")
    return written


async def _put(
    connection: Connection,
    key: str,
    body: Body,
    metadata: Mapping[str, str],
    condition: Mapping[str, str],
) -> ObjectInfo:
    def write(client: Client) -> ObjectInfo:
        answer = client.put_object(
            Bucket=connection.bucket,
            Key=key,
            Body=sendable(body),
            ContentMD5=content_md5(body),
            Metadata=dict(metadata),
            **condition,
            **encryption_parameters(connection.endpoint.encryption),
        )
        return ObjectInfo(key, len(body), parse_etag(answer), parse_date(answer), lowered(metadata))

    async def attempt(number: int) -> ObjectInfo:
        try:
            return await _send_put(connection, key, write, condition)
        except (BucketUnreachable, PreconditionFailed) as error:
            is_first_refusal = number == 0 and isinstance(error, PreconditionFailed)
            if is_first_refusal or error.code in _NEVER_SENT:
                raise
            with suppress(StorageError):  # what cannot be seen is not ours: the first error counts
                if (written := await _find_written(connection, key, body, metadata)) is not None:
                    return written
            raise

    return await connection.retry.repeat(attempt)


async def _send_put(
    connection: Connection, key: str, write: Call[ObjectInfo], condition: Mapping[str, str]
) -> ObjectInfo:
    try:
        return await connection.send("put", key, write)
    except NotFound as error:  # AWS's answer to If-Match where nothing is
        if "IfMatch" not in condition:
            raise
        raise PreconditionFailed(str(error), code="PreconditionFailed") from error


async def _find_written(
    connection: Connection, key: str, body: Body, metadata: Mapping[str, str]
) -> ObjectInfo | None:
    """Return what lies at `key` if it is `body` with `metadata`, else None."""
    try:
        info = await connection.send("head", key, lambda client: head_once(client, connection.bucket, key))
        if info.size_bytes != len(body) or dict(info.metadata) != lowered(metadata):
            return None
        if info.etag == md5_hexdigest(body):
            return info
        found = await get(connection, key, max_bytes=len(body))
    except (NotFound, RequestRefused):
        return None
    return found.info if found.body == body else None


async def check_by_looking(
    connection: Connection, operation: str, key: str, precondition: Precondition
) -> None:
    """Check a condition for a store that does not; another writer may still come in between."""
    try:
        etag = (await head(connection, key)).etag
    except NotFound:
        etag = None
    is_taken = precondition.if_none_match and etag is not None
    if is_taken or precondition.if_match not in {None, etag}:
        message = f"{operation} of {connection.place(key)}: its condition does not hold"
        raise PreconditionFailed(message, code="PreconditionFailed")


async def copy(
    connection: Connection,
    source_bucket: str,
    source: ListedObject,
    key: str,
    metadata: Mapping[str, str] | None,
) -> str:
    """Copy an object on the server."""
    if source.size_bytes > MAX_COPY_BYTES:
        message = f"s3://{source_bucket}/{source.key} is above 5 GiB: it needs a multipart copy"
        raise NotSupported(message, code="EntityTooLarge")
    replaced = {} if metadata is None else {"MetadataDirective": "REPLACE", "Metadata": dict(metadata)}

    def call(client: Client) -> str:
        answer = client.copy_object(
            Bucket=connection.bucket,
            Key=key,
            CopySource={"Bucket": source_bucket, "Key": source.key},
            CopySourceIfMatch=f'"{source.etag}"',
            **replaced,
            **encryption_parameters(connection.endpoint.encryption),
        )
        return parse_copied_etag(answer, "CopyObjectResult", f"copy of {connection.place(key)}")

    return await connection.ask("copy", key, call, patient=source.size_bytes > PATIENT_COPY_BYTES)
