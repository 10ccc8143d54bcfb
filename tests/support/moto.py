"""moto as an S3 server on loopback, once a session: a third opinion on what S3 does; for tests only."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from dtool_s3.settings import Credentials, Endpoint, Secret
from dtool_s3.store.s3 import S3Store


@dataclass(frozen=True, slots=True)
class MotoServer:
    """Where it listens; it takes any credentials and checks no signature."""

    url: str

    @property
    def endpoint(self) -> Endpoint:
        """Endpoint of its stores."""
        return Endpoint(self.url, "us-east-1")

    @property
    def credentials(self) -> Credentials:
        """Keys that are as good as any."""
        return Credentials("AKIDEXAMPLE", Secret("moto-takes-any-key"))

    def store(self, bucket: str) -> S3Store:
        """Open a bucket; to be closed by who asked."""
        return S3Store(self.endpoint, bucket, lambda: self.credentials)

    def create_bucket(self, name: str | None = None) -> str:
        """Make an empty bucket, of a name of its own unless one is given; one that exists is no error."""
        import boto3

        bucket = name or f"moto-{secrets.token_hex(4)}"
        keys = self.credentials
        client = boto3.session.Session().client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=keys.access_key_id,
            aws_secret_access_key=keys.secret_access_key.reveal(),
        )
        client.create_bucket(Bucket=bucket)
        client.close()
        return bucket


@pytest.fixture(scope="session")
def moto_server() -> Iterator[MotoServer]:
    """A moto server for the session: keep to your own buckets."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield MotoServer(f"http://{host}:{port}")
    server.stop()


@pytest.fixture
def make_moto_bucket(moto_server: MotoServer) -> Callable[[], str]:
    """A function that makes an empty bucket on the moto server."""
    return moto_server.create_bucket
