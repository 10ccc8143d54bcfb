"""The root directory of an image's archive, and programs in it as a container would run them.

Needs root. A mount namespace of its own, a read-only root, a /tmp in memory, another user, no groups: what a
Pod under the restricted security profile gets, without a container engine.
"""

import json
import subprocess
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

_ISOLATE = """
set -e
mount --bind "$0" "$0"
mount -o remount,bind,ro "$0"
mount -t proc proc "$0/proc"
mount --bind /dev "$0/dev"
mount -t tmpfs -o mode=1777,size=64m tmpfs "$0/tmp"
exec chroot --userspec="$1" --groups= "$0" /usr/bin/env -i "${@:2}"
"""


@dataclass(frozen=True, slots=True)
class ImageRoot:
    """An image, unpacked."""

    root: Path
    config: Mapping[str, Any]
    """The `config` of the OCI image configuration: User, Env, Entrypoint, Cmd, Labels."""
    layers: tuple[str, ...]

    def run(
        self, *command: str, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a program as the image's user, with its environment and `environment`, on a read-only root."""
        variables = [*self.config["Env"], *(f"{name}={value}" for name, value in (environment or {}).items())]
        private = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private")
        arguments = [str(self.root), self.config["User"], *variables, *command]
        return subprocess.run(
            [*private, "bash", "-c", _ISOLATE, *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )


def unpack_image(archive: Path, folder: Path) -> ImageRoot:
    """Unpack an OCI archive with one image, layer on layer (OCI image layer specification: whiteouts).

    `folder` is made, as a runtime makes it: readable for everybody.
    """
    folder.mkdir(mode=0o755)
    with tarfile.open(archive) as image:
        index = _read_json(image, "index.json")
        manifest = _read_json(image, _blob(index["manifests"][0]["digest"]))
        config = _read_json(image, _blob(manifest["config"]["digest"]))
        digests = tuple(layer["digest"] for layer in manifest["layers"])
        for digest in digests:
            stored = image.extractfile(_blob(digest))
            assert stored is not None
            with tarfile.open(fileobj=stored, mode="r:*") as layer:
                _unpack_layer(layer, folder)
    return ImageRoot(folder, config["config"], digests)


def _unpack_layer(layer: tarfile.TarFile, folder: Path) -> None:
    for member in layer:
        path = folder / member.name
        if path.name.startswith(".wh."):
            path.with_name(path.name.removeprefix(".wh.")).unlink(missing_ok=True)
            continue
        layer.extract(member, folder, numeric_owner=True, filter="fully_trusted")


def _blob(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _read_json(image: tarfile.TarFile, name: str) -> dict[str, Any]:
    stored = image.extractfile(name)
    assert stored is not None, name
    return cast("dict[str, Any]", json.load(stored))
