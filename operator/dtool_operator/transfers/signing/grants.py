"""Which Jobs may ask for what at this moment, with which open store; nothing is signed without a live grant.

Owns the life of grants: the Job executor gives one when it releases a Job without keys and withdraws it when
the Job ends, is cancelled or refused. Memory only: after a restart the adopted Jobs get theirs again.
"""

import asyncio
import os
import tempfile
import weakref
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from dtool_operator.planning.task import Location, Side, Task
from dtool_operator.planning.transfer import JobRef
from dtool_operator.transfers.executor import TaskCredentials
from dtool_operator.transfers.signing.grant import Permit, Scope, build_scope, find_location
from dtool_s3.errors import AccessDenied, FrozenDataset, QuotaExceeded, SettingsError, Throttled
from dtool_s3.freezing import read_admin_metadata
from dtool_s3.settings import Credentials, Encryption, Endpoint, ambient_credentials
from dtool_s3.store.protocol import SigningStore

#: Questions of one Job that are worked on at a time, and that may wait: a Job takes turns with the others.
_AT_ONCE: Final = 4
_WAITING: Final = 16
#: So many written keys are remembered, so that a repetition does not count twice.
_REMEMBERED: Final = 16_384
#: What one task's store may have in flight; each request may hold a thread.
_REQUESTS_IN_FLIGHT: Final = 8


class OpenStore(Protocol):
    """Opens the bucket of a location; `ca_file`: the certificates to trust."""

    def __call__(
        self, location: Location, credentials: Credentials | None, ca_file: Path | None
    ) -> SigningStore:
        """Return a store; no I/O yet."""


@dataclass(slots=True)
class _Meter:
    """How many bytes were signed for; the newest keys are remembered with their sizes."""

    max_bytes: int | None
    signed_bytes: int = 0
    remembered: OrderedDict[str, int] = field(default_factory=OrderedDict)

    def count(self, permits: Sequence[Permit]) -> None:
        """Add what is about to be signed. Raises QuotaExceeded."""
        for permit in permits:
            if permit.counted is None:
                continue
            name, size_bytes = permit.counted
            more = max(0, size_bytes - self.remembered.pop(name, 0))
            if self.max_bytes is not None and self.signed_bytes + more > self.max_bytes:
                raise QuotaExceeded(f"more than the {self.max_bytes} bytes that this task may write")
            self.signed_bytes += more
            self.remembered[name] = size_bytes
            if len(self.remembered) > _REMEMBERED:
                self.remembered.popitem(last=False)


class Grant:
    """What the Pods of one Job may do until it is withdrawn; shows no keys."""

    def __init__(
        self, task: Task, job: JobRef, scope: Scope, store: SigningStore, ca_pem: str | None
    ) -> None:
        self.task = task
        self.job = job
        self.scope = scope
        self.ca_pem = ca_pem
        self._store = store
        self._meter = _Meter(task.max_size_bytes if scope.is_writable else None)
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._using = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._is_live = True

    @property
    def store(self) -> SigningStore:
        """The store as it is now: after a change of keys it is another."""
        return self._store

    def replace_store(self, store: SigningStore, ca_pem: str | None) -> None:
        """Work with other keys from now on; requests under way end with the old ones."""
        self._store, self.ca_pem = store, ca_pem

    def count(self, permits: Sequence[Permit]) -> None:
        """Add what is about to be signed to what the task may write. Raises QuotaExceeded."""
        self._meter.count(permits)

    def require_live(self) -> None:
        """Raise AccessDenied once the grant was withdrawn."""
        if not self._is_live:
            raise AccessDenied("the task is over", code="NotGranted")

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for the task's turn; while inside, `withdraw` waits. Raises Throttled, AccessDenied."""
        self.require_live()
        if self._using >= _AT_ONCE + _WAITING:
            raise Throttled("this task asks too much at a time", code="SlowDown")
        self._using += 1
        self._idle.clear()
        try:
            async with self._turns:
                self.require_live()
                yield
        finally:
            self._using -= 1
            if self._using == 0:
                self._idle.set()

    async def end(self) -> None:
        """Take the grant back, and wait until nothing is done with it any more."""
        self._is_live = False
        await self._idle.wait()


def open_bucket(location: Location, credentials: Credentials | None, ca_file: Path | None) -> SigningStore:
    """Open a bucket on S3 with the keys that are given, else the ambient ones."""
    from dtool_s3.store.s3 import S3Store  # noqa: PLC0415 - loads what only processes need that talk to S3

    encryption = location.encryption
    return S3Store(
        Endpoint(
            url=location.endpoint,
            region=location.region,
            addressing=location.addressing,
            ca_bundle=None if ca_file is None else str(ca_file),
            conditional_writes=location.conditional_writes,
            encryption=None if encryption is None else Encryption(encryption.mode, encryption.kms_key_id),
        ),
        location.bucket,
        ambient_credentials if credentials is None else lambda: credentials,
        max_concurrency=_REQUESTS_IN_FLIGHT,
    )


class Grants:
    """Live grants by task key. For one event loop.

    `expiry_seconds`: how long a signed URL may be used.
    """

    def __init__(self, *, expiry_seconds: int, open_store: OpenStore = open_bucket) -> None:
        self.expiry_seconds = expiry_seconds
        self._open_store = open_store
        self._by_key: dict[str, Grant] = {}

    async def give(self, task: Task, job: JobRef, credentials: TaskCredentials) -> None:
        """Let the Pods of exactly this Job ask for what its task needs, in place of an earlier grant.

        A target must be a proto dataset now: raises FrozenDataset, DatasetMissing; SettingsError for a task
        that needs no bucket; what the store raises.
        """
        found, scope = find_location(task), build_scope(task)
        if found is None or scope is None:
            raise SettingsError(f"a task of kind {task.kind} needs no signed URLs")
        store, ca_pem = self._open(*found, credentials)
        if scope.is_writable:
            await require_proto(store, scope)
        await self.withdraw(task.key)
        self._by_key[task.key] = Grant(task, job, scope, store, ca_pem)

    def refresh(self, key: str, credentials: TaskCredentials) -> None:
        """Sign with other keys from now on; unknown tasks are fine."""
        grant = self._by_key.get(key)
        found = None if grant is None else find_location(grant.task)
        if grant is not None and found is not None:
            grant.replace_store(*self._open(*found, credentials))

    async def withdraw(self, key: str) -> None:
        """Take a grant back; afterwards nothing is signed or done for it. Unknown tasks are fine.

        URLs that were given live on for `expiry_seconds` at most.
        """
        grant = self._by_key.pop(key, None)
        if grant is not None:
            await grant.end()

    def find(self, job: JobRef) -> Grant | None:
        """Return the grant of exactly this Job: name and uid are those that were recorded."""
        return next((grant for grant in self._by_key.values() if grant.job == job), None)

    def _open(
        self, side: Side, location: Location, credentials: TaskCredentials
    ) -> tuple[SigningStore, str | None]:
        is_target = side is Side.TARGET
        ca_pem = credentials.target_ca if is_target else credentials.source_ca
        keys = credentials.target if is_target else credentials.source
        ca_file = None if ca_pem is None else _write_ca_file(ca_pem)
        store = self._open_store(location, keys, ca_file)
        if ca_file is not None:
            weakref.finalize(store, ca_file.unlink, missing_ok=True)
        return store, ca_pem


def _write_ca_file(pem: str) -> Path:
    """Write certificates to a file that only this user can read."""
    descriptor, path = tempfile.mkstemp(prefix="dtool-operator-ca-", suffix=".pem")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(pem)
    return Path(path)


async def require_proto(store: SigningStore, scope: Scope) -> None:
    """Raise FrozenDataset or DatasetMissing unless the dataset is a proto dataset now."""
    admin, _ = await read_admin_metadata(store, scope.layout)
    if admin.is_frozen:
        raise FrozenDataset(f"{scope.layout.root!r} is frozen: nothing is signed that would change it")
