"""Makes a proto dataset that an earlier version began readable by upstream as a whole, before it is frozen.

Upstream decodes the handles of all items by one version, that of structure.json; items added since are base64
there, those of before 0.14.0 raw. Items of both kinds under one version would be given wrong identifiers.
Owns that rewriting; a dataset of one kind that upstream reads stays as it is.
"""

from collections.abc import Sequence

from dtool_s3.concurrency import map_bounded
from dtool_s3.digest import md5_hexdigest
from dtool_s3.freezing import list_items, read_admin_metadata
from dtool_s3.layout import DatasetLayout, decode_handle, encode_handle
from dtool_s3.store.protocol import IF_ABSENT, ListedObject, Store, if_match
from dtool_s3.transfer.inventory import read_structure_version, writes_base64_handles


async def renew_old_handles(store: Store, layout: DatasetLayout, objects: Sequence[ListedObject]) -> bool:
    """Give all items base64 handles and the dataset today's structure.json, if upstream would misread it.

    `objects` is a listing of the dataset; returns whether anything was written since. Costs nothing where
    structure.json is today's; else one GET, and one HEAD per item where it is older than 0.14.0. Headers are
    written by copying an item onto itself. A frozen dataset is left alone. Raises PreconditionFailed where
    somebody else writes, NotSupported for old items above 5 GiB beside new ones, StorageError.
    """
    listed = {o.key: o for o in objects}
    structure = listed.get(layout.structure_key)
    if structure is not None and await _is_todays(store, layout, structure):
        return False
    old, has_base64 = await _sort_handles(store, layout, objects)
    if not has_base64 or (await read_admin_metadata(store, layout))[0].is_frozen:
        return False

    async def renew(found: tuple[ListedObject, dict[str, str]]) -> None:
        item, metadata = found
        await store.copy(store.bucket, item, item.key, metadata=metadata)

    await map_bounded(renew, old)
    condition = IF_ABSENT if structure is None else if_match(structure.etag)
    await store.put(layout.structure_key, layout.structure_document(), precondition=condition)
    return True


async def _is_todays(store: Store, layout: DatasetLayout, structure: ListedObject) -> bool:
    """Tell whether upstream decodes the handles of this dataset as base64."""
    if structure.etag == md5_hexdigest(layout.structure_document()):
        return True
    return writes_base64_handles(await read_structure_version(store, layout))


async def _sort_handles(
    store: Store, layout: DatasetLayout, objects: Sequence[ListedObject]
) -> tuple[list[tuple[ListedObject, dict[str, str]]], bool]:
    """Return the items with raw handles, each with the headers it shall have, and whether others have base64.

    Items without a handle that fits are left out: freezing refuses them.
    """

    async def look(found: tuple[str, ListedObject]) -> tuple[ListedObject, dict[str, str], bool] | None:
        identifier, item = found
        metadata = dict((await store.head(item.key)).metadata)
        relpath = decode_handle(metadata.get("handle", ""), identifier)
        if relpath is None:
            return None
        wanted = encode_handle(relpath)
        return item, {**metadata, "handle": wanted}, metadata["handle"] == wanted

    seen = [one for one in await map_bounded(look, list_items(layout, objects).items()) if one is not None]
    return [(item, wanted) for item, wanted, is_new in seen if not is_new], any(is_new for *_, is_new in seen)
