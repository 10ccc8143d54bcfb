"""HEAD and GET of one object by signed URLs, whole, in part or as a stream; owns no state."""

from collections.abc import AsyncIterator
from typing import Final

import aiohttp

from dtool_operator.transfers.signing.s3_requests import S3Requests, parse_info
from dtool_operator.transfers.signing.signed_requests import SignedRequests
from dtool_operator.transfers.signing.wire import ReadAsked, UrlGiven
from dtool_s3.errors import BucketUnreachable, NotSupported, PreconditionFailed, RequestRefused
from dtool_s3.store.protocol import ObjectInfo, StoredObject

CHUNK_BYTES: Final = 1024 * 1024


async def head(requests: SignedRequests, key: str) -> ObjectInfo:
    """HEAD an object."""

    async def read(s3: S3Requests, given: UrlGiven) -> ObjectInfo:
        async with s3.send(f"head of {requests.place(key)}", "HEAD", given) as answer:
            return parse_info(key, answer)

    return await requests.send("head", key, ReadAsked(do="head", key=key), read)


async def get(requests: SignedRequests, key: str, max_bytes: int) -> StoredObject:
    """Read an object whole. Raises RequestRefused, before reading, above `max_bytes`."""
    what = f"get of {requests.place(key)}"

    async def read(s3: S3Requests, given: UrlGiven) -> StoredObject:
        async with s3.send(what, "GET", given) as answer:
            info = parse_info(key, answer)
            if info.size_bytes > max_bytes:
                message = f"{requests.place(key)} has {info.size_bytes} bytes, more than {max_bytes}"
                raise RequestRefused(message, code="EntityTooLarge")
            return StoredObject(info, await _read_exactly(answer, info.size_bytes, what))

    return await requests.send("get", key, ReadAsked(do="get", key=key), read)


async def get_range(requests: SignedRequests, key: str, first_byte: int, size_bytes: int, etag: str) -> bytes:
    """Read a part of an object that still has `etag`; the URL serves for many parts."""
    what = f"get_range of {requests.place(key)}"
    wanted = f"bytes {first_byte}-{first_byte + size_bytes - 1}"
    headers = {"Range": wanted.replace(" ", "="), "If-Match": f'"{etag}"'}

    async def read(s3: S3Requests, given: UrlGiven) -> bytes:
        async with s3.send(what, "GET", given, headers=headers) as answer:
            _check_range(requests.place(key), answer, wanted, first_byte, size_bytes, etag)
            return await _read_exactly(answer, size_bytes, what)

    try:
        return await requests.send("get_range", key, ReadAsked(do="get", key=key), read, kept=True)
    except RequestRefused as error:
        if error.code != "416":
            raise
        raise RequestRefused(str(error), code="InvalidRange") from None


async def read_chunks(place: str, info: ObjectInfo, answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Give the bytes of an answer as they come. Raises BucketUnreachable unless all come."""
    size_bytes = 0
    try:
        async for chunk in answer.content.iter_chunked(CHUNK_BYTES):
            size_bytes += len(chunk)
            yield chunk
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        name = type(error).__name__
        raise BucketUnreachable(f"stream of {place} broke off ({name})", code=name) from None
    if size_bytes != info.size_bytes:
        raise BucketUnreachable(f"stream of {place} broke off", code="IncompleteBody")


async def read_bounded(answer: aiohttp.ClientResponse, max_bytes: int, what: str) -> bytes:
    """Read a body whose size may not be told. Raises RequestRefused above `max_bytes`."""
    chunks, size_bytes = [], 0
    async for chunk in answer.content.iter_chunked(CHUNK_BYTES):
        size_bytes += len(chunk)
        if size_bytes > max_bytes:
            raise RequestRefused(f"{what}: the answer is too large", code="EntityTooLarge")
        chunks.append(chunk)
    return b"".join(chunks)


async def _read_exactly(answer: aiohttp.ClientResponse, size_bytes: int, what: str) -> bytes:
    body = await read_bounded(answer, size_bytes, what)
    if len(body) != size_bytes:
        raise BucketUnreachable(f"{what}: the answer broke off", code="IncompleteBody")
    return body


def _check_range(
    place: str,
    answer: aiohttp.ClientResponse,
    wanted: str,
    first_byte: int,
    size_bytes: int,
    etag: str,
) -> None:
    """Compare an answer with what was asked for: servers may cut at the end, or not know conditions."""
    if answer.headers.get("ETag", "").strip('"') != etag:
        raise PreconditionFailed(f"{place} has another ETag", code="PreconditionFailed")
    told, _, total = answer.headers.get("Content-Range", "").partition("/")
    if told == wanted:
        return
    if total.isdecimal() and int(total) < first_byte + size_bytes:
        message = f"{place} has {total} bytes: there are no {size_bytes} from {first_byte} on"
        raise RequestRefused(message, code="InvalidRange")
    if told or first_byte > 0 or answer.headers.get("Content-Length") != str(size_bytes):
        raise NotSupported(f"{place}: the server does not give ranges of bytes", code="NotImplemented")
