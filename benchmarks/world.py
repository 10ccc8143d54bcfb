"""The server, the buckets and the data that all peers work on; owns their life, measures nothing."""

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import boto3

from benchmarks.measurement import Measurement
from sandbox.seaweedfs import ADMIN, REGION, ObjectStore
from tests.support.upstream import ensure_upstream

_PROJECT = Path(__file__).parents[1]
_DTOOLCORE = _PROJECT / "benchmarks" / "dtoolcore_script.py"


@dataclass(frozen=True, slots=True)
class World:
    """One S3 server, one directory, and a way to run each peer against them."""

    store: ObjectStore
    directory: Path

    def make_bucket(self) -> str:
        """Make a bucket that has taken its first object: the server's own preparations are not measured."""
        name = self.store.create_bucket(f"bench-{secrets.token_hex(4)}")
        client = self.client()
        client.put_object(Bucket=name, Key="first", Body=b"first")
        client.delete_object(Bucket=name, Key="first")
        return name

    def make_directory(self) -> Path:
        """Make an empty local directory."""
        path = self.directory / "work" / secrets.token_hex(4)
        path.mkdir(parents=True)
        return path

    def drop_bucket(self, name: str) -> None:
        """Delete a bucket with what is in it, so that the disk does not fill."""
        client = self.client()
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=name):
            listed = [{"Key": entry["Key"]} for entry in page.get("Contents", ())]
            if listed:
                client.delete_objects(Bucket=name, Delete={"Objects": listed, "Quiet": True})
        client.delete_bucket(Bucket=name)

    def client(self) -> Any:
        """An S3 client of the administrator's."""
        keys = self.store.identity(ADMIN)
        return boto3.client(
            "s3",
            endpoint_url=self.store.endpoint,
            region_name=REGION,
            aws_access_key_id=keys.access_key,
            aws_secret_access_key=keys.secret_key,
        )

    def ours(self, task: str, *buckets: str, **values: Any) -> Measurement:
        """Run a task of `benchmarks.ours` in a process of its own."""
        return self._script([sys.executable, "-m", "benchmarks.ours"], task, buckets, values)

    def dtool(self, task: str, *buckets: str, **values: Any) -> Measurement:
        """Run a task of `benchmarks/dtoolcore_script.py` on our broker."""
        return self._script([sys.executable, str(_DTOOLCORE)], task, buckets, values)

    def upstream(self, task: str, *buckets: str, **values: Any) -> Measurement:
        """Run a task of `benchmarks/dtoolcore_script.py` in upstream's own environment."""
        python = ensure_upstream() / "bin" / "python"
        return self._script([str(python), str(_DTOOLCORE)], task, buckets, values)

    def s5cmd(self, *arguments: str) -> Measurement:
        """Run s5cmd itself, not its Python wrapper."""
        return self.command([self.s5cmd_path, "--log", "error", *arguments])

    @property
    def s5cmd_path(self) -> str:
        """Where its binary is."""
        files = distribution("s5cmd").files or ()
        return next(
            str(file.locate())
            for file in files
            if str(file).endswith("bin/s5cmd") and "packages" in str(file.locate())
        )

    def rclone(self, *arguments: str) -> Measurement:
        """Run rclone, with as many transfers at a time as help it here."""
        flags = ["--transfers", "64", "--checkers", "64", "--s3-no-check-bucket", "--quiet"]
        return self.command([str(Path(sys.executable).with_name("rclone")), *arguments, *flags])

    def command(self, command: list[str] | str) -> Measurement:
        """Run a program, or a line of shell, to its end."""
        started = time.perf_counter()
        done = subprocess.run(
            command,
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
            shell=isinstance(command, str),  # a line of our own
        )
        seconds = time.perf_counter() - started
        if done.returncode:
            raise RuntimeError(f"{command}: {done.stderr[-600:]}")
        return Measurement(seconds)

    def _script(
        self, command: list[str], task: str, buckets: tuple[str, ...], values: Mapping[str, Any]
    ) -> Measurement:
        done = subprocess.run(
            command,
            input=json.dumps({"task": task, **values}),
            env=self._environment(*buckets),
            cwd=_PROJECT,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{task}: {done.stderr[-2000:]}")
        found = json.loads(done.stdout.splitlines()[-1])
        return Measurement(found.pop("seconds"), found)

    def _environment(self, *buckets: str) -> dict[str, str]:
        keys, endpoint = self.store.identity(ADMIN), self.store.endpoint
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(self.directory),
            "USER": "olssont",
            "LANG": "C.UTF-8",
            "DTOOL_CACHE_DIRECTORY": str(self.directory / "cache"),
            "AWS_ACCESS_KEY_ID": keys.access_key,
            "AWS_SECRET_ACCESS_KEY": keys.secret_key,
            "AWS_REGION": REGION,
            "S3_ENDPOINT_URL": endpoint,
            "RCLONE_CONFIG_S3_TYPE": "s3",
            "RCLONE_CONFIG_S3_PROVIDER": "SeaweedFS",
            "RCLONE_CONFIG_S3_ENDPOINT": endpoint,
            "RCLONE_CONFIG_S3_ACCESS_KEY_ID": keys.access_key,
            "RCLONE_CONFIG_S3_SECRET_ACCESS_KEY": keys.secret_key,
        }
        for bucket in buckets:
            environment |= {
                f"DTOOL_S3_ENDPOINT_{bucket}": endpoint,
                f"DTOOL_S3_ACCESS_KEY_ID_{bucket}": keys.access_key,
                f"DTOOL_S3_SECRET_ACCESS_KEY_{bucket}": keys.secret_key,
            }
        return environment
