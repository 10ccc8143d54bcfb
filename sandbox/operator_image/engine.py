"""The programs that build images, each by its own command line: docker, podman, buildah without any engine.

Owns how they are called. Must not know what the image is for.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from sandbox.errors import BuildError, PrerequisiteError
from sandbox.operator_image.debian_tools import unpack_packages
from sandbox.say import Say

_PROXY_VARIABLES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_ENGINE_ANSWERS_SECONDS = 20.0
_POLICY = '{"default": [{"type": "insecureAcceptAnything"}]}'
"""What containers-policy.json says where nobody signs images; the base is made here or named by the user."""


@dataclass(frozen=True, slots=True)
class BuildOrder:
    """What to build: the folder of a Dockerfile, the name of the result, what the Dockerfile asks for."""

    context: Path
    name: str
    arguments: Mapping[str, str]
    secrets: Mapping[str, Path]

    def flags(self) -> list[str]:
        """Compose the flags that all the programs understand."""
        flags = ["--tag", self.name]
        for name, value in self.arguments.items():
            flags += ["--build-arg", f"{name}={value}"]
        for name, path in self.secrets.items():
            flags += ["--secret", f"id={name},src={path}"]
        return flags


class Engine(Protocol):
    """One way to build an image and write it to a file."""

    @property
    def name(self) -> str:
        """What a user calls it."""

    def pull(self, image: str) -> bool:
        """Fetch an image from its registry; False where none answers or none is asked."""

    def load_base(self, archive: Path, image: str) -> None:
        """Make an image of the tar of a root directory."""

    def build(self, order: BuildOrder) -> None:
        """Build; raises BuildError with the last lines of what the program said."""

    def save(self, image: str, archive: Path) -> None:
        """Write an image to an archive that containerd imports."""


@dataclass(frozen=True, slots=True)
class ContainerEngine:
    """Docker or podman, where it works."""

    name: str

    def pull(self, image: str) -> bool:
        """Fetch an image from its registry; False where none answers."""
        done = subprocess.run([self.name, "pull", "--quiet", image], capture_output=True, check=False)
        return done.returncode == 0

    def load_base(self, archive: Path, image: str) -> None:
        """Make an image of the tar of a root directory."""
        _run([self.name, "import", str(archive), image])

    def build(self, order: BuildOrder) -> None:
        """Build with the caches of the engine."""
        # docker takes the proxies' values from the environment, and keeps these names out of the image
        proxies = [f"--build-arg={name}" for name in _PROXY_VARIABLES if os.environ.get(name)]
        environment = {**os.environ, "DOCKER_BUILDKIT": "1"}
        _run([self.name, "build", *proxies, *order.flags(), str(order.context)], environment)

    def save(self, image: str, archive: Path) -> None:
        """Write the archive: docker's own kind, which is an OCI image layout too since Docker 25."""
        form = ["--format", "oci-archive"] if self.name == "podman" else []
        _run([self.name, "save", *form, "--output", str(archive), image])


@dataclass(frozen=True, slots=True)
class Buildah:
    """buildah as root, in chroots: it needs no engine, no network namespace and no cgroup of its own.

    All it stores is below `folder`; whoever made the folder removes it.
    """

    folder: Path
    program: Sequence[str]
    name: str = field(default="buildah", init=False)

    def pull(self, image: str) -> bool:  # noqa: ARG002
        """Ask no registry: without an engine the base is made here, or named by the user."""
        return False

    def load_base(self, archive: Path, image: str) -> None:
        """Make an image of the tar of a root directory."""
        container = self._run("from", *self._policy(), "scratch").strip()
        self._run("add", container, str(archive), "/")
        self._run("commit", *self._policy(), "--rm", container, image)

    def build(self, order: BuildOrder) -> None:
        """Build every stage at one go: with this storage a copy for each step costs more than it saves."""
        flags = ("--isolation", "chroot", "--format", "oci", "--layers=false", *self._policy())
        self._run("build", *flags, *order.flags(), str(order.context))

    def save(self, image: str, archive: Path) -> None:
        """Write an OCI archive in which the image has its name."""
        self._run("push", *self._policy(), image, f"oci-archive:{archive}:{image}")

    def _policy(self) -> tuple[str, str]:
        policy = self.folder / "policy.json"
        policy.write_text(_POLICY)
        return ("--signature-policy", str(policy))

    def _run(self, command: str, *arguments: str) -> str:
        registries = self.folder / "registries.conf"
        registries.touch()
        places = ("--root", str(self.folder / "storage"), "--runroot", str(self.folder / "run"))
        flags = (*places, "--storage-driver", "vfs", "--registries-conf", str(registries))
        environment = {**os.environ, "TMPDIR": str(self.folder)}
        return _run([*self.program, *flags, command, *arguments], environment)


def find_engine(folder: Path, cache: Path, say: Say) -> Engine:
    """Find docker or podman where they work, else buildah, fetching it where the machine has none.

    `folder` takes what buildah stores. Raises PrerequisiteError.
    """
    for program in ("docker", "podman"):
        if shutil.which(program) is not None and _answers(program):
            return ContainerEngine(program)
    if os.geteuid() != 0:
        raise PrerequisiteError("no docker or podman answers, and buildah without them needs root")
    installed = shutil.which("buildah")
    if installed is not None:
        return Buildah(folder, ("unshare", "--mount", "--propagation", "private", installed))
    unpacked = unpack_packages(("buildah",), cache / "debian-buildah", say)
    return Buildah(folder, unpacked.command("buildah"))


def _answers(program: str) -> bool:
    try:
        done = subprocess.run(
            [program, "info"], capture_output=True, check=False, timeout=_ENGINE_ANSWERS_SECONDS
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def _run(command: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        tail = "\n".join(f"{done.stdout}\n{done.stderr}".strip().splitlines()[-20:])
        raise BuildError(f"the image was not built; the program said at last:\n{tail}")
    return done.stdout
