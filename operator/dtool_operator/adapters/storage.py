"""From a DtoolBucket and its keys to a store; owns the open stores of the operator process.

What the operator itself asks of S3 is small and bounded: it looks, tests and lists. Bytes are the workers'.
"""

import asyncio
import os
import tempfile
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dtool_operator.adapters.credentials import BucketCredentials
from dtool_operator.api.bucket import DtoolBucket
from dtool_operator.planning.transfer import RequestObserver
from dtool_s3.errors import BucketUnreachable
from dtool_s3.settings import Encryption, EncryptionMode, Endpoint
from dtool_s3.store.protocol import Store

LOOKS_IN_FLIGHT = 8
"""Requests of the operator itself to one bucket at one time; each may hold a thread."""

PATIENCE_SECONDS = 45.0
"""How long a look may wait for S3. Those who look are few: a bucket that hangs must not keep them all."""


class StoreOpener(Protocol):
    """Opens a store on a bucket; closing it is optional."""

    def __call__(self, bucket: DtoolBucket, credentials: BucketCredentials) -> Store:
        """Return a store; no I/O yet."""


@dataclass(frozen=True, slots=True)
class S3StoreOpener:
    """Opens buckets on S3; `on_requests` is told what the stores ask."""

    on_requests: RequestObserver = lambda *_: None

    def __call__(self, bucket: DtoolBucket, credentials: BucketCredentials) -> Store:
        """Open a bucket with these keys. Its certificates lie in a private file while the store lives."""
        # boto3 is loaded only by processes that really talk to S3
        from dtool_s3.store.s3 import S3Store  # noqa: PLC0415

        on_requests, bucket_key = self.on_requests, f"{bucket.namespace}/{bucket.name}"
        ca_file = None if credentials.ca_bundle is None else _write_ca_file(credentials.ca_bundle)
        store = S3Store(
            build_endpoint(bucket, ca_file),
            bucket.spec.bucket,
            lambda: credentials.credentials,
            max_concurrency=LOOKS_IN_FLIGHT,
            on_answer=lambda request, result: on_requests(bucket_key, request.operation, result, 1),
        )
        if ca_file is not None:
            weakref.finalize(store, ca_file.unlink, missing_ok=True)
        return store


def _write_ca_file(text: str) -> Path:
    """Write certificates to a file that only this user can read."""
    descriptor, path = tempfile.mkstemp(prefix="dtool-operator-ca-", suffix=".pem")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    return Path(path)


def build_endpoint(bucket: DtoolBucket, ca_file: Path | None = None) -> Endpoint:
    """Say where the bucket is and how it is spoken to."""
    spec = bucket.spec
    return Endpoint(
        url=spec.endpoint,
        region=spec.region,
        addressing=spec.addressing,
        ca_bundle=None if ca_file is None else str(ca_file),
        conditional_writes=spec.conditional_writes,
        encryption=None
        if spec.encryption is None
        else Encryption(EncryptionMode(spec.encryption.mode), spec.encryption.kms_key_id),
    )


class OpenStores:
    """Keeps one store per bucket object, opened anew when its spec or Secret changed.

    A store that is replaced or dropped is let go, not closed: looks that began with it still use it, and
    closing waits for their requests. Its threads end with its last user.
    """

    def __init__(self, opener: StoreOpener) -> None:
        self._opener = opener
        self._stores: dict[str, tuple[str, Store]] = {}

    def open(self, bucket: DtoolBucket, credentials: BucketCredentials) -> Store:
        """Return the store of a bucket object with these keys."""
        version = f"{bucket.meta.generation}/{credentials.version}"
        known = self._stores.get(bucket.uid)
        if known is not None and known[0] == version:
            return known[1]
        store = self._opener(bucket, credentials)
        self._stores[bucket.uid] = (version, store)
        return store

    def drop(self, uid: str) -> None:
        """Let go of the store of a bucket object that is gone; unknown ones are fine."""
        self._stores.pop(uid, None)

    def close(self) -> None:
        """Close all stores, when nobody uses them any more."""
        stores, self._stores = self._stores, {}
        for _, store in stores.values():
            close: Callable[[], None] | None = getattr(store, "close", None)
            if close is not None:
                close()


@asynccontextmanager
async def answering_soon() -> AsyncIterator[None]:
    """Raise BucketUnreachable where a few small requests take longer than a look can wait."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            yield
    except TimeoutError as error:
        message = f"the endpoint did not answer within {PATIENCE_SECONDS:.0f} s"
        raise BucketUnreachable(message, code="Timeout") from error
