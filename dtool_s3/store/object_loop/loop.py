"""The object loop: the first attempt of a bucket's many small requests, on obstore, in threads of its own.

Owns whether obstore may be asked: not in a forked child, where it would hang; not for what it would send
otherwise than botocore; not while it fails. Every method returns None where the answer is botocore's to
give, which repeats, resolves lost answers and names errors; of errors only those raise that are certain.
"""

import asyncio
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from dtool_s3.concurrency import settle
from dtool_s3.digest import md5_hexdigest
from dtool_s3.errors import NotFound, RequestRefused, StorageError
from dtool_s3.settings import EncryptionMode
from dtool_s3.store.boto.answer import lowered
from dtool_s3.store.boto.connection import ANSWERED, Connection
from dtool_s3.store.boto.target import Target
from dtool_s3.store.object_loop.fitness import (
    is_plain_body,
    is_plain_environment,
    is_plain_key,
    is_plain_metadata,
)
from dtool_s3.store.object_loop.outcome import AnswerLost, Unanswered, UnprovenEtag
from dtool_s3.store.object_loop.trust import Trust
from dtool_s3.store.protocol import Body, ListedObject, ObjectInfo, StoredObject

if TYPE_CHECKING:
    from dtool_s3.store.object_loop.bucket import ObjectBucket

#: Larger bodies might not be sent before obstore loses patience with the answer.
MAX_PUT_BYTES = 4 * 1024**2
#: Above this, botocore's path from the socket to memory costs less than its requests do.
MAX_RANGE_BYTES = 2 * 1024**2
#: The server may be silent for long over larger copies.
MAX_COPY_BYTES = 256 * 1024**2

_WRITES = frozenset({"put", "copy"})

#: What `on_answer` is told of an attempt after which botocore asks again.
UNANSWERED = "Unanswered"

_T = TypeVar("_T")


class _Process:
    """The process that obstore was first used in: its threads do not come along when it forks."""

    pid: int | None = None

    @classmethod
    def claim(cls) -> bool:
        """Tell whether obstore may be used in this process; from now on only in it."""
        if cls.pid is None:
            cls.pid = os.getpid()
        return cls.pid == os.getpid()


class ObjectLoop:
    """First attempts of requests to `connection`'s bucket, `max_threads` at a time.

    The constructor performs no I/O. `close()` waits for the requests under way and ends the threads.
    """

    def __init__(self, connection: Connection, *, max_threads: int) -> None:
        self._connection = connection
        self._encryption = connection.endpoint.encryption
        self._threads = ThreadPoolExecutor(max_threads, thread_name_prefix="dtool-s3-objects")
        self._opening = threading.Lock()
        self._bucket: ObjectBucket | None = None
        self._trust = Trust()
        # the ETags of SSE-KMS look like MD5s and are none: then the server's own check of Content-MD5 is
        # the better proof, and that is botocore's way
        self._proves_puts = self._encryption is None or self._encryption.mode is EncryptionMode.SSE_S3

    def close(self) -> None:
        """Wait for the requests under way and end the threads. Blocks."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._bucket = None

    async def head(self, key: str) -> ObjectInfo | None:
        """HEAD an object. Raises NotFound."""
        return await self._ask("head", key, lambda bucket: bucket.head(key))

    async def get(self, key: str, *, max_bytes: int) -> StoredObject | None:
        """Read an object whole. Raises NotFound, and RequestRefused above `max_bytes`."""
        return await self._ask("get", key, lambda bucket: bucket.get(key, max_bytes))

    async def get_range(self, key: str, first_byte: int, size_bytes: int, *, etag: str) -> bytes | None:
        """Read a part of an object that still has `etag`. Raises NotFound."""
        if size_bytes > MAX_RANGE_BYTES:
            return None
        return await self._ask(
            "get_range", key, lambda bucket: bucket.get_range(key, first_byte, size_bytes, etag)
        )

    async def put(self, key: str, body: Body, metadata: Mapping[str, str]) -> ObjectInfo | None:
        """Write an object; `last_modified` of the result is this machine's clock at the answer."""
        if not self._proves_puts or not is_plain_metadata(metadata):
            return None
        if not is_plain_body(body) or len(body) > MAX_PUT_BYTES:
            return None
        try:
            return await self._ask("put", key, lambda bucket: bucket.put(key, body, metadata))
        except AnswerLost:
            return await self._find_written(key, body, metadata)

    async def _find_written(self, key: str, body: Body, metadata: Mapping[str, str]) -> ObjectInfo | None:
        """Return what lies at `key` if it is seen to be `body` with `metadata`."""
        try:
            found = await self.head(key)
        except NotFound:
            return None
        if found is None or found.etag != md5_hexdigest(body):
            return None
        return found if dict(found.metadata) == lowered(metadata) else None

    async def copy(self, source_bucket: str, source: ListedObject, key: str) -> bool:
        """Copy an object on the server, with its metadata; tell whether that was done."""
        if source.size_bytes > MAX_COPY_BYTES or not is_plain_key(source.key):
            return False

        def copy(bucket: "ObjectBucket") -> bool:
            bucket.copy(source_bucket, source, key)
            return True

        return await self._ask("copy", key, copy) is True

    async def copy_many(
        self, source_bucket: str, copies: Sequence[tuple[ListedObject, str]]
    ) -> Sequence[ObjectInfo | None]:
        """Copy objects with their metadata, one after another, and HEAD each copy; None: nothing is known.

        One thread does both for all of them: going to and fro between thread and event loop costs as much
        as sending a request.
        """
        bucket = await self._find_bucket()
        if bucket is None:
            return [None] * len(copies)
        is_over = threading.Event()

        def copy_in_turn() -> list[ObjectInfo | None]:
            return [None if is_over.is_set() else self._copy_one(bucket, source_bucket, *c) for c in copies]

        infos = await settle(self._threads.submit(copy_in_turn), on_cancel=is_over.set)
        for (_, key), info in zip(copies, infos, strict=True):
            for operation in ("copy",) if info is None else ("copy", "head"):
                self._connection.tell(operation, key)
                self._connection.tell_answer(operation, key, _result(info))
        return infos

    def _copy_one(
        self, bucket: "ObjectBucket", source_bucket: str, source: ListedObject, key: str
    ) -> ObjectInfo | None:
        if source.size_bytes > MAX_COPY_BYTES or not is_plain_key(source.key) or not is_plain_key(key):
            return None

        def copy(bucket: "ObjectBucket") -> ObjectInfo:
            bucket.copy(source_bucket, source, key)
            return bucket.head(key)

        try:
            return self._attempt(bucket, copy)
        except (NotFound, AnswerLost):
            return None

    async def _ask(self, operation: str, key: str, act: Callable[["ObjectBucket"], _T]) -> _T | None:
        bucket = await self._find_bucket() if is_plain_key(key) else None
        if bucket is None:
            return None
        self._connection.tell(operation, key)
        try:
            begun = self._threads.submit(self._attempt, bucket, act)
            answer = await (settle(begun) if operation in _WRITES else asyncio.wrap_future(begun))
        except (NotFound, RequestRefused) as error:
            self._connection.tell_answer(operation, key, error.reason)
            raise
        except AnswerLost:
            self._connection.tell_answer(operation, key, UNANSWERED)
            raise
        self._connection.tell_answer(operation, key, _result(answer))
        return answer

    async def _find_bucket(self) -> "ObjectBucket | None":
        """The bucket as obstore sees it; None where obstore may not be asked."""
        if not self._may_ask():
            return None
        try:
            target = await self._connection.find_target()
        except StorageError:
            return None
        if target is None or not target.is_direct:
            return None
        bucket = self._bucket
        if bucket is None or bucket.target is not target:
            return await self._in_thread(self._open, target)
        return bucket

    def _may_ask(self) -> bool:
        return _Process.claim() and self._trust.is_given() and is_plain_environment(os.environ)

    async def _in_thread(self, function: Callable[..., _T], *arguments: object) -> _T:
        return await asyncio.wrap_future(self._threads.submit(function, *arguments))

    def _open(self, target: Target) -> "ObjectBucket":
        from dtool_s3.store.object_loop.bucket import ObjectBucket  # noqa: PLC0415 - at the first request

        with self._opening:
            if self._bucket is None or self._bucket.target is not target:
                self._bucket = ObjectBucket(target, self._encryption, self._connection.read_timeout_seconds)
            return self._bucket

    def _attempt(self, bucket: "ObjectBucket", act: Callable[["ObjectBucket"], _T]) -> _T | None:
        try:
            answer = act(bucket)
        except (NotFound, RequestRefused):
            self._trust.note_success()
            raise
        except UnprovenEtag:
            self._proves_puts = False
            return None
        except AnswerLost:
            self._trust.note_failure()
            raise
        except Unanswered:
            self._trust.note_failure()
            return None
        self._trust.note_success()
        return answer


def _result(answer: object) -> str:
    return UNANSWERED if answer is None else ANSWERED
