"""Policies of `kubectl dtool policy` in use: SeaweedFS identities made of them, our dtool and upstream's.

SeaweedFS's policies are in the language of AWS and MinIO, but neither server is here: what is particular to
their documents, `--strict` above all, is checked by the unit tests of `s3_policy` alone.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from dtool_operator.cli.policy import run_policy
from dtool_operator.planning.s3_policy import PolicyFormat
from sandbox.identity import create_identity
from sandbox.kubectl import find_kubectl
from sandbox.readiness import wait_until_ready
from tests.support.installation import install_operator
from tests.support.upstream import Dtool, bucket_environment, ensure_upstream

if TYPE_CHECKING:
    from sandbox.controlplane import ControlPlane
    from sandbox.seaweedfs import ObjectStore

KINDS = [
    (PolicyFormat.SEAWEEDFS, "Prefix"),
    (PolicyFormat.SEAWEEDFS, "Bucket"),
    (PolicyFormat.SEAWEEDFS_ACTIONS, "Prefix"),
    (PolicyFormat.SEAWEEDFS_ACTIONS, "Bucket"),
]
# more than what upstream's boto3 sends in one request
LARGE = 9 * 2**20
OURS = Path(sys.executable).parent


class OneBucket:
    """A cluster with one DtoolBucket, which admits everybody."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        metadata = {"name": "lab", "namespace": "dtool-system", "uid": "u1", "generation": 1}
        metadata["creationTimestamp"] = "2026-01-01T00:00:00Z"
        self._body = {"metadata": metadata, "spec": {"allowedNamespaces": {"from": "All"}, **spec}}

    def read(self, resource: str, name: str, *, namespace: str | None = None) -> Mapping[str, Any]:
        assert (resource, name, namespace) == ("dtoolbuckets.dtool.dev", "lab", "dtool-system")
        return self._body


@dataclass(frozen=True, slots=True)
class User:
    """Somebody with S3 keys of his own and a printed policy; bob's data lie in the same bucket."""

    name: str
    bucket: str
    access: str
    form: PolicyFormat
    client: Any
    admin: Any
    environment: Mapping[str, str]
    """Of his `dtool`."""

    @property
    def prefix(self) -> str:
        return f"u/{self.name}/"

    def attempt(self, operation: str, **values: Any) -> str:
        """Send one request with his keys; return `ok` or the error's code."""
        try:
            getattr(self.client, operation)(Bucket=self.bucket, **values)
        except ClientError as error:
            code = str(error.response["Error"]["Code"])
            return "AccessDenied" if code == "403" else code
        return "ok"

    def list_keys(self) -> set[str]:
        """All keys of the bucket, as its administrator sees them."""
        return {found["Key"] for found in self.admin.list_objects_v2(Bucket=self.bucket).get("Contents", [])}


def print_policy(bucket: str, access: str, form: PolicyFormat, namespace: str) -> Any:
    """Return what `kubectl dtool policy` prints."""
    arguments = argparse.Namespace(
        bucket="lab", namespace=namespace, bucket_namespace="dtool-system", strict=False, format=form
    )
    output = io.StringIO()
    run_policy(arguments, OneBucket({"bucket": bucket, "readAccess": access}), output, io.StringIO())
    return json.loads(output.getvalue())


def put_in_force(store: ObjectStore, documents: list[Any]) -> dict[str, tuple[str, str]]:
    """Do what an administrator of SeaweedFS does: add keys, merge the file, reload. Return keys by name."""
    path = store.directory / "identities.json"
    merged = json.loads(path.read_text())
    keys = {}
    for document in documents:
        (identity,) = document["identities"]
        made = create_identity(identity["name"])
        keys[made.name] = (made.access_key, made.secret_key)
        identity["credentials"] = [{"accessKey": made.access_key, "secretKey": made.secret_key}]
        merged["identities"].append(identity)
        merged["policies"] = merged.get("policies", []) + document.get("policies", [])
    path.write_text(json.dumps(merged))
    last = store.client(store.identity(made.name))
    process = store.process
    assert process is not None
    process.send(signal.SIGHUP)
    wait_until_ready(
        lambda: is_known(last), what="the new identities", processes=[process], within_seconds=15
    )
    return keys


def is_known(client: Any) -> bool:
    try:
        client.list_buckets()
    except ClientError as error:
        return bool(error.response["Error"]["Code"] != "InvalidAccessKeyId")
    return True


@pytest.fixture(scope="module")
def users(object_store_programs: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, User]]:
    """A user of each kind, on a server of their own."""
    from sandbox.seaweedfs import running_object_store

    directory = tmp_path_factory.mktemp("policies")
    with running_object_store(directory / "s3") as store:
        rows = [(f"alice-{i}", f"shared-{i}", form, access) for i, (form, access) in enumerate(KINDS)]
        keys = put_in_force(
            store, [print_policy(bucket, access, form, name) for name, bucket, form, access in rows]
        )
        made = {}
        for name, bucket, form, access in rows:
            store.create_bucket(bucket)
            environment = bucket_environment(
                bucket, store.endpoint, *keys[name], directory / name, f"u/{name}/"
            )
            made[f"{form} {access}"] = User(
                name, bucket, access, form, store.client(store.identity(name)), store.client(), environment
            )
        yield made
    shutil.rmtree(directory / "s3" / "data")


@pytest.fixture(params=[f"{form} {access}" for form, access in KINDS])
def user(request: pytest.FixtureRequest, users: dict[str, User]) -> User:
    """A user whose bucket holds another's object, his own owner marker and a foreign registration key."""
    one = users[request.param]
    for key in (
        "u/bob/data",
        f"{one.prefix}.dtool-owner",
        f"{one.prefix[:-1]}-too/data",
        "other",
        "dtool-bob",
    ):
        one.admin.put_object(Bucket=one.bucket, Key=key, Body=key.encode())
    return one


@pytest.fixture(params=["ours", "upstream"])
def dtool(request: pytest.FixtureRequest, user: User) -> Dtool:
    """The user's `dtool`, with our broker or upstream's."""
    directory = OURS if request.param == "ours" else ensure_upstream() / "bin"
    return Dtool(directory, user.environment)


def test_the_user_creates_freezes_lists_verifies_and_copies_with_either_dtool(
    user: User, dtool: Dtool, tmp_path: Path
) -> None:
    (tmp_path / "small.txt").write_bytes(b"alpha")
    (tmp_path / "large.bin").write_bytes(bytes(LARGE))

    uri = dtool.run("create", "--quiet", "measured", f"s3://{user.bucket}")
    dtool.run("add", "item", str(tmp_path / "small.txt"), uri)
    dtool.run("add", "item", str(tmp_path / "large.bin"), uri)
    dtool.run("freeze", uri)
    dtool.run("tag", "set", uri, "atlas")
    dtool.run("annotation", "set", uri, "project", "atlas")
    local = dtool.run("cp", "--quiet", uri, str(tmp_path))
    fresh = dtool.run("create", "--quiet", "local", str(tmp_path))
    dtool.run("add", "item", str(tmp_path / "small.txt"), fresh)
    dtool.run("freeze", fresh)
    back = dtool.run("cp", "--quiet", fresh, f"s3://{user.bucket}")

    assert "small.txt" in dtool.run("ls", uri)
    assert "All good" in dtool.run("verify", "--full", uri)
    assert "All good" in dtool.run("verify", "--full", local)
    listed = dtool.run("ls", f"s3://{user.bucket}")
    assert uri in listed
    assert back.splitlines()[-1] in listed
    root = f"{user.prefix}{uri.rpartition('/')[2]}/"
    assert {f"{root}dtool", f"{root}manifest.json", f"{root}tags/atlas"} <= user.list_keys()


def write_with_metadata(user: User, dtool: Dtool, directory: Path) -> tuple[str, str | None]:
    """Write and freeze a dataset whose item has metadata; return its UUID, and what failed."""
    (directory / "small.txt").write_bytes(b"alpha")
    admin = {
        "uuid": str(uuid.uuid4()),
        "dtoolcore_version": "3.19.0",
        "name": "measured",
        "type": "protodataset",
        "creator_username": "olssont",
        "created_at": 1795329207.5,
    }
    failure = None
    try:
        dtool.script(
            "write",
            base_uri=f"s3://{user.bucket}",
            admin=admin,
            items={"small.txt": str(directory / "small.txt")},
            metadata={"length": 7},
            readme="---\ndescription: measured\n",
            tags=["blue"],
            annotations={"project": "atlas"},
            overlays={},
        )
    except AssertionError as error:
        failure = str(error)
    return str(admin["uuid"]), failure


def test_metadata_of_items_become_an_overlay(user: User, dtool: Dtool, tmp_path: Path) -> None:
    identifier, failure = write_with_metadata(user, dtool, tmp_path)

    assert list(dtool.script("read", uri=f"s3://{user.bucket}/{identifier}")["overlays"]) == ["length"]
    left = {key for key in user.list_keys() if f"{identifier}/fragments/" in key}
    if user.access == "Prefix" and dtool.bin_directory != OURS:
        # upstream lists the whole bucket, to remove fragments when all else of the freezing is done
        assert failure is not None
        assert "AccessDenied" in failure
        assert "ListObjects" in failure
        assert left
    else:
        assert failure is None
        assert not left


def test_nothing_is_written_outside_the_prefix(user: User, dtool: Dtool) -> None:
    environment = {**user.environment, f"DTOOL_S3_DATASET_PREFIX_{user.bucket}": "u/bob/"}
    stranger = Dtool(dtool.bin_directory, environment)
    before = {key for key in user.list_keys() if not key.startswith("dtool-")}

    done = stranger.attempt("create", "--quiet", "intruder", f"s3://{user.bucket}")

    assert done.returncode != 0
    assert {key for key in user.list_keys() if not key.startswith("dtool-")} == before
    for key in ("u/bob/data", "u/bob/new", "other", f"{user.prefix[:-1]}-too/data", "dtool", "dtoolx"):
        assert user.attempt("put_object", Key=key, Body=b"x") == "AccessDenied", key
        assert user.attempt("delete_object", Key=key) == "AccessDenied", key
        assert user.attempt("create_multipart_upload", Key=key) == "AccessDenied", key


def test_another_prefix_is_read_only_where_the_bucket_is_open_to_readers(user: User) -> None:
    expected = {"Prefix": "AccessDenied", "Bucket": "ok"}[user.access]

    for key in ("u/bob/data", "other", f"{user.prefix[:-1]}-too/data"):
        assert user.attempt("get_object", Key=key) == expected
        assert user.attempt("head_object", Key=key) == expected
        source = {"Bucket": user.bucket, "Key": key}
        assert user.attempt("copy_object", Key=f"{user.prefix}stolen", CopySource=source) == expected
    for prefix in ("", "u/", "u/bob/", user.prefix[:-1], f"{user.prefix[:-1]}-too/"):
        assert user.attempt("list_objects_v2", Prefix=prefix) == expected
        assert user.attempt("list_multipart_uploads", Prefix=prefix) == expected


def test_the_own_prefix_and_all_registration_keys_are_read(user: User) -> None:
    for prefix in (user.prefix, "dtool", "dtool-"):
        assert user.attempt("list_objects_v2", Prefix=prefix) == "ok"
    assert user.attempt("list_multipart_uploads", Prefix=user.prefix) == "ok"
    assert user.attempt("get_object", Key="dtool-bob") == "ok"
    assert user.attempt("get_object", Key=f"{user.prefix}.dtool-owner") == "ok"
    assert user.attempt("head_object", Key=f"{user.prefix}missing") == "404"


def test_the_owner_marker_stays_as_it_is_where_the_language_has_a_deny(user: User) -> None:
    marker = f"{user.prefix}.dtool-owner"
    expected = "AccessDenied" if user.form is PolicyFormat.SEAWEEDFS else "ok"
    user.client.put_object(Bucket=user.bucket, Key=f"{user.prefix}forged", Body=b"forged")
    source = {"Bucket": user.bucket, "Key": f"{user.prefix}forged"}

    assert user.attempt("put_object", Key=marker, Body=b"mine") == expected
    assert user.attempt("copy_object", Key=marker, CopySource=source) == expected
    assert user.attempt("create_multipart_upload", Key=marker) == expected
    user.attempt("delete_objects", Delete={"Objects": [{"Key": marker}]})
    assert (marker in user.list_keys()) == (expected == "AccessDenied")
    assert user.attempt("delete_object", Key=marker) == expected


def test_kubectl_finds_the_plugin_and_prints_the_policy_of_a_real_object(
    control_plane: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    install_operator(control_plane)
    control_plane.kubectl("label", "namespace", namespace, "lab=policies")
    admitted = {"from": "Selector", "selector": {"matchLabels": {"lab": "policies"}}}
    body = {
        "apiVersion": "dtool.dev/v1alpha1",
        "kind": "DtoolBucket",
        "metadata": {"name": "policies", "namespace": namespace},
        "spec": {"bucket": "lab-data", "allowedNamespaces": admitted},
    }
    control_plane.kubectl("create", "--filename=-", stdin=json.dumps(body))
    code = "import sys; from dtool_operator.cli.main import main; sys.exit(main())"
    plugin = tmp_path / "kubectl-dtool"
    plugin.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c {shlex.quote(code)} "$@"\n')
    plugin.chmod(0o755)
    environment = {**os.environ, "KUBECONFIG": str(control_plane.admin_kubeconfig), "HOME": str(tmp_path)}
    environment["PATH"] = f"{tmp_path}:{find_kubectl().parent}:{os.environ['PATH']}"

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["kubectl", "dtool", "policy", "policies", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    done = call("--namespace", namespace)
    refused = call("--namespace", "default", "--bucket-namespace", namespace)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["Statement"][2]["Resource"][0] == f"arn:aws:s3:::lab-data/u/{namespace}/*"
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "does not admit namespace default" in refused.stderr
