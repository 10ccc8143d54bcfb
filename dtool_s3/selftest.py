"""Whether a bucket can be worked with: owns the probe object and what a store must do with it (rule 7).

Writes and deletes nothing but one small object under a prefix that the caller owns. Its name is always the
same: what a killed test left behind is taken over and deleted by the next.
"""

import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from dtool_s3.digest import md5_hexdigest
from dtool_s3.errors import BucketUnreachable, NotFound, NotSupported, PreconditionFailed, StorageError
from dtool_s3.settings import ConditionalWrites
from dtool_s3.store.protocol import IF_ABSENT, ObjectInfo, Precondition, Store, if_match

PROBE_NAME = ".dtool-selftest"
_MAX_READ_BYTES = 64 * 1024
#: ETag of no object: the MD5 of nothing that anybody wrote.
_WRONG_ETAG = "0" * 32


class Probe(StrEnum):
    """One thing that was tried and went as it should."""

    HEAD = "HEAD"
    LIST = "list"
    PUT = "put"
    GET = "get"
    IF_NONE_MATCH = "If-None-Match"
    IF_MATCH = "If-Match"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class SelfTestResult:
    """What was tried with success; `ignored` are the conditions that a best-effort store did not keep.

    `written_at` is the server's time of writing the probe, `read_at` this machine's time of reading it, both
    in UTC; `has_md5_etags`: the probe's ETag is the MD5 of its bytes. None where nothing was written.
    """

    passed: tuple[Probe, ...]
    ignored: tuple[Probe, ...] = ()
    written_at: datetime | None = field(default=None, compare=False)
    read_at: datetime | None = field(default=None, compare=False)
    has_md5_etags: bool | None = field(default=None, compare=False)

    @property
    def has_written(self) -> bool:
        """Whether writing was tried."""
        return Probe.PUT in self.passed

    def __str__(self) -> str:
        """Return one sentence for people."""
        tried = f"Tried with success: {', '.join(self.passed)}."
        if not self.ignored:
            return tried
        conditions = " and ".join(self.ignored)
        return f"{tried} The store ignores {conditions}: of two writers at one moment the later one wins."


async def check_store(
    store: Store, *, prefix: str | None, conditional_writes: ConditionalWrites
) -> SelfTestResult:
    """Try the bucket: HEAD and list; with `prefix` also put, get and compare, conditional puts, delete.

    `prefix` must be the caller's own (rule 4); None for a bucket that is not, or not yet, written to.

    Raises a StorageError that says what is wrong: NotSupported for a store that gives back other bytes than
    it was given, or ignores conditions although they are `Required`.
    """
    await store.check_bucket()
    await store.list("", limit=1)
    passed = (Probe.HEAD, Probe.LIST)
    if prefix is None:
        return SelfTestResult(passed)
    key = f"{prefix}{PROBE_NAME}"
    body = f"dtool self-test {secrets.token_hex(32)}\n".encode()
    try:
        await store.put(key, body)
        read = await _compare(store, key, body)
        read_at = datetime.now(UTC)
        ignored = await _find_ignored(store, key, conditional_writes)
    except BaseException:
        with suppress(StorageError):  # the failure before it says what is wrong
            await store.delete(key)
        raise
    await store.delete(key)
    tried = (Probe.PUT, Probe.GET, Probe.IF_NONE_MATCH, Probe.IF_MATCH, Probe.DELETE)
    return SelfTestResult(
        passed + tuple(probe for probe in tried if probe not in ignored),
        ignored,
        written_at=read.last_modified,
        read_at=read_at,
        has_md5_etags=read.etag == md5_hexdigest(body),
    )


async def _find_ignored(store: Store, key: str, conditional_writes: ConditionalWrites) -> tuple[Probe, ...]:
    """Try to overwrite the probe; return the conditions that were ignored."""
    conditions = {Probe.IF_NONE_MATCH: IF_ABSENT, Probe.IF_MATCH: if_match(_WRONG_ETAG)}
    ignored = tuple([p for p, condition in conditions.items() if not await _refuses(store, key, condition)])
    if ignored and conditional_writes is ConditionalWrites.REQUIRED:
        raise NotSupported(
            f"the store overwrites objects in spite of {' and '.join(ignored)}: two writers could destroy "
            "each other's datasets; setting conditional writes to BestEffort accepts that"
        )
    return ignored


async def _compare(store: Store, key: str, body: bytes) -> ObjectInfo:
    """Read the probe and return its headers.

    Raises NotSupported for other bytes, BucketUnreachable where it is not there.
    """
    try:
        stored = await store.get(key, max_bytes=_MAX_READ_BYTES)
    except NotFound as error:
        raise BucketUnreachable(
            f"{key!r} was written to bucket {store.bucket!r} and is not there: check endpoint and addressing",
            code=error.code,
        ) from error
    found = stored.body
    if found == body:
        return stored.info
    why = "its bytes changed"
    if body in found:
        why = "it keeps the framing of upload checksums (aws-chunked) inside objects"
    raise NotSupported(
        f"the store gave back {len(found)} bytes for {len(body)} written: {why}; it cannot hold datasets",
        code="BadDigest",
    )


async def _refuses(store: Store, key: str, condition: Precondition) -> bool:
    """Tell whether the store refuses a write whose condition does not hold."""
    try:
        await store.put(key, b"this write must be refused\n", precondition=condition)
    except PreconditionFailed:
        return True
    return False
