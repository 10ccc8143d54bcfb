"""The operator's image as an archive in `build/`, made again only when what it is made of has changed.

Owns the image's name, its inputs and the order of steps. Must not know how each program builds.
"""

import datetime as dt
import hashlib
import os
import re
import subprocess
import tempfile
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

from sandbox.cache import cache_directory, locked
from sandbox.errors import BuildError
from sandbox.operator_image.base import find_base_image
from sandbox.operator_image.engine import BuildOrder, Engine, find_engine
from sandbox.operator_image.package_access import write_secrets
from sandbox.say import Say, say_at_once

PROJECT = Path(__file__).parents[2]
IMAGE = "localhost/dtool-operator:dev"
ARCHIVE = PROJECT / "build" / "dtool-operator.oci.tar"
BASE_VARIABLE = "BASE_IMAGE"
_MADE_BASE = "localhost/dtool-operator-base"
_FILES = ("Dockerfile", ".dockerignore", "pyproject.toml", "uv.lock", "README.md", "LICENSE")
_FOLDERS = ("dtool_s3", "operator")


def ensure_image(say: Say = say_at_once) -> Path:
    """Return the archive of the image, built from the work tree as it is unless that was done already.

    Raises PrerequisiteError and BuildError.
    """
    with locked(ARCHIVE.with_name("lock"), say, busy="another build of the image is running; waiting for it"):
        base_name = os.environ.get(BASE_VARIABLE, "")
        inputs = _hash_inputs(base_name)
        record = ARCHIVE.with_suffix(".inputs")
        if ARCHIVE.exists() and record.exists() and record.read_text() == inputs:
            say(f"{ARCHIVE} is up to date")
            return ARCHIVE
        started = time.monotonic()
        record.unlink(missing_ok=True)
        _build(base_name, say)
        record.write_text(inputs)
        size = ARCHIVE.stat().st_size / 1e6
        say(f"built {IMAGE} into {ARCHIVE} in {time.monotonic() - started:.0f} s ({size:.0f} MB compressed)")
    return ARCHIVE


def _build(base_name: str, say: Say) -> None:
    cache = cache_directory()
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="image-") as folder:
        place = Path(folder)
        engine = find_engine(place, cache, say)
        arguments = {**_find_base(engine, base_name, cache, say), **_describe_source()}
        say(f"building {IMAGE} with {engine.name}")
        engine.build(BuildOrder(PROJECT, IMAGE, arguments, write_secrets(place)))
        # beside its place, so that an archive that exists is whole
        unfinished = ARCHIVE.with_name("unfinished.tar")
        unfinished.unlink(missing_ok=True)
        engine.save(IMAGE, unfinished)
        unfinished.rename(ARCHIVE)


def _find_base(engine: Engine, named: str, cache: Path, say: Say) -> dict[str, str]:
    """Choose the base: the user's, the Dockerfile's where its registry answers, else one made here."""
    if named:
        return {BASE_VARIABLE: named}
    if engine.pull(read_default_base()):
        return {}
    with locked(cache / "base-image.lock", say, busy="another build of the base image is running; waiting"):
        archive = find_base_image(cache, say, today=dt.datetime.now(dt.UTC).date())
    base = f"{_MADE_BASE}:{archive.stem}"
    engine.load_base(archive, base)
    return {BASE_VARIABLE: base}


def read_default_base() -> str:
    """Read which base the Dockerfile names. Raises BuildError."""
    found = re.search(rf"^ARG {BASE_VARIABLE}=(\S+)$", (PROJECT / "Dockerfile").read_text(), re.MULTILINE)
    if found is None:
        raise BuildError(f"the Dockerfile has no ARG {BASE_VARIABLE}")
    return found[1]


def _describe_source() -> dict[str, str]:
    version = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]
    told = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    return {"VERSION": version, "REVISION": told.stdout.strip() or "unknown"}


def _hash_inputs(base_name: str) -> str:
    """Hash everything the image is made of but the base's content, which `BASE_IMAGE` names at most."""
    digest = hashlib.sha256(base_name.encode())
    for path in _list_inputs():
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(PROJECT)}\0{path.stat().st_mode & 0o777:o}\0{content}\n".encode())
    return digest.hexdigest()


def _list_inputs() -> Iterator[Path]:
    yield from (PROJECT / name for name in _FILES)
    for folder in _FOLDERS:
        found = (path for path in (PROJECT / folder).rglob("*") if path.is_file())
        yield from sorted(path for path in found if "__pycache__" not in path.parts)
