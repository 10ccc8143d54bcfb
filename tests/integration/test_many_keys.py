"""A million keys under a prefix: the outcome is clear, the memory bounded, in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from dtool_s3.catalog_keys import MAX_KEYS
from dtool_s3.documents import dump_admin_metadata
from dtool_s3.layout import DatasetLayout, item_identifier
from tests.support.datasets import UUID, md5
from tests.support.many_keys import ManyKeys, many_keys

MILLION = 1_000_000
PREFIX = "u/alice/"
LAYOUT = DatasetLayout(PREFIX, UUID)
#: What a few requests cost anyway, and what a listing that holds nothing may.
FEW_MIB = 25
#: Of one key in a listing that holds all, with what is garbage still.
KEY_BYTES = 900
#: Of one item in a verification: the manifest, its text, the listing.
ITEM_BYTES = 1700
_SCRIPT = Path(__file__).parents[1] / "support" / "many_keys_script.py"


@pytest.fixture
def keys() -> Iterator[ManyKeys]:
    with many_keys() as running:
        yield running


async def do(keys: ManyKeys, work: str, *, max_listed_keys: int = MILLION) -> dict[str, Any]:
    """Do it in a process of its own; return what that tells."""
    task = {
        "endpoint": keys.url,
        "work": work,
        "prefix": PREFIX,
        "uuid": UUID,
        "max_listed_keys": max_listed_keys,
    }
    return await asyncio.to_thread(_run, json.dumps(task))


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
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def taken_mib(told: Mapping[str, Any]) -> float:
    """Return what the work took at its peak."""
    return float(told["peak_mib"] - told["before_mib"])


async def test_a_catalog_gives_up_a_prefix_with_a_million_foreign_keys(keys: ManyKeys) -> None:
    keys.name, keys.count = f"{PREFIX}{{:07}}-reads.fastq.gz".format, MILLION

    told = await do(keys, "list")

    assert told["found"] == {"entries": 0, "unlisted": [PREFIX]}
    assert taken_mib(told) < FEW_MIB
    assert keys.pages <= MAX_KEYS // 1000 + 5


async def test_a_catalog_gives_up_a_million_folders_that_look_like_datasets(keys: ManyKeys) -> None:
    keys.name, keys.count, keys.folders = f"{PREFIX}{UUID[:-12]}{{:012}}/".format, MILLION, True

    told = await do(keys, "list")

    assert told["found"] == {"entries": 0, "unlisted": [PREFIX]}
    assert taken_mib(told) < 2 * FEW_MIB


async def test_a_catalog_is_refused_where_a_million_keys_look_like_registrations(keys: ManyKeys) -> None:
    keys.name, keys.count = "dtool-{:07}".format, MILLION

    told = await do(keys, "list")

    assert told["reason"] == "NotSupported"
    assert "100,000 keys that begin with 'dtool-'" in told["message"]
    assert taken_mib(told) < FEW_MIB


@pytest.mark.parametrize("work", ["ingest", "copy", "verify", "freeze"])
async def test_a_prefix_of_too_many_keys_is_refused(keys: ManyKeys, work: str) -> None:
    put_dataset(keys, is_frozen=work in {"copy", "verify"})
    keys.name, keys.count = f"{LAYOUT.data_prefix}{{:07}}".format, MILLION

    told = await do(keys, work, max_listed_keys=20_000)

    assert told["reason"] == "NotSupported"
    assert "more than 20,000 keys below it" in told["message"]
    assert taken_mib(told) < FEW_MIB + 20_000 * KEY_BYTES / 1024**2
    assert keys.pages < 40


async def test_a_key_under_a_prefix_costs_less_than_a_kilobyte(keys: ManyKeys) -> None:
    put_dataset(keys, is_frozen=True)
    keys.name, keys.count = f"{LAYOUT.data_prefix}{{:040}}".format, 50_000

    told = await do(keys, "verify")

    assert told["found"] == {"items": 0, "extra": 50_000, "absent": 0}
    assert taken_mib(told) < FEW_MIB + 50_000 * KEY_BYTES / 1024**2


async def test_an_item_that_is_verified_costs_less_than_two_kilobytes(keys: ManyKeys) -> None:
    relpaths = {
        item_identifier(name): name for name in map("reads/of/one/run/{:07}.txt".format, range(50_000))
    }
    identifiers = sorted(relpaths)
    put_dataset(keys, is_frozen=True, relpaths={i: relpaths[i] for i in identifiers})
    keys.name, keys.count = lambda number: LAYOUT.item_key(identifiers[number]), len(identifiers)

    told = await do(keys, "verify")

    assert told["found"] == {"items": 50_000, "extra": 0, "absent": 0}
    assert taken_mib(told) < FEW_MIB + 50_000 * ITEM_BYTES / 1024**2


def put_dataset(keys: ManyKeys, *, is_frozen: bool, relpaths: Mapping[str, str] | None = None) -> None:
    """Put the documents of a dataset of items of one byte."""
    keys.body = b"a"
    fields = {
        "uuid": UUID,
        "dtoolcore_version": "3.18.0",
        "name": "many",
        "type": "dataset" if is_frozen else "protodataset",
        "creator_username": "olssont",
        "created_at": 1.0,
        "frozen_at": 2.0,
    }
    items = {
        identifier: {"hash": md5(b"a"), "relpath": relpath, "size_in_bytes": 1, "utc_timestamp": 1.0}
        for identifier, relpath in (relpaths or {}).items()
    }
    manifest = {"dtoolcore_version": "3.18.0", "hash_function": "md5sum_hexdigest", "items": items}
    keys.objects = {
        LAYOUT.admin_metadata_key: dump_admin_metadata(fields)[0],
        LAYOUT.registration_key: PREFIX.encode(),
        LAYOUT.structure_key: LAYOUT.structure_document(),
        LAYOUT.readme_key: b"",
    }
    if is_frozen:
        keys.objects[LAYOUT.manifest_key] = json.dumps(manifest, indent=2, sort_keys=True).encode()
