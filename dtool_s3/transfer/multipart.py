"""Multipart uploads that leave nothing behind; owns their start, the parts in flight, completion and abort.

Whatever ends an upload that this process survives, cancellation included, frees its parts: requests under way
are waited for first, and where the answer that names the upload was lost, it is looked up.
"""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any

from dtool_s3.concurrency import map_bounded, see_through
from dtool_s3.errors import NotFound, StorageError
from dtool_s3.store.protocol import ListedObject, Part, Store, Upload
from dtool_s3.transfer.budget import ByteBudget
from dtool_s3.transfer.parts import PartRange
from dtool_s3.transfer.ranges import Read, hash_ranges

#: How long a request under way may take to end when its upload is given up.
GRACE_SECONDS = 10.0
#: Parts that are copied on the server at a time; no byte of them passes through this process.
_COPIED_AT_ONCE = 8
#: How often an upload is begun that others give up.
_ATTEMPTS = 3

Produce = Callable[[Upload], Coroutine[Any, Any, Sequence[Part]]]


async def upload_in_parts(
    target: Store,
    key: str,
    metadata: Mapping[str, str],
    produce: Produce,
    *,
    grace_seconds: float = GRACE_SECONDS,
) -> str:
    """Make the object `key` from the parts that `produce` puts into the upload; return its ETag.

    An upload that somebody else gives up (another copy of the same dataset that begins or ends) is begun
    again a few times: `produce` must bear that. Raises what `produce` and the store raise, after the upload
    was given up; NotFound (`NoSuchUpload`) where it is given up each time.
    """
    attempt = 0
    while True:
        attempt += 1
        try:
            return await _upload(target, key, metadata, produce, grace_seconds)
        except NotFound as error:
            if error.code != "NoSuchUpload" or attempt == _ATTEMPTS:
                raise


async def _upload(
    target: Store, key: str, metadata: Mapping[str, str], produce: Produce, grace_seconds: float
) -> str:
    started: list[Upload] = []

    async def start() -> None:
        started.append(await target.start_upload(key, metadata))

    try:
        await see_through(start(), grace_seconds=grace_seconds)
        parts = await produce(started[0])
        return await see_through(target.complete_upload(started[0], parts), grace_seconds=grace_seconds)
    except BaseException:
        # what ended the upload matters more than what giving it up may raise; a later run tries again
        with suppress(StorageError):
            await _give_up(target, key, started)
        raise


async def copy_in_parts(
    target: Store,
    upload: Upload,
    source_bucket: str,
    source: ListedObject,
    ranges: Sequence[PartRange],
    *,
    grace_seconds: float = GRACE_SECONDS,
) -> Sequence[Part]:
    """Fill an upload with an object of the same endpoint, on the server, several parts at a time.

    Raises PreconditionFailed where the source has no longer the ETag that was listed.
    """

    async def copy(part: PartRange) -> Part:
        request = target.copy_part(
            upload,
            part.number,
            source_bucket,
            source,
            first_byte=part.first_byte,
            size_bytes=part.size_bytes,
        )
        return await see_through(request, grace_seconds=grace_seconds)

    return await map_bounded(copy, ranges, limit=_COPIED_AT_ONCE)


async def put_in_parts(
    target: Store,
    upload: Upload,
    ranges: Sequence[PartRange],
    read: Read,
    *,
    budget: ByteBudget,
    grace_seconds: float = GRACE_SECONDS,
) -> tuple[str, Sequence[Part]]:
    """Fill an upload with what `read` gives of each range; return the MD5 of all bytes, and the parts.

    What is hashed is what is sent. Nothing is completed here: compare first.
    """
    parts: dict[int, Part] = {}

    async def put(part: PartRange, chunk: bytes) -> None:
        request = target.put_part(upload, part.number, chunk)
        parts[part.number] = await see_through(request, grace_seconds=grace_seconds)

    found = await hash_ranges(ranges, read, budget=budget, use=put)
    return found, [parts[number] for number in sorted(parts)]


async def _give_up(target: Store, key: str, started: Sequence[Upload]) -> None:
    """Abort an upload; all of the key's where the answer that would name it did not come."""
    if not started:
        started = [upload for upload in await target.list_uploads(key) if upload.key == key]
    for upload in started:
        await target.abort_upload(upload)


async def abort_uploads(store: Store, prefix: str, *, holds: Callable[[str], bool] | None = None) -> None:
    """Abort the unfinished uploads of keys that start with `prefix`, of those for which `holds` is true."""
    for upload in await store.list_uploads(prefix):
        if holds is None or holds(upload.key):
            await store.abort_upload(upload)
