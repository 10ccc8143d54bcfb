"""PUT of one object or part by a signed URL that holds for its bytes alone; owns no state.

Items are written where nothing is, as far as the store looks at If-None-Match: so no URL of theirs replaces
what a frozen dataset has. What an earlier run left there is compared, and removed by the endpoint if need be.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

from pydantic import ValidationError

from dtool_operator.transfers.signing.object_reading import head
from dtool_operator.transfers.signing.s3_requests import S3Requests, parse_time
from dtool_operator.transfers.signing.signed_requests import SignedRequests
from dtool_operator.transfers.signing.wire import DeleteItem, PartAsked, PutAsked, UrlGiven
from dtool_s3.digest import md5_hexdigest
from dtool_s3.errors import (
    BadDigest,
    BucketUnreachable,
    NotFound,
    PreconditionFailed,
    RequestRefused,
)
from dtool_s3.store.protocol import ALWAYS, Body, ObjectInfo, Part, Precondition, Upload

#: Larger bodies are hashed in a thread.
_HASHED_HERE_BYTES: Final = 128 * 1024


async def put_object(
    requests: SignedRequests, key: str, body: Body, metadata: Mapping[str, str], precondition: Precondition
) -> ObjectInfo:
    """Write an object. `last_modified` of the result is the server's clock at its answer."""
    asked = _ask_put(requests, key, body, metadata, precondition, await _hash(body))
    try:
        return await _put(requests, asked, body)
    except _Taken as taken:
        written = await _find_written(requests, asked)
        is_ours = (
            precondition == ALWAYS or taken.attempts > 1
        )  # then it may be our own, whose answer was lost
        if written is not None and is_ours:
            return written
        if precondition != ALWAYS:
            raise taken.error from None
    await requests.call("delete", key, DeleteItem(key=key))
    try:
        return await _put(requests, asked, body)
    except _Taken as taken:
        written = await _find_written(requests, asked)
        if written is None:
            raise taken.error from None
        return written


class _Taken(Exception):
    """The condition of a write did not hold; `attempts`: how often the write had been sent."""

    def __init__(self, error: PreconditionFailed, attempts: int) -> None:
        super().__init__()
        self.error = error
        self.attempts = attempts


async def _put(requests: SignedRequests, asked: PutAsked, body: Body) -> ObjectInfo:
    attempts = 0

    async def write(s3: S3Requests, given: UrlGiven) -> ObjectInfo:
        nonlocal attempts
        attempts += 1
        async with s3.send(f"put of {requests.place(asked.key)}", "PUT", given, body=body) as answer:
            etag = _etag(requests.place(asked.key), answer.headers.get("ETag"))
            written = parse_time(answer.headers.get("Date", ""))
            return ObjectInfo(asked.key, len(body), etag, written, dict(asked.metadata))

    try:
        return await requests.send("put", asked.key, asked, write)
    except PreconditionFailed as error:
        raise _Taken(error, attempts) from None
    except NotFound as error:  # AWS's answer to If-Match where nothing is
        if asked.if_match is None:
            raise
        raise _Taken(PreconditionFailed(str(error), code="PreconditionFailed"), attempts) from None


async def _find_written(requests: SignedRequests, asked: PutAsked) -> ObjectInfo | None:
    """Return what lies at the key if it is what was to be written, else None."""
    try:
        info = await head(requests, asked.key)
    except NotFound:
        return None
    is_equal = (info.size_bytes, info.etag) == (asked.size_bytes, asked.md5)
    return info if is_equal and dict(info.metadata) == asked.metadata else None


async def put_part(
    requests: SignedRequests, upload: Upload, number: int, body: Body, md5: bytes | None
) -> Part:
    """Upload one part; repeating it is harmless.

    Bytes that twice differ from an `md5` that was given are other bytes, and not sent a third time.
    """
    digest = await _hash(body) if md5 is None else md5.hex()
    asked = PartAsked(
        key=upload.key, upload_id=upload.upload_id, number=number, size_bytes=len(body), md5=digest
    )
    what = f"put_part of {requests.place(upload.key)}"
    refusals: list[BadDigest] = []

    async def write(s3: S3Requests, given: UrlGiven) -> Part | None:
        try:
            async with s3.send(what, "PUT", given, body=body) as answer:
                return Part(number, _etag(what, answer.headers.get("ETag")))
        except BadDigest as error:
            refusals.append(error)
            if md5 is None or len(refusals) == 1:
                raise
            return None

    part = await requests.send("put_part", upload.key, asked, write)
    if part is None:
        raise refusals[-1]
    return part


def _ask_put(
    requests: SignedRequests,
    key: str,
    body: Body,
    metadata: Mapping[str, str],
    precondition: Precondition,
    md5: str,
) -> PutAsked:
    lowered = {name.lower(): value for name, value in metadata.items()}
    message = f"put of {requests.place(key)}: the request is not valid"
    if not all(f"{name}{value}".isascii() for name, value in lowered.items()):
        raise RequestRefused(message, code="ParamValidationError")
    try:
        return PutAsked(
            key=key,
            size_bytes=len(body),
            md5=md5,
            metadata=lowered,
            if_absent=precondition.if_none_match,
            if_match=precondition.if_match,
        )
    except ValidationError:
        raise RequestRefused(message, code="ParamValidationError") from None


async def _hash(body: Body) -> str:
    if len(body) <= _HASHED_HERE_BYTES:
        return md5_hexdigest(body)
    return await asyncio.to_thread(md5_hexdigest, body)


def _etag(what: str, told: str | None) -> str:
    if not told:
        raise BucketUnreachable(f"{what}: the answer tells no ETag", code="MalformedAnswer")
    return told.strip('"')
