"""A store for a worker without keys: one side of one task, by URLs that the operator's endpoint signs.

Owns which requests go to S3 itself (everything that moves bytes, and listings) and which the endpoint makes
(start and end of uploads, deleting an item). What the task may not do is refused there: AccessDenied with
code `NotGranted`. What no such task needs is NotSupported.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from typing import Final, NoReturn, Self, final

import aiohttp

from dtool_operator.planning.task import Location, Side, Task
from dtool_operator.transfers.request_tally import OnAnswer
from dtool_operator.transfers.signing import object_reading
from dtool_operator.transfers.signing.client import PATIENCE_SECONDS
from dtool_operator.transfers.signing.listing_page import ListingPage, parse_page
from dtool_operator.transfers.signing.object_writing import put_object, put_part
from dtool_operator.transfers.signing.s3_requests import S3Requests, parse_info
from dtool_operator.transfers.signing.signed_requests import SignedRequests
from dtool_operator.transfers.signing.wire import (
    AbortUpload,
    CompleteUpload,
    DeleteItem,
    ListAsked,
    ListUploads,
    PartDone,
    PartSizes,
    ReadAsked,
    StartUpload,
    UrlGiven,
)
from dtool_s3.errors import BucketUnreachable, NotFound, NotSupported, SettingsError
from dtool_s3.store.protocol import (
    ALWAYS,
    NO_METADATA,
    Body,
    ByteStream,
    ListedObject,
    Listing,
    ObjectInfo,
    Part,
    Precondition,
    StoredObject,
    Upload,
)

_PAGE_ENTRIES: Final = 1000
_MAX_PAGE_BYTES: Final = 32 * 1024**2


def open_signed_store(
    task: Task,
    side: Side,
    *,
    max_concurrency: int = 32,
    on_answer: OnAnswer | None = None,
    patience_seconds: float = PATIENCE_SECONDS,
) -> "SignedStore":
    """Open one side of a task that says where its signing endpoint is; no I/O yet. Raises SettingsError.

    `patience_seconds`: how long the endpoint may be away.
    """
    location = task.target if side is Side.TARGET else task.source
    if task.signing is None or location is None:
        raise SettingsError("the task does not say where its URLs are signed, or what for")
    requests = SignedRequests(
        task.signing,
        side,
        location,
        max_concurrency=max_concurrency,
        on_answer=on_answer,
        patience_seconds=patience_seconds,
    )
    return SignedStore(requests, location)


@final
class SignedStore:
    """One bucket as a worker without keys sees it; implements `dtool_s3.store.protocol.Store`.

    For one event loop. `close()` or `async with` ends its connections.
    """

    def __init__(self, requests: SignedRequests, location: Location) -> None:
        self._requests = requests
        self._location = location

    @property
    def bucket(self) -> str:
        """Name of the bucket."""
        return self._location.bucket

    @property
    def endpoint_url(self) -> str:
        """Endpoint as the task says it; `""` for AWS."""
        return self._location.endpoint or ""

    async def close(self) -> None:
        """Close connections."""
        await self._requests.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def head(self, key: str) -> ObjectInfo:
        """See the protocol."""
        return await object_reading.head(self._requests, key)

    async def get(self, key: str, *, max_bytes: int) -> StoredObject:
        """See the protocol."""
        return await object_reading.get(self._requests, key, max_bytes)

    @asynccontextmanager
    async def stream(self, key: str) -> AsyncIterator[ByteStream]:
        """See the protocol. Opening is repeated, reading is not: it raises BucketUnreachable."""
        async with AsyncExitStack() as stack:

            async def open_it(requests: S3Requests, given: UrlGiven) -> aiohttp.ClientResponse:
                what = f"stream of {self._requests.place(key)}"
                return await stack.enter_async_context(requests.send(what, "GET", given))

            answer = await self._requests.send("stream", key, ReadAsked(do="get", key=key), open_it)
            info = parse_info(key, answer)
            yield ByteStream(info, object_reading.read_chunks(self._requests.place(key), info, answer))

    async def get_range(self, key: str, first_byte: int, size_bytes: int, *, etag: str) -> bytes:
        """See the protocol."""
        return await object_reading.get_range(self._requests, key, first_byte, size_bytes, etag)

    async def part_sizes(self, key: str) -> Sequence[int]:
        """See the protocol; the endpoint looks."""
        return (await self._requests.call("part_sizes", key, PartSizes(key=key))).sizes

    async def put(
        self,
        key: str,
        body: Body,
        *,
        metadata: Mapping[str, str] = NO_METADATA,
        precondition: Precondition = ALWAYS,
    ) -> ObjectInfo:
        """See the protocol. An item that is there already is compared, and replaced if it is another."""
        return await put_object(self._requests, key, body, metadata, precondition)

    async def delete(self, key: str, *, precondition: Precondition = ALWAYS) -> None:
        """See the protocol; the endpoint does it, of items of a proto dataset."""
        await self._requests.call("delete", key, DeleteItem(key=key, if_match=precondition.if_match))

    async def list(
        self,
        prefix: str,
        *,
        delimiter: str = "",
        limit: int | None = None,
        keeps: Callable[[str], bool] | None = None,
    ) -> Listing:
        """See the protocol."""
        objects: dict[str, ListedObject] = {}
        common: dict[str, None] = {}
        token: str | None = None
        left, is_cut = limit, True
        while is_cut and (left is None or left > 0):
            asked = _list_asked(prefix, delimiter, token, left)
            page = await self._list_page(prefix, asked)
            if page.token is not None and page.token == token:
                raise BucketUnreachable(f"list of {prefix!r} does not go on", code="MalformedAnswer")
            left = None if left is None else left - len(page.objects) - len(page.common_prefixes)
            objects |= {one.key: one for one in page.objects if keeps is None or keeps(one.key)}
            common |= dict.fromkeys(name for name in page.common_prefixes if keeps is None or keeps(name))
            token, is_cut = page.token, page.token is not None
        return Listing(
            tuple(sorted(objects.values(), key=lambda listed: listed.key.encode())),
            tuple(sorted(common, key=str.encode)),
            is_cut,
        )

    async def _list_page(self, prefix: str, asked: ListAsked) -> ListingPage:
        async def read(requests: S3Requests, given: UrlGiven) -> ListingPage:
            what = f"list of {self._requests.place(prefix)}"
            async with requests.send(what, "GET", given) as answer:
                body = await object_reading.read_bounded(answer, _MAX_PAGE_BYTES, what)
            return parse_page(body)

        return await self._requests.send("list", prefix, asked, read)

    async def list_uploads(self, prefix: str) -> Sequence[Upload]:
        """See the protocol; the endpoint looks, and tells at most 10,000."""
        answer = await self._requests.call("list_uploads", prefix, ListUploads(prefix=prefix))
        return tuple(Upload(found.key, found.upload_id) for found in answer.uploads)

    async def start_upload(self, key: str, metadata: Mapping[str, str]) -> Upload:
        """See the protocol; the endpoint does it."""
        call = StartUpload(key=key, metadata=dict(metadata))
        return Upload(key, (await self._requests.call("start_upload", key, call)).upload_id)

    async def put_part(self, upload: Upload, number: int, body: Body, *, md5: bytes | None = None) -> Part:
        """See the protocol."""
        return await put_part(self._requests, upload, number, body, md5)

    async def complete_upload(self, upload: Upload, parts: Sequence[Part]) -> str:
        """See the protocol; the endpoint does it."""
        done = tuple(PartDone(number=part.number, etag=part.etag) for part in parts)
        call = CompleteUpload(key=upload.key, upload_id=upload.upload_id, parts=done)
        return (await self._requests.call("complete_upload", upload.key, call)).etag

    async def abort_upload(self, upload: Upload) -> None:
        """See the protocol; the endpoint does it."""
        call = AbortUpload(key=upload.key, upload_id=upload.upload_id)
        try:
            await self._requests.call("abort_upload", upload.key, call)
        except NotFound:
            return

    async def check_bucket(self) -> datetime:
        """No such task needs it: raises NotSupported."""
        self._refuse("check_bucket")

    async def copy(
        self,
        source_bucket: str,  # noqa: ARG002 - as the protocol has it, here and below
        source: ListedObject,  # noqa: ARG002
        key: str,  # noqa: ARG002
        *,
        metadata: Mapping[str, str] | None = None,  # noqa: ARG002
    ) -> str | None:
        """No such task needs it: raises NotSupported."""
        self._refuse("copy")

    async def copy_many(
        self,
        source_bucket: str,  # noqa: ARG002
        copies: Sequence[tuple[ListedObject, str]],  # noqa: ARG002
    ) -> Sequence[ObjectInfo | None]:
        """No such task needs it: raises NotSupported."""
        self._refuse("copy_many")

    async def copy_part(
        self,
        upload: Upload,  # noqa: ARG002
        number: int,  # noqa: ARG002
        source_bucket: str,  # noqa: ARG002
        source: ListedObject,  # noqa: ARG002
        *,
        first_byte: int,  # noqa: ARG002
        size_bytes: int,  # noqa: ARG002
    ) -> Part:
        """No such task needs it: raises NotSupported."""
        self._refuse("copy_part")

    async def delete_many(self, keys: Sequence[str]) -> None:  # noqa: ARG002
        """No such task needs it: raises NotSupported."""
        self._refuse("delete_many")

    def _refuse(self, operation: str) -> NoReturn:
        message = f"{operation} of {self._requests.place('')} cannot be done by signed URLs"
        raise NotSupported(message, code="NotImplemented")


def _list_asked(prefix: str, delimiter: str, token: str | None, left: int | None) -> ListAsked:
    """Raises NotSupported for a delimiter that S3 servers agree on, but no dataset needs."""
    if delimiter not in {"", "/"}:
        raise NotSupported(f"the delimiter {delimiter[:10]!r} is not listed by", code="NotImplemented")
    limit = _PAGE_ENTRIES if left is None else min(_PAGE_ENTRIES, left)
    return ListAsked.model_validate(
        {"prefix": prefix, "delimiter": delimiter, "token": token, "limit": limit}
    )
