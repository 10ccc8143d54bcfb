"""An S3 service in memory, with the semantics of the Store protocol and with faults; for tests.

Owns the objects of its buckets. Nothing leaves the process. `MemoryServer` plays the endpoint and is also
the test's direct hand on the content (`write`, `read`, `keys`: no fault, no request); `MemoryStore`, in its
own module, is one bucket seen with one identity.
"""

import asyncio
import base64
import itertools
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar, final

from dtool_s3.errors import AccessDenied, BadDigest, BucketNotFound, CredentialsRejected
from dtool_s3.store.faults import Fault, Request
from dtool_s3.store.memory_bucket import Held, MemoryBucket, encrypted_etag, plain_etag
from dtool_s3.store.memory_store import MemoryStore
from dtool_s3.store.memory_url import lowered, parse_url
from dtool_s3.store.protocol import NO_METADATA, Body, ObjectInfo, StoredObject

__all__ = ["MemoryServer", "MemoryStore", "Rule"]

MAX_COPY_BYTES = 5 * 1024**3
_METADATA = "x-amz-meta-"

#: (identity, operation, bucket, key) -> may it?
Rule = Callable[[str | None, str, str, str], bool]

_T = TypeVar("_T")
_numbers = itertools.count(1)


@final
class MemoryServer:
    """Several buckets behind one endpoint.

    `clock` gives the time of a write; the server makes times strictly increasing. `allows` decides what an
    identity may do (a copy is asked as `get` of its source and `copy` of its target); identities in
    `rejected_identities` get CredentialsRejected. `honours_preconditions=False` plays a store that ignores
    If-Match and If-None-Match, `copies_as_plain` one (as AWS) whose copies get the MD5 as ETag. Others are
    played by setting `encrypts` (ETags are no MD5s, and new at each write), `tells_part_sizes`, `has_acls`,
    `copies_many` and `max_copy_bytes`.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        allows: Rule | None = None,
        honours_preconditions: bool = True,
        copies_as_plain: bool = False,
    ) -> None:
        self.endpoint_url = f"memory://{next(_numbers)}"
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self.allows = allows
        self.rejected_identities: set[str | None] = set()
        self.copies_as_plain = copies_as_plain
        self.encrypts = False
        self.tells_part_sizes = True
        self.has_acls = True
        self.copies_many = False
        self.max_copy_bytes = MAX_COPY_BYTES
        self.url_secret = secrets.token_bytes(16)
        self._honours_preconditions = honours_preconditions
        self._clock = clock
        self._last = datetime.min.replace(tzinfo=UTC)
        self._buckets: dict[str, MemoryBucket] = {}
        self._lock = threading.RLock()

    def create_bucket(self, name: str) -> None:
        """Create an empty bucket; one that is there stays as it is."""
        content = MemoryBucket(name, honours_preconditions=self._honours_preconditions)
        self._buckets.setdefault(name, content)

    def delete_bucket(self, name: str) -> None:
        """Remove a bucket and everything in it."""
        self._buckets.pop(name, None)

    def store(self, bucket: str, identity: str | None = None) -> "MemoryStore":
        """Return `bucket` as `identity` sees it; the bucket need not exist."""
        return MemoryStore(self, bucket, identity)

    def etag(self, body: Body) -> str:
        """Return the ETag that a body gets when it is written in one piece."""
        return encrypted_etag(body) if self.encrypts else plain_etag(body)

    def write(
        self,
        bucket: str,
        key: str,
        body: bytes,
        *,
        metadata: Mapping[str, str] = NO_METADATA,
        storage_class: str = "STANDARD",
    ) -> ObjectInfo:
        """Put an object behind everybody's back."""
        held = Held(body, self.etag(body), self.now(), metadata, storage_class)
        return self.find_bucket(bucket).write(key, held).info(key)

    def read(self, bucket: str, key: str) -> StoredObject:
        """Return an object. Raises NotFound."""
        held = self.find_bucket(bucket).find(key)
        return StoredObject(held.info(key), held.body)

    def remove(self, bucket: str, key: str) -> None:
        """Delete an object behind everybody's back."""
        self.find_bucket(bucket).objects.pop(key, None)

    def keys(self, bucket: str) -> list[str]:
        """Return all keys of a bucket, sorted as S3 sorts them."""
        return self.find_bucket(bucket).sorted_keys("")

    def now(self) -> datetime:
        """Return the time of the next write: the clock's, moved on by 1 ms where it did not advance."""
        self._last = max(self._clock(), self._last + timedelta(milliseconds=1))
        return self._last

    def find_bucket(self, name: str) -> MemoryBucket:
        """Return a bucket's content. Raises BucketNotFound."""
        try:
            return self._buckets[name]
        except KeyError:
            raise BucketNotFound(f"bucket {name!r} does not exist", code="NoSuchBucket") from None

    def receive(
        self, method: str, url: str, *, headers: Mapping[str, str] = NO_METADATA, body: bytes = b""
    ) -> bytes:
        """Answer a GET or PUT of a URL that comes with no credentials; headers are those of HTTP.

        Raises AccessDenied (not public, expired, a signature for something else), NotFound, BadDigest,
        BucketUnreachable for another server's URL.
        """
        address = parse_url(url, self.endpoint_url, self.url_secret)
        content, grant, given = self.find_bucket(address.bucket), address.grant, lowered(headers)
        if grant is None:
            held = content.objects.get(address.key)
            if method != "GET" or held is None or not held.is_public:
                raise AccessDenied(f"{method} of {address.bucket}/{address.key}", code="AccessDenied")
            return held.body
        metadata = {name for name in given if name.startswith(_METADATA)}
        has_signed = all(given.get(name) == value for name, value in grant.headers.items())
        is_as_signed = has_signed and metadata <= set(grant.headers)
        if method != grant.method or self._clock() >= grant.expires or not is_as_signed:
            raise AccessDenied(f"{method} of {address.bucket}/{address.key}", code="AccessDenied")
        request = Request(method.lower(), address.bucket, address.key)
        self.check_allowed(grant.identity, request)
        if method == "GET":
            return content.find_readable(address.key).body
        if given.get("content-md5") not in {None, _content_md5(body)}:
            raise BadDigest(f"{address.bucket}/{address.key} has another MD5", code="BadDigest")
        kept = {name.removeprefix(_METADATA): given[name] for name in metadata}
        self.write(address.bucket, address.key, body, metadata=kept)
        return b""

    def check_allowed(self, identity: str | None, request: Request) -> None:
        """Raise CredentialsRejected or AccessDenied where the identity may not; a stranger has none."""
        if request.operation == "fetch_unsigned":
            return
        if identity in self.rejected_identities:
            raise CredentialsRejected(f"identity {identity!r} is unknown", code="InvalidAccessKeyId")
        if self.allows and not self.allows(identity, request.operation, request.bucket, request.key):
            raise AccessDenied(f"{request.operation} of {request.bucket}/{request.key}", code="AccessDenied")

    async def run(
        self, identity: str | None, request: Request, effect: Callable[[], _T]
    ) -> tuple[_T, Sequence[Fault]]:
        """Log a request, let faults strike, check rights, have the effect.

        Returns its result and the faults that still want to lose the answer.
        """
        self.requests.append(request)
        await asyncio.sleep(0)
        hit = [fault for fault in self.faults if fault.claims(request)]
        for fault in hit:
            await fault.strike()
        self.check_allowed(identity, request)
        with self._lock:
            result = effect()
        return result, [fault for fault in hit if fault.after_effect]


def _content_md5(body: bytes) -> str:
    """Value of the Content-MD5 header."""
    return base64.b64encode(bytes.fromhex(plain_etag(body))).decode("ascii")
