"""A signing endpoint of a test's own, and workers that ask it: real HTTPS, an API server that is made up."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dtool_operator.planning.task import Location, Side, SigningPlace, Task, TaskKind
from dtool_operator.planning.transfer import JobRef
from dtool_operator.transfers.executor import TaskCredentials
from dtool_operator.transfers.signing.certificate import Certificate, build_certificate
from dtool_operator.transfers.signing.grants import Grants, OpenStore, open_bucket
from dtool_operator.transfers.signing.server import SigningServer
from dtool_operator.transfers.signing.signed_store import SignedStore, open_signed_store
from dtool_s3.errors import DtoolS3Error
from dtool_s3.settings import Credentials, Secret

UUID = "b640cee0-82f4-4e60-9ba8-0ee8c1dd1b0e"
PREFIX = "u/alice/"
ROOT = f"{PREFIX}{UUID}/"


def build_job(number: int = 1) -> JobRef:
    """Name a Job."""
    return JobRef("alice", f"dtool-upload-{number}", f"job-uid-{number}")


def build_location(endpoint: str, bucket: str, **changes: Any) -> Location:
    """Say where a test's bucket is."""
    return Location(bucket=bucket, prefix=PREFIX, endpoint=endpoint, **changes)


def build_task(kind: TaskKind, location: Location, *, key: str = "dataset-1", **changes: Any) -> Task:
    """Make a task whose only bucket is `location`."""
    source = {"source": location} if kind is TaskKind.DOWNLOAD else {}
    values = {
        "kind": kind,
        "key": key,
        "namespace": "alice",
        "fingerprint": "f",
        "uuid": UUID,
        "target": location,
        "bucket_key": "dtool-system/lab",
        **source,
        **changes,
    }
    return Task.model_validate(values)


@dataclass
class FakeReviewer:
    """Knows tokens as the API server would; counts how often it was asked."""

    jobs: dict[str, JobRef] = field(default_factory=dict)
    asked: int = 0
    failure: Exception | None = None

    async def find_job(self, token: str) -> JobRef | None:
        self.asked += 1
        if self.failure is not None:
            raise self.failure
        return self.jobs.get(token)


@dataclass
class Endpoint:
    """A running endpoint; `url` stays the same over `restart`."""

    server: SigningServer
    certificate: Certificate
    grants: Grants
    reviewer: FakeReviewer
    directory: Path
    opened: list[SignedStore] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.server.port}"

    def place(self, token: str) -> SigningPlace:
        """What a worker with this token is told."""
        path = self.directory / f"token-{token}"
        path.write_text(f"{token}\n")
        return SigningPlace(url=self.url, ca_pem=self.certificate.ca_pem, token_file=str(path))

    def open(self, task: Task, *, number: int = 1, patience_seconds: float = 5.0) -> SignedStore:
        """Open the store of a worker."""
        side = Side.SOURCE if task.kind is TaskKind.DOWNLOAD else Side.TARGET
        signing = task.model_copy(update={"signing": self.place(f"token-{number}")})
        self.opened.append(open_signed_store(signing, side, patience_seconds=patience_seconds))
        return self.opened[-1]

    async def give(self, task: Task, credentials: Credentials, *, number: int = 1) -> None:
        """Grant a task to a Job whose Pod has the token `token-<number>`."""
        job = build_job(number)
        self.reviewer.jobs[f"token-{number}"] = job
        await self.grants.give(task, job, TaskCredentials(credentials, credentials))

    async def restart(self) -> None:
        """Stop, and start at the same port without any grants, as a new operator."""
        await self.server.stop()
        self.grants = Grants(expiry_seconds=self.grants.expiry_seconds, open_store=self.grants._open_store)
        self.server = build_server(self.certificate, self.grants, self.reviewer, port=self.server.port)
        await self.server.start()


def build_server(
    certificate: Certificate, grants: Grants, reviewer: FakeReviewer, *, port: int = 0, **options: Any
) -> SigningServer:
    """Make a server on loopback."""
    return SigningServer(
        host="127.0.0.1",
        port=port,
        certificate=certificate,
        grants=grants,
        reviewer=reviewer,
        clock=time.monotonic,
        **options,
    )


@asynccontextmanager
async def running_endpoint(
    directory: Path, *, expiry_seconds: int = 30, open_store: OpenStore = open_bucket, **options: Any
) -> AsyncIterator[Endpoint]:
    """Run an endpoint until the block is left; closes what was opened."""
    certificate = build_certificate("127.0.0.1", now=datetime.now(UTC))
    grants, reviewer = Grants(expiry_seconds=expiry_seconds, open_store=open_store), FakeReviewer()
    endpoint = Endpoint(
        build_server(certificate, grants, reviewer, **options), certificate, grants, reviewer, directory
    )
    await endpoint.server.start()
    try:
        yield endpoint
    finally:
        for store in endpoint.opened:
            await store.close()
        await endpoint.server.stop()


def build_credentials(access_key: str, secret_key: str) -> Credentials:
    """Make keys."""
    return Credentials(access_key, Secret(secret_key))


async def fail_of(act: Callable[[], Any]) -> DtoolS3Error:
    """Return the library's error that `act` raises."""
    try:
        await act()
    except DtoolS3Error as error:
        return error
    raise AssertionError("nothing was raised")
