"""Container images made of files on this machine; owns the archive's form (OCI image layout) and no registry.

The same files give the same bytes: no times, no owners, a fixed order. See the OCI image specification.
"""

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LAYER = "application/vnd.oci.image.layer.v1.tar"  # compressed it would only take longer
CONFIG = "application/vnd.oci.image.config.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True)
class ImageSource:
    """What an image is made of."""

    name: str
    """With its tag, as pods name it: `localhost/…:…`."""
    files: Mapping[str, bytes]
    """Path in the image, without the leading slash, to content; all of them may be executed."""
    entrypoint: Sequence[str]
    links: Mapping[str, str] = field(default_factory=dict)
    """Path in the image to what it points to."""
    folders: Sequence[str] = ()
    """Writable for everybody, like /tmp."""


def write_image(path: Path, source: ImageSource) -> Path:
    """Write an image as an `oci-archive`, which containerd, buildah and podman read."""
    layer = _compose_layer(source)
    config = {
        "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": {"Entrypoint": list(source.entrypoint), "Env": ["PATH=/bin"], "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
    }
    blobs: dict[str, bytes] = {}
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _add(blobs, CONFIG, _dump(config)),
        "layers": [_add(blobs, LAYER, layer)],
    }
    named = _add(blobs, MANIFEST, _dump(manifest))
    named["annotations"] = {"org.opencontainers.image.ref.name": source.name}
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [named]}
    files = {"oci-layout": _dump({"imageLayoutVersion": "1.0.0"}), "index.json": _dump(index), **blobs}
    path.write_bytes(_compose_archive(files))
    return path


def compose_tools_image(busybox: Path, name: str) -> ImageSource:
    """Compose an image with a shell and its tools, out of one static program."""
    applets = (
        "sh cat cp dd echo env false grep head id kill ls mkdir mv nc printf rm sleep sync tail test touch"
    )
    links = {f"bin/{applet}": "busybox" for applet in (*applets.split(), "true", "wc", "wget")}
    files = {"bin/busybox": busybox.read_bytes(), "etc/passwd": b"root:x:0:0::/:/bin/sh\n"}
    return ImageSource(name, files, ("/bin/sh",), links, folders=("tmp",))


def compose_pause_image(busybox: Path, name: str) -> ImageSource:
    """Compose the image of the process that holds a pod's namespaces: it sleeps."""
    return ImageSource(name, {"bin/busybox": busybox.read_bytes()}, ("/bin/busybox", "sleep", "infinity"))


def _compose_layer(source: ImageSource) -> bytes:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for folder in sorted(_list_folders(source)):
            archive.addfile(_entry(folder, tarfile.DIRTYPE, 0o1777 if folder in source.folders else 0o755))
        for path, content in sorted(source.files.items()):
            entry = _entry(path, tarfile.REGTYPE, 0o755)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        for path, target in sorted(source.links.items()):
            entry = _entry(path, tarfile.SYMTYPE, 0o777)
            entry.linkname = target
            archive.addfile(entry)
    return output.getvalue()


def _list_folders(source: ImageSource) -> set[str]:
    parents = {str(parent) for path in (*source.files, *source.links) for parent in Path(path).parents}
    return (parents | set(source.folders)) - {"."}


def _entry(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    """Describe a file of nobody in particular, of no time: a TarInfo starts as root's, of 1970."""
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = kind, mode
    return entry


def _compose_archive(files: Mapping[str, bytes]) -> bytes:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in files.items():
            entry = _entry(name, tarfile.REGTYPE, 0o644)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return output.getvalue()


def _add(blobs: dict[str, bytes], kind: str, content: bytes) -> dict[str, Any]:
    digest = _digest(content)
    blobs[f"blobs/{digest.replace(':', '/')}"] = content
    return {"mediaType": kind, "digest": digest, "size": len(content)}


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _dump(document: object) -> bytes:
    return json.dumps(document, sort_keys=True).encode()
