"""Documents of hundreds of megabytes on a real S3 server: the outcome is clear, the memory is bounded."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dtool_s3.concurrency import map_bounded
from dtool_s3.documents import MAX_MANIFEST_BYTES
from dtool_s3.layout import DatasetLayout
from dtool_s3.store.protocol import Part
from dtool_s3.store.s3 import S3Store
from tests.support.datasets import DatasetFixture, write_dataset
from tests.support.s3_place import S3Place

MIB = 1024**2
PART = b" " * (10 * MIB)
_SCRIPT = Path(__file__).parents[1] / "support" / "copy_script.py"

MakePlace = Callable[[], S3Place]


class Scene:
    """A dataset in one bucket, and a place for its copy in another."""

    def __init__(self, make_place: MakePlace) -> None:
        self.origin, self.target = make_place(), make_place()
        self.source: S3Store = self.origin.open_store()
        self.layout = DatasetLayout(self.origin.prefix, self.origin.new_uuid())

    async def write(self, name: str, size_mib: int) -> None:
        """Write a small dataset, one document of which is of blanks."""
        await write_dataset(self.source, DatasetFixture(self.layout.uuid, self.layout.prefix))
        upload = await self.source.start_upload(f"{self.layout.root}{name}", {})

        async def put(number: int) -> Part:
            return await self.source.put_part(upload, number, PART)

        parts = await map_bounded(put, range(1, size_mib // 10 + 1), limit=4)
        await self.source.complete_upload(upload, parts)

    async def copy(self) -> dict[str, Any]:
        """Copy in a process of its own; return what it tells."""
        credentials = self.origin.credentials()
        assert credentials is not None
        task = {
            "endpoint": self.origin.endpoint.url,
            "access_key": credentials.access_key_id,
            "secret_key": credentials.secret_access_key.reveal(),
            "source": self.origin.bucket,
            "target": self.target.bucket,
            "source_prefix": self.layout.prefix,
            "target_prefix": self.target.prefix,
            "uuid": self.layout.uuid,
        }
        return await asyncio.to_thread(_run, json.dumps(task))

    async def copied(self) -> dict[str, int]:
        """Return the sizes at the target by key relative to the dataset's root."""
        place = DatasetLayout(self.target.prefix, self.layout.uuid)
        objects = (await self.target.open_store().list(place.root)).objects
        return {listed.key.removeprefix(place.root): listed.size_bytes for listed in objects}


def _run(task: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(_SCRIPT)],
        input=task,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


async def test_a_manifest_of_300_mb_is_refused_without_being_read(make_s3_place: MakePlace) -> None:
    scene = Scene(make_s3_place)
    await scene.write("manifest.json", 300)

    told = await scene.copy()

    assert told["reason"] == "InvalidManifest"
    assert str(MAX_MANIFEST_BYTES) in told["message"]
    assert told["peak_mib"] - told["before_mib"] < 50
    assert await scene.copied() == {}


async def test_a_readme_of_100_mb_is_copied_in_bounded_memory(make_s3_place: MakePlace) -> None:
    scene = Scene(make_s3_place)
    await scene.write("README.yml", 100)

    told = await scene.copy()

    assert told["reason"] is None
    assert (await scene.copied())["README.yml"] == 100 * MIB
    assert told["peak_mib"] - told["before_mib"] < 150  # it is there once
