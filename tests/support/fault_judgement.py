"""What must hold after a harmed operation: snapshots of a dataset, and the judgement of what was left.

Knows no server and no operation of its own: a `Scene` gives a calm way to the bucket, for preparing and
looking, and the way that the operation takes.
"""

import asyncio
import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

from dtool_s3.blocking import run
from dtool_s3.errors import NotFound
from dtool_s3.layout import DatasetLayout, item_identifier
from dtool_s3.store.protocol import Store
from tests.support.broker import Bench
from tests.support.datasets import md5

#: Where the datasets of all scenes lie.
PREFIX = "u/alice/"


class Kind(Enum):
    """What a reader takes a place for."""

    ABSENT = "absent"
    PROTO = "protodataset"
    FROZEN = "dataset"


@dataclass(frozen=True, slots=True)
class Scene:
    """One UUID in one bucket, and where copies come from; `calm` ways lead past all faults.

    `part_bytes` is the smallest part that the store takes.
    """

    uuid: str
    directory: Path
    calm: Store
    way: Store
    calm_source: Store
    source: Store
    part_bytes: int

    @property
    def large_body(self) -> bytes:
        """Content of an item that goes in two parts."""
        return b"0123456789abcdef" * (self.part_bytes // 16) + b"end"

    @property
    def layout(self) -> DatasetLayout:
        """Keys of the dataset."""
        return DatasetLayout(PREFIX, self.uuid)

    @property
    def bench(self) -> Bench:
        """The dataset as dtoolcore sees it, on the way that may be harmed."""
        return Bench(self.way, self.directory, self.uuid, PREFIX)

    def calmly(self) -> "Scene":
        """Return the same scene without faults."""
        return replace(self, way=self.calm, source=self.calm_source)


Action = Callable[[Scene], object]


@dataclass(frozen=True, slots=True)
class Operation:
    """Something that writes.

    `changes` are the keys below the root of a frozen dataset that it may touch. `own` is a text in targets
    of those writes that no other operation sends in the same way: on a real server only they are harmed.
    """

    name: str
    prepare: Action
    act: Action
    changes: tuple[str, ...] = ()
    own: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All objects of one dataset, by key below its root: (body, headers). Bodies above 1 MiB as digests."""

    objects: Mapping[str, tuple[bytes, Mapping[str, str]]]
    registration: bytes | None
    unfinished_uploads: int

    @property
    def kind(self) -> Kind:
        """What a reader takes it for: the headers of `dtool` decide."""
        if "dtool" not in self.objects:
            return Kind.ABSENT
        return Kind(self.objects["dtool"][1]["type"])


def look(scene: Scene) -> Snapshot:
    """Read everything that lies at a scene's dataset, past all faults."""
    return run(_look(scene.calm, scene.layout))


async def _look(store: Store, layout: DatasetLayout) -> Snapshot:
    for _ in range(20):
        # a request that nobody waits for any more may be carried out still
        with suppress(NotFound):
            return await _look_once(store, layout)
    return await _look_once(store, layout)


async def _look_once(store: Store, layout: DatasetLayout) -> Snapshot:
    listing, registrations, uploads = await asyncio.gather(
        store.list(layout.root), store.list(layout.registration_key), store.list_uploads(layout.root)
    )
    keys = [listed.key for listed in (*listing.objects, *registrations.objects)]
    found = await asyncio.gather(*(store.get(key, max_bytes=64 * 1024**2) for key in keys))
    held = {
        key: (_shortened(stored.body), dict(stored.info.metadata))
        for key, stored in zip(keys, found, strict=True)
    }
    registration = held.pop(layout.registration_key, None)
    return Snapshot(
        {key.removeprefix(layout.root): value for key, value in held.items()},
        None if registration is None else registration[0],
        len(uploads),
    )


def _shortened(body: bytes) -> bytes:
    return body if len(body) <= 1024**2 else md5(body).encode()


# What must hold.


def judge(operation: Operation, before: Snapshot, after: Snapshot, done: Snapshot, *, raised: bool) -> str:
    """Say what is wrong with what a harmed operation left; `""`: nothing.

    It is a proto dataset, the complete old state or the complete new one; and the new one where nothing was
    raised.
    """
    faults = [
        _wrong_kind(before, after, done),
        _wrong_items(after),
        _lost_items(before, after) if done.kind is not Kind.ABSENT else "",
        _lost_readme(before, after) if done.kind is not Kind.ABSENT else "",
        f"{after.unfinished_uploads} uploads left" if after.unfinished_uploads else "",
    ]
    if before.kind is after.kind is Kind.FROZEN:
        faults.append(_changed(operation, before, after))
    if not raised or (after.kind is Kind.FROZEN and before.kind is not Kind.FROZEN):
        faults.append(differences(after, done))
    return "; ".join(fault for fault in faults if fault)


def differences(after: Snapshot, done: Snapshot) -> str:
    """Name what is not as after the operation in peace: times, backups of the README and fragments apart."""
    found, wanted = timeless(after), timeless(done)
    unequal = {key for key in found.keys() | wanted.keys() if found.get(key) != wanted.get(key)}
    if after.registration != done.registration:
        unequal.add("registration key")
    return f"not as it should be: {sorted(unequal)}" if unequal else ""


def timeless(snapshot: Snapshot) -> dict[str, tuple[Any, Mapping[str, str]]]:
    """Return bodies and headers without times, backups of the README and fragments."""
    kept: dict[str, tuple[Any, Mapping[str, str]]] = {}
    for key, (body, headers) in snapshot.objects.items():
        if key.startswith(("README.yml-", "fragments/")):
            continue
        shown: Any = body
        if key == "manifest.json":
            shown = json.loads(body)
            for item in shown["items"].values():
                del item["utc_timestamp"]
        if key == "dtool":
            shown = {name: value for name, value in json.loads(body).items() if name != "frozen_at"}
        kept[key] = (shown, {name: value for name, value in headers.items() if name != "frozen_at"})
    return kept


def _wrong_kind(before: Snapshot, after: Snapshot, done: Snapshot) -> str:
    allowed = {before.kind, done.kind}
    if before.kind is Kind.ABSENT:
        allowed.add(Kind.PROTO)
    return "" if after.kind in allowed else f"it became a {after.kind.value}"


def _wrong_items(after: Snapshot) -> str:
    """Items whose bytes are not those of their checksum, and a frozen dataset that is not its manifest."""
    hashes = {}
    for key, (body, headers) in after.objects.items():
        if not key.startswith("data/") or after.kind is Kind.ABSENT:
            continue
        digest = body.decode() if _is_digest(body) else hashlib.md5(body, usedforsecurity=False).hexdigest()
        relpath = base64.b64decode(headers.get("handle", "")).decode()
        if headers.get("checksum") != digest or key != f"data/{item_identifier(relpath)}":
            return f"{key} is not the item that its headers say"
        hashes[key.removeprefix("data/")] = digest
    if after.kind is not Kind.FROZEN:
        return ""
    manifest = json.loads(after.objects.get("manifest.json", (b'{"items": {}}', {}))[0])
    named = {identifier: item["hash"] for identifier, item in manifest["items"].items()}
    return "" if named == hashes else "the manifest does not name what lies there"


def _is_digest(body: bytes) -> bool:
    return len(body) == 32 and set(body) <= set(b"0123456789abcdef")


def _lost_items(before: Snapshot, after: Snapshot) -> str:
    lost = [
        key
        for key, held in before.objects.items()
        if key.startswith("data/") and after.objects.get(key) != held
    ]
    return f"items changed: {lost}" if lost else ""


def _lost_readme(before: Snapshot, after: Snapshot) -> str:
    """The text that was README.yml of a frozen dataset is never lost."""
    if before.kind is not Kind.FROZEN:
        return ""
    kept = [held[0] for key, held in after.objects.items() if key.startswith("README.yml")]
    return "" if before.objects["README.yml"][0] in kept else "the old README is lost"


def _changed(operation: Operation, before: Snapshot, after: Snapshot) -> str:
    changed = [
        key
        for key in before.objects.keys() | after.objects.keys()
        if before.objects.get(key) != after.objects.get(key)
        and not key.startswith(operation.changes or ("nothing",))
    ]
    return f"a frozen dataset changed: {sorted(changed)}" if changed else ""
