"""The image as it is built: who runs in it, on what root, and what is not in it.

Its programs run as in a Pod under the restricted profile, but without a container engine.
"""

import os
import tomllib
from pathlib import Path

import pytest

from sandbox.operator_image.build import PROJECT, ensure_image
from tests.support.image_root import ImageRoot, unpack_image

OPERATOR = "/opt/dtool-operator/bin/dtool-operator"
PYTHON = "/opt/dtool-operator/bin/python"
TOOLS = (
    "as", "c++", "cargo", "cc", "curl", "g++", "gcc", "git", "go", "ld", "make", "pip", "pip3", "uv", "uvx",
    "wget",
)  # fmt: skip
STATE = "/tmp/state"  # noqa: S108 - of the image's own /tmp

# the first build takes minutes
pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> ImageRoot:
    """Build the image, if it is not up to date, and unpack it."""
    assert os.geteuid() == 0, "an image's files belong to other users: only root can unpack them"
    return unpack_image(ensure_image(), tmp_path_factory.mktemp("image") / "root")


def test_the_image_says_who_runs_what(image: ImageRoot) -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]

    assert image.config["User"] == "65532:65532"
    assert image.config["Entrypoint"] == ["dtool-operator"]
    assert image.config["Cmd"] == ["run"]
    labels = image.config["Labels"]
    assert labels["org.opencontainers.image.title"] == project["name"]
    assert labels["org.opencontainers.image.version"] == project["version"]
    assert labels["org.opencontainers.image.revision"] != "unknown"


def test_the_entry_point_is_on_the_path_of_the_image(image: ImageRoot) -> None:
    done = image.run(*image.config["Entrypoint"], "--version")

    assert done.stdout.startswith("dtool-operator "), done.stderr


@pytest.mark.parametrize("command", ["run", "transfer", "check"])
def test_every_command_starts_on_a_read_only_root(image: ImageRoot, command: str) -> None:
    done = image.run("dtool-operator", command, "--help")

    assert done.returncode == 0, done.stderr
    assert f"dtool-operator {command}" in done.stdout


def test_the_check_finds_a_directory_to_write_and_no_cluster(image: ImageRoot) -> None:
    done = image.run("dtool-operator", "check", environment={"DTOOL_OPERATOR_STATE_DIR": STATE})

    assert done.returncode == 1, done.stderr
    assert "ok      state dir" in done.stdout
    assert "failed  api server" in done.stdout
    assert "Traceback" not in done.stderr


def test_the_user_is_not_root_and_has_a_name(image: ImageRoot) -> None:
    # dtoolcore writes the user's name into datasets
    done = image.run(PYTHON, "-c", "import os, getpass; print(os.getuid(), os.getgid(), getpass.getuser())")

    assert done.stdout.split() == ["65532", "65532", "dtool"], done.stderr


def test_nothing_but_tmp_can_be_written(image: ImageRoot) -> None:
    places = ("/", "/opt/dtool-operator", "/var/lib/dtool-operator")
    program = f"import os; open('/tmp/yes', 'w'); print([p for p in {places} if os.access(p, os.W_OK)])"

    done = image.run(PYTHON, "-c", program)

    assert done.stdout.strip() == "[]", done.stderr


def test_all_that_the_commands_import_is_there(image: ImageRoot) -> None:
    modules = "boto3, obstore, kopf, kubernetes.aio.client, pydantic, prometheus_client, yaml, dtoolcore"
    program = f"import {modules}, dtool_operator.handlers.app, dtool_operator.transfers.worker; print('all')"

    done = image.run(PYTHON, "-c", program)

    assert done.stdout == "all\n", done.stderr


def test_no_tool_that_builds_or_installs_is_in_the_image(image: ImageRoot) -> None:
    folders = ("usr/local/bin", "usr/bin", "usr/sbin", "bin", "sbin", "opt/dtool-operator/bin", "opt/uv/bin")

    found = {path.name for folder in folders for path in (image.root / folder).glob("*")} & set(TOOLS)

    assert not found
    for module in ("pip", "ensurepip", "uv"):
        assert image.run(PYTHON, "-c", f"import {module}").returncode != 0, module


def test_the_bytecode_of_every_installed_module_is_in_the_image(image: ImageRoot) -> None:
    packages = image.root / "opt/dtool-operator/lib/python3.11/site-packages"

    missing = [
        source
        for source in packages.rglob("*.py")
        if not (source.parent / "__pycache__" / f"{source.stem}.cpython-311.pyc").exists()
    ]

    assert not missing


def test_nothing_of_the_machine_that_built_it_is_in_the_image(image: ImageRoot) -> None:
    # where a build mounts files of its machine, empty ones stay
    mounted = [image.root / "etc" / name for name in ("hostname", "hosts", "resolv.conf")]
    there = [name for name in ("source", "wheels.txt", "root/.cache") if (image.root / name).exists()]

    assert [path for path in mounted if path.exists() and path.read_text()] == []
    assert not there
    assert not list((image.root / "run").glob("secrets/*"))
    assert not list((image.root / "dev").iterdir())


def test_an_image_that_is_up_to_date_is_not_built_again(image: ImageRoot) -> None:
    archive = ensure_image()
    before = archive.stat()

    told: list[str] = []
    again = ensure_image(told.append)

    assert (again.stat().st_ino, again.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert told == [f"{Path(archive)} is up to date"]
