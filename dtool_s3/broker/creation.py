"""How a dataset begins and how its administrative metadata may change; owns the guards against undoing.

A new dataset never takes the place of another, a frozen one never becomes a proto dataset again. The flip
itself is in `dtool_s3.freezing`.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from dtool_s3 import freezing
from dtool_s3.documents import AdminMetadata, dump_admin_metadata, parse_admin_metadata
from dtool_s3.errors import DatasetMissing, FrozenDataset, RegistrationHijacked, SettingsError, UUIDTaken
from dtool_s3.layout import DatasetLayout
from dtool_s3.registration import check_registration, ensure_registration
from dtool_s3.store.protocol import IF_ABSENT, Store, if_match
from dtool_s3.transfer.inventory import read_admin_metadata


async def register_new(store: Store, layout: DatasetLayout) -> None:
    """Register a UUID for a new dataset at `layout`.

    Raises FrozenDataset or UUIDTaken if a dataset is there already, UUIDTaken if the UUID is registered
    under another prefix. What an interrupted creation left without `dtool` is taken up again.
    """
    admin = await read_admin_metadata(store, layout)
    if admin is not None and admin.is_frozen:
        raise FrozenDataset(f"{layout.root!r} in bucket {store.bucket!r} is a frozen dataset already")
    if admin is not None:
        raise UUIDTaken(
            f"{layout.root!r} in bucket {store.bucket!r} is a proto dataset already: add to it or resume its "
            "copy instead of creating it again"
        )
    # a store that ignores If-None-Match would lose somebody else's key
    with suppress(RegistrationHijacked):  # there is none
        await check_registration(store, layout)
        return
    await ensure_registration(store, layout)


async def write_admin_metadata(store: Store, layout: DatasetLayout, fields: Mapping[str, Any]) -> None:
    """Write the `dtool` object of a new or a proto dataset, or a new name of a frozen one.

    Never freezes and never unfreezes: raises DatasetMissing (freezing what is not there), FrozenDataset (a
    change of anything but the name), InvalidAdminMetadata, PreconditionFailed (somebody else was first).
    """
    body, headers = dump_admin_metadata(fields)
    wanted = parse_admin_metadata(body, headers, uuid=layout.uuid)
    condition = IF_ABSENT
    try:
        current, etag = await freezing.read_admin_metadata(store, layout)
    except DatasetMissing:
        if wanted.is_frozen:
            raise
    else:
        if current == wanted:
            return
        _check_change(layout, current, wanted)
        condition = if_match(etag)
    await store.put(layout.admin_metadata_key, body, metadata=headers, precondition=condition)


def _check_change(layout: DatasetLayout, current: AdminMetadata, wanted: AdminMetadata) -> None:
    if current.is_frozen and replace(wanted, name=current.name) != current:
        raise FrozenDataset(
            f"{layout.root!r} is frozen: of its administrative metadata only the name may change"
        )
    if wanted.is_frozen and not current.is_frozen:
        raise SettingsError("a proto dataset is frozen through dtool_s3.freezing only")
