"""README.yml, tags and annotations of a dataset, frozen or not: how they become what is wanted.

Owns the comparison, in few and small requests, and the order of the writes: called again after any failure
they end in the same state. A README of a frozen dataset is kept before it is replaced, as dtool does. Writes
no other key than README.yml, its kept copies, and named ones under `tags/` and `annotations/`.
"""

import json
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from dtool_s3.concurrency import map_bounded
from dtool_s3.digest import md5_hexdigest
from dtool_s3.errors import (
    NotFound,
    PreconditionFailed,
    RequestRefused,
    SettingsError,
    WrittenWhileFreezing,
)
from dtool_s3.layout import DatasetLayout
from dtool_s3.naming import check_name
from dtool_s3.store.protocol import IF_ABSENT, ListedObject, ObjectInfo, Store, if_match

#: An annotation in the store that exceeds the wanted one by more than this is replaced without being read.
_MAX_EXCESS_BYTES = 1024 * 1024
#: All annotations of a dataset together, as they are written: with its indentation JSON that is nested deeply
#: takes hundreds of times the bytes that its author needed to say it.
MAX_ANNOTATIONS_BYTES = 4 * 1024 * 1024
#: One page of a listing; names that sort behind a full page are asked for one by one.
_LISTED = 1000
_README_ATTEMPTS = 3
_ENCODER = json.JSONEncoder(indent=2, allow_nan=False)


@dataclass(frozen=True, slots=True)
class Metadata:
    """What is wanted of a dataset; what is not named here is somebody else's and stays.

    `readme` None: as it is. `annotations`: any JSON by name. `removed_…`: names that must not be there,
    unless they are wanted too.
    """

    readme: str | None = None
    tags: frozenset[str] = frozenset()
    annotations: Mapping[str, object] = field(default_factory=dict)
    removed_tags: frozenset[str] = frozenset()
    removed_annotations: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class MetadataChange:
    """What has to be written and deleted; names are sorted. `readme` None: it is as wanted."""

    readme: str | None = None
    put_tags: tuple[str, ...] = ()
    delete_tags: tuple[str, ...] = ()
    put_annotations: Mapping[str, object] = field(default_factory=dict)
    delete_annotations: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether everything is as wanted."""
        is_written = self.readme is not None or self.put_tags or self.put_annotations
        return not (is_written or self.delete_tags or self.delete_annotations)


async def find_change(store: Store, layout: DatasetLayout, wanted: Metadata) -> MetadataChange:
    """Compare a dataset with what is wanted: one HEAD for a README, one LIST for tags, one for annotations.

    Only what is named is asked for. An ETag that is not the MD5 of what would be written is a reason to read,
    never a difference; nothing is read that is too large to be equal. Annotations compare as JSON.

    Raises SettingsError for names that dtool does not accept and for values that are no JSON, StorageError.
    """
    readme = None if wanted.readme is None else _encode("README.yml", wanted.readme)
    bodies = {layout.annotation_key(name): body for name, body in _dump_all(wanted.annotations).items()}
    lost_tags = _check_tags(wanted.removed_tags - _check_tags(wanted.tags))
    lost_annotations = _check_annotations(wanted.removed_annotations - wanted.annotations.keys())
    is_readme_equal = readme is None or await _is_stored(store, layout.readme_key, readme)
    tags = await _look(store, layout.tags_prefix, {layout.tag_key(tag) for tag in wanted.tags | lost_tags})
    gone = {layout.annotation_key(name) for name in lost_annotations}
    stored = await _look(store, layout.annotations_prefix, bodies.keys() | gone)
    equal = await _find_equal(store, stored, bodies)
    return MetadataChange(
        readme=None if is_readme_equal else wanted.readme,
        put_tags=tuple(sorted(tag for tag in wanted.tags if layout.tag_key(tag) not in tags)),
        delete_tags=tuple(sorted(tag for tag in lost_tags if layout.tag_key(tag) in tags)),
        put_annotations={
            name: wanted.annotations[name]
            for name in sorted(wanted.annotations)
            if layout.annotation_key(name) not in equal
        },
        delete_annotations=tuple(
            sorted(name for name in lost_annotations if layout.annotation_key(name) in stored)
        ),
    )


async def apply_change(
    store: Store,
    layout: DatasetLayout,
    change: MetadataChange,
    *,
    is_frozen: bool,
    clock: Callable[[], float] = time.time,
) -> None:
    """Write a change: the README, then tags and annotations, then what is deleted.

    `is_frozen`: the old README is kept, see `update_readme`. Raises as `find_change`, and
    WrittenWhileFreezing where somebody keeps writing the README; call again, or find the change anew.
    """
    tags, annotations = _check_tags(change.put_tags), _dump_all(change.put_annotations)
    bodies = {layout.tag_key(tag): b"" for tag in tags}
    bodies |= {layout.annotation_key(name): body for name, body in annotations.items()}
    deleted = {layout.tag_key(tag) for tag in _check_tags(change.delete_tags)}
    deleted |= {layout.annotation_key(name) for name in _check_annotations(change.delete_annotations)}

    async def put(written: tuple[str, bytes]) -> None:
        await store.put(*written)

    if change.readme is not None and is_frozen:
        await update_readme(store, layout, change.readme, clock=clock)
    elif change.readme is not None:
        await store.put(layout.readme_key, _encode("README.yml", change.readme))
    await map_bounded(put, bodies.items())
    if keys := sorted(deleted - bodies.keys()):
        await store.delete_many(keys)


async def update_readme(
    store: Store, layout: DatasetLayout, content: str, *, clock: Callable[[], float] = time.time
) -> None:
    """Write README.yml after keeping the old one as `README.yml-<seconds since 1970, UTC>`.

    An equal README is neither kept nor written. The old one is copied on the server, whatever its size. What
    was kept by a call that failed since is not kept again, unless its ETag is new at each write (encryption).
    Raises WrittenWhileFreezing where somebody keeps writing it, StorageError.
    """
    key, body = layout.readme_key, _encode("README.yml", content)
    for _ in range(_README_ATTEMPTS):
        condition = IF_ABSENT
        with suppress(NotFound):  # a dataset that was frozen without one
            info = await store.head(key)
            if await _has_bytes(store, info, body):
                return
            await _keep_readme(store, layout, info, clock)
            condition = if_match(info.etag)
        try:
            await store.put(key, body, precondition=condition)
        except PreconditionFailed:
            continue  # somebody else's README came in between: keep that one
        return
    raise WrittenWhileFreezing(f"somebody keeps writing {key!r}")


async def _keep_readme(
    store: Store, layout: DatasetLayout, info: ObjectInfo, clock: Callable[[], float]
) -> None:
    """Copy README.yml beside itself, unless that was done since it was written."""
    start = f"{layout.readme_key}-"
    for kept in (await store.list(start, limit=_LISTED)).objects:
        is_since = kept.last_modified >= info.last_modified
        if is_since and (kept.etag, kept.size_bytes) == (info.etag, info.size_bytes):
            return
    source = ListedObject(info.key, info.size_bytes, info.etag, info.last_modified)
    await store.copy(store.bucket, source, f"{start}{round(clock(), 6)}")


async def _look(store: Store, prefix: str, keys: Collection[str]) -> dict[str, ListedObject | ObjectInfo]:
    """Return those of `keys`, all below `prefix`, that are there; one page is listed, whatever lies there."""
    if not keys:
        return {}
    page = (await store.list(prefix, limit=_LISTED)).objects
    found: dict[str, ListedObject | ObjectInfo] = {o.key: o for o in page if o.key in keys}

    async def head(key: str) -> None:
        with suppress(NotFound):
            found[key] = await store.head(key)

    if len(page) == _LISTED:
        await map_bounded(head, sorted(key for key in keys if key > page[-1].key))
    return found


async def _find_equal(
    store: Store, stored: Mapping[str, ListedObject | ObjectInfo], bodies: Mapping[str, bytes]
) -> set[str]:
    """Return the keys whose object holds the same JSON as `bodies`."""

    async def is_equal(key: str) -> bool:
        there, body = stored[key], bodies[key]
        if there.etag == md5_hexdigest(body):
            return True
        bound = len(body) + _MAX_EXCESS_BYTES
        found = None if there.size_bytes > bound else await _read(store, key, bound)
        form = None if found is None else _normal_form(found)
        return form is not None and form == _normal_form(body)

    keys = [key for key in bodies if key in stored]
    return {key for key, same in zip(keys, await map_bounded(is_equal, keys), strict=True) if same}


async def _is_stored(store: Store, key: str, body: bytes) -> bool:
    try:
        info = await store.head(key)
    except NotFound:
        return False
    return await _has_bytes(store, info, body)


async def _has_bytes(store: Store, info: ObjectInfo, body: bytes) -> bool:
    """Tell whether an object holds `body`; it is read only if it has that size and an ETag that is no MD5."""
    if info.size_bytes != len(body):
        return False
    return info.etag == md5_hexdigest(body) or await _read(store, info.key, len(body)) == body


async def _read(store: Store, key: str, max_bytes: int) -> bytes | None:
    """Return an object's bytes; None where it is gone, or has grown beyond the bound since it was seen."""
    try:
        return (await store.get(key, max_bytes=max_bytes)).body
    except NotFound:
        return None
    except RequestRefused as error:
        if error.code != "EntityTooLarge":
            raise
        return None


def _normal_form(body: bytes) -> str | None:
    """Return one text for all spellings of a JSON document; None for what is none, or too deep to tell."""
    try:
        return json.dumps(json.loads(body), sort_keys=True)
    except (ValueError, RecursionError):
        return None


def _dump_all(annotations: Mapping[str, object]) -> dict[str, bytes]:
    """Return the bodies by name, in the form in which dtool writes annotations."""
    _check_annotations(annotations)
    bodies: dict[str, bytes] = {}
    room_bytes = MAX_ANNOTATIONS_BYTES
    for name, value in annotations.items():
        bodies[name] = _dump(name, value, room_bytes)
        room_bytes -= len(bodies[name])
    return bodies


def _dump(name: str, value: object, max_bytes: int) -> bytes:
    """Return the body; what is larger is refused before it is in memory."""
    parts, size_bytes = [], 0
    try:
        for part in _ENCODER.iterencode(value):
            size_bytes += len(part)
            if size_bytes > max_bytes:
                raise SettingsError(
                    f"annotation {name!r}: written with indentation, as dtool does, all annotations together "
                    f"take more than {MAX_ANNOTATIONS_BYTES} bytes"
                )
            parts.append(part)
    except (TypeError, ValueError, RecursionError) as error:
        raise SettingsError(f"annotation {name!r} is no JSON: {str(error)[:120]}") from error
    return "".join(parts).encode()


def _encode(what: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise SettingsError(f"{what} is not valid Unicode") from error


def _check_tags(tags: Collection[str]) -> frozenset[str]:
    return frozenset(check_name(tag, of="a tag") for tag in tags)


def _check_annotations(names: Collection[str]) -> frozenset[str]:
    return frozenset(check_name(name, of="an annotation") for name in names)
