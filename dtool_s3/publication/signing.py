"""Signed URLs by which people without keys read or write parts of one dataset for a while.

Owns what may be given out: an item is written only with the bytes and headers that its URL was made for.
Source: the interface that dtool's signed-URL plugin for dserver asks of a broker.
"""

import base64
import binascii
from collections.abc import Callable, Coroutine
from typing import Any

from dtool_s3.concurrency import map_bounded
from dtool_s3.errors import FrozenDataset, SettingsError
from dtool_s3.freezing import read_admin_metadata
from dtool_s3.layout import DatasetLayout, check_relpath, item_identifier, item_metadata
from dtool_s3.publication.contents import read_contents
from dtool_s3.store.protocol import UrlStore

#: The longest that a URL signed with Signature Version 4 is valid.
MAX_EXPIRY_SECONDS = 7 * 24 * 3600
#: When a signed URL ends that is asked for without saying when.
EXPIRY_SECONDS = 3600

_MD5_BYTES = 16

#: Makes the URL of a key.
UrlOf = Callable[[str], Coroutine[Any, Any, str]]


def check_expiry(expires_seconds: int) -> int:
    """Return a number of seconds for which URLs can be signed. Raises SettingsError."""
    if not 0 < expires_seconds <= MAX_EXPIRY_SECONDS:
        raise SettingsError(
            f"URLs are signed for 1 to {MAX_EXPIRY_SECONDS} seconds (7 days), not for {expires_seconds}"
        )
    return expires_seconds


def read_url_of(store: UrlStore, expires_seconds: int) -> UrlOf:
    """Return what makes signed URLs to read keys. Raises SettingsError."""
    check_expiry(expires_seconds)

    async def url_of(key: str) -> str:
        return await store.presign("GET", key, expires_seconds=expires_seconds)

    return url_of


async def sign_write(store: UrlStore, key: str, expires_seconds: int = EXPIRY_SECONDS) -> str:
    """Return a URL by which any bytes may be PUT to `key`. Raises SettingsError, CredentialsRejected."""
    return await store.presign("PUT", key, expires_seconds=check_expiry(expires_seconds))


async def sign_item_write(
    store: UrlStore,
    layout: DatasetLayout,
    relpath: str,
    md5_hexdigest: str,
    expires_seconds: int = EXPIRY_SECONDS,
) -> tuple[str, dict[str, str]]:
    """Return a URL by which exactly one item may be PUT, and the headers that the request must carry.

    The headers are signed, the MD5 of the bytes among them, so a URL that outlives the freezing can write
    this item with these bytes only: again, or, where it was never written, as an object that the manifest
    does not name and a verification reports. Raises UnsafePath, FrozenDataset, DatasetMissing, SettingsError.
    """
    check_relpath(relpath)
    check_expiry(expires_seconds)
    admin, _ = await read_admin_metadata(store, layout)
    if admin.is_frozen:
        raise FrozenDataset(f"{layout.root!r} is frozen: no URL is given out to write an item")
    headers = {"Content-MD5": _content_md5(md5_hexdigest)}
    headers |= {f"x-amz-meta-{name}": value for name, value in item_metadata(relpath, md5_hexdigest).items()}
    key = layout.item_key(item_identifier(relpath))
    url = await store.presign("PUT", key, expires_seconds=expires_seconds, headers=headers)
    return url, headers


async def sign_dataset(
    store: UrlStore, layout: DatasetLayout, expires_seconds: int = EXPIRY_SECONDS
) -> dict[str, Any]:
    """Return URLs to read everything of a frozen dataset, under the names that upstream gives them.

    `admin_metadata_url`, `manifest_url`, `readme_url`; by identifier or name `item_urls`, `overlay_urls`,
    `annotation_urls`; and the list `tags`. Raises what `read_contents` raises, SettingsError,
    CredentialsRejected.
    """
    url_of = read_url_of(store, expires_seconds)
    contents = await read_contents(store, layout)
    keys = [layout.admin_metadata_key, *contents.keys()]
    urls = dict(zip(keys, await map_bounded(url_of, keys), strict=True))
    return {
        "admin_metadata_url": urls[layout.admin_metadata_key],
        "manifest_url": urls[layout.manifest_key],
        "readme_url": urls[layout.readme_key],
        "item_urls": {i: urls[layout.item_key(i)] for i in contents.manifest.items},
        "overlay_urls": {name: urls[layout.overlay_key(name)] for name in contents.overlays},
        "annotation_urls": {name: urls[layout.annotation_key(name)] for name in contents.annotations},
        "tags": list(contents.tags),
    }


def _content_md5(md5_hexdigest: str) -> str:
    """Value of the header Content-MD5 for a digest in hex. Raises SettingsError."""
    try:
        digest = binascii.unhexlify(md5_hexdigest)
    except ValueError:
        digest = b""
    if len(digest) != _MD5_BYTES or md5_hexdigest != md5_hexdigest.lower():
        raise SettingsError(f"{md5_hexdigest[:80]!r} is no MD5 in lower-case hex digits")
    return base64.b64encode(digest).decode("ascii")
