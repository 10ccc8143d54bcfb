"""How a dataset begins: registered first, `dtool` last; owns that order, and that nothing is overwritten.

Every step is written only where nothing is yet, so that a creation which was killed anywhere is finished by
the next one. Copies, ingestions and empty proto datasets begin by it; it never writes items.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace

from dtool_s3.documents import (
    MAX_STRUCTURE_BYTES,
    AdminMetadata,
    DatasetType,
    dump_admin_metadata,
    storage_broker_version,
)
from dtool_s3.errors import (
    NotFound,
    PreconditionFailed,
    SettingsError,
    WrittenWhileFreezing,
)
from dtool_s3.layout import DTOOL_README_TXT, DatasetLayout
from dtool_s3.naming import check_name
from dtool_s3.registration import ensure_registration
from dtool_s3.store.protocol import IF_ABSENT, NO_METADATA, Store, if_match
from dtool_s3.transfer.derivation import new_admin_metadata
from dtool_s3.transfer.inventory import read_admin_metadata, writes_base64_handles

_STRUCTURE_ATTEMPTS = 3


async def create_proto(
    store: Store,
    layout: DatasetLayout,
    *,
    name: str,
    creator_username: str,
    readme: str | None = None,
    clock: Callable[[], float] = time.time,
    frozen_at: float | None = None,
) -> AdminMetadata:
    """Make an empty proto dataset for others to fill; return its administrative metadata.

    `readme` None: an empty README.yml. `frozen_at`: seconds since 1970, of a dataset that was frozen
    elsewhere and keeps its identity. A dataset that lies there already, proto or frozen, is returned as it
    is. Raises SettingsError for a name that dtool does not accept, UUIDTaken where the UUID is registered
    under another prefix, InvalidAdminMetadata, StorageError; called again it goes on.
    """
    check_name(name, of="a dataset")
    if not creator_username.isprintable():
        raise SettingsError(f"{creator_username[:80]!r} cannot be the name of a dataset's creator")
    there = await read_admin_metadata(store, layout)
    if there is not None:
        await ensure_registration(store, layout)
        return there
    await prepare_place(store, layout)
    await _put_absent(store, layout.readme_key, (readme or "").encode())
    admin = new_admin_metadata(layout.uuid, name, creator_username, now=clock())
    admin = replace(admin, frozen_at=frozen_at)
    if await put_first_admin_metadata(store, layout, admin):
        return admin
    return await read_admin_metadata(store, layout) or admin


async def prepare_place(store: Store, layout: DatasetLayout) -> str:
    """Register the UUID and describe the keys; return the ETag of structure.json.

    Raises UUIDTaken with nothing else written, WrittenWhileFreezing, StorageError.
    """
    await ensure_registration(store, layout)
    structure = await _ensure_structure(store, layout)
    await _put_absent(store, layout.dtool_readme_key, DTOOL_README_TXT.encode())
    return structure


async def put_first_admin_metadata(store: Store, layout: DatasetLayout, admin: AdminMetadata) -> bool:
    """Write `dtool` of a proto dataset, which there is from now on; False if somebody else did meanwhile."""
    body, headers = dump_admin_metadata(admin.with_type(DatasetType.PROTO).as_dict())
    return await _put_absent(store, layout.admin_metadata_key, body, headers)


async def _put_absent(store: Store, key: str, body: bytes, metadata: Mapping[str, str] = NO_METADATA) -> bool:
    """Write `key` unless it is there, whatever it holds; tell whether it was written."""
    try:
        await store.put(key, body, metadata=metadata, precondition=IF_ABSENT)
    except PreconditionFailed:
        return False
    return True


async def _ensure_structure(store: Store, layout: DatasetLayout) -> str:
    """Make structure.json say that handles are base64, and return its ETag.

    Readers decode the headers of our items by it.
    """
    key, body = layout.structure_key, layout.structure_document()
    for _ in range(_STRUCTURE_ATTEMPTS):
        try:
            return (await store.put(key, body, precondition=IF_ABSENT)).etag
        except PreconditionFailed:
            with suppress(NotFound, PreconditionFailed):  # another writer came in between: look again
                stored = await store.get(key, max_bytes=MAX_STRUCTURE_BYTES)
                if writes_base64_handles(storage_broker_version(stored.body)):
                    return stored.info.etag
                return (await store.put(key, body, precondition=if_match(stored.info.etag))).etag
    raise WrittenWhileFreezing(f"somebody keeps writing {key!r}")
