"""Datasets that anybody reads over HTTP, with `dtool` or a browser; owns what is public and taking it back.

A dataset is published by its http_manifest.json, which names the URLs of everything else. Without an expiry
the objects are made public; with one they stay private and the URLs are signed. Nothing is called published
whose URL does not answer a stranger. Source: http_manifest.json as dtool-s3 0.14.1 writes and dtool-http 0.5
reads it.
"""

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from dtool_s3.concurrency import map_bounded, see_through
from dtool_s3.errors import (
    AccessDenied,
    ContentDiffers,
    ItemMissing,
    NotFound,
    NotSupported,
    RequestRefused,
    StorageError,
)
from dtool_s3.freezing import check_items, read_admin_metadata
from dtool_s3.layout import DatasetLayout
from dtool_s3.publication.contents import Contents, read_contents
from dtool_s3.publication.signing import UrlOf, read_url_of
from dtool_s3.store.protocol import UrlStore

#: More of an item is not read to see that it answers.
_PROBED_BYTES = 1024 * 1024
#: How long an interrupted publication waits for requests that are under way before it takes them back.
_GRACE_SECONDS = 30.0
_INSTEAD = (
    "publish with signed URLs (DTOOL_S3_PUBLISH_EXPIRY=<seconds>), or let a bucket policy give public read "
    "of this dataset and publish again"
)


async def publish(store: UrlStore, layout: DatasetLayout, *, expires_seconds: int | None = None) -> str:
    """Publish a frozen dataset; return the access URL, by which `dtool` reads it.

    Without `expires_seconds` every object a reader needs gets the ACL `public-read`; where the server takes
    no ACLs, it is published all the same if a bucket policy makes it readable. With it, URLs are signed that
    are valid so long; what was made public before stays so. At the end http_manifest.json and one item are
    read as a stranger would; if they do not answer, or anything else fails, all is taken back, an earlier
    publication too. http_manifest.json says what is there now: publish again after new tags or annotations.

    Raises SourceNotFrozen, DatasetMissing, ItemMissing and ContentDiffers (an incomplete dataset),
    SettingsError (more than 7 days), NotSupported and AccessDenied saying what to do instead, StorageError.
    """
    signed = None if expires_seconds is None else read_url_of(store, expires_seconds)
    contents = await read_contents(store, layout)
    check_items(layout, contents.listing.objects, contents.manifest)
    if layout.readme_key not in {listed.key for listed in contents.listing.objects}:
        raise ItemMissing(f"{layout.readme_key!r} is missing: write one first, with `dtool readme write`")
    if signed is None:
        return await _publish_to_all(store, contents)
    try:
        url, document = await _write_manifest(store, contents, signed)
        return await _check(store, contents, url, document, why="although the URL is signed")
    except BaseException as error:
        await _take_back(store, layout, (), error)
        raise


async def unpublish(store: UrlStore, layout: DatasetLayout) -> None:
    """Remove http_manifest.json and make every object of a dataset private again.

    Signed URLs that were given out are valid until they expire: they cannot be taken back. Raises
    DatasetMissing, NotSupported if the dataset still answers a stranger (a bucket policy makes it public),
    StorageError; it may be repeated.
    """
    await read_admin_metadata(store, layout)
    await store.delete(layout.http_manifest_key)
    listing = await store.list(layout.root)
    keys = [listed.key for listed in listing.objects]
    refusal = await _set_acl(store, keys, is_public=False)
    items = [key for key in keys if key.startswith(layout.data_prefix)]
    for key in [layout.manifest_key, *items[:1]]:
        if await _is_readable_by_all(store, store.public_url(key)):
            raise NotSupported(
                f"{key!r} still answers without credentials: a bucket policy or the server's own settings "
                f"make it public and must be changed{_because(refusal)}"
            )


async def http_manifest(contents: Contents, url_of: UrlOf) -> dict[str, Any]:
    """Return the document that a reader over HTTP starts from; nothing is made public."""
    layout, keys = contents.layout, contents.keys()
    urls = dict(zip(keys, await map_bounded(url_of, keys), strict=True))
    return {
        "admin_metadata": contents.admin.as_dict(),
        "item_urls": {i: urls[layout.item_key(i)] for i in contents.manifest.items},
        "overlays": {name: urls[layout.overlay_key(name)] for name in contents.overlays},
        "annotations": {name: urls[layout.annotation_key(name)] for name in contents.annotations},
        "tags": list(contents.tags),
        "readme_url": urls[layout.readme_key],
        "manifest_url": urls[layout.manifest_key],
    }


async def _publish_to_all(store: UrlStore, contents: Contents) -> str:
    layout, refusal = contents.layout, None
    keys = [*contents.keys(), layout.http_manifest_key]

    async def url_of(key: str) -> str:
        return store.public_url(key)

    try:
        refusal = await _set_acl(store, keys[:-1], is_public=True)
        url, document = await _write_manifest(store, contents, url_of)
        if refusal is None:
            await see_through(store.make_public(layout.http_manifest_key), grace_seconds=_GRACE_SECONDS)
        why = (
            "although the server took the ACLs" if refusal is None else f"the server takes no ACLs: {refusal}"
        )
        return await _check(store, contents, url, document, why=f"{why}; {_INSTEAD}")
    except BaseException as error:
        # also what an unfinished request may still have made public
        await _take_back(store, layout, keys if refusal is None else (), error)
        raise


async def _write_manifest(store: UrlStore, contents: Contents, url_of: UrlOf) -> tuple[str, dict[str, Any]]:
    """Write http_manifest.json; return its URL and what is in it."""
    document = await http_manifest(contents, url_of)
    key = contents.layout.http_manifest_key
    await see_through(store.put(key, _dump(document)), grace_seconds=_GRACE_SECONDS)
    return await url_of(key), document


async def _check(store: UrlStore, contents: Contents, url: str, document: dict[str, Any], *, why: str) -> str:
    """Read http_manifest.json and the smallest item as a stranger would; return the access URL.

    Raises AccessDenied or NotFound with `why`, ContentDiffers.
    """
    body, items = _dump(document), contents.manifest.items
    if await _fetch(store, url, len(body), why=why) != body:
        raise ContentDiffers(f"{_shown(url)} answers, but with something else than was published")
    smallest = min(items, key=lambda i: items[i].size_bytes, default=None)
    probed = document["manifest_url"] if smallest is None else document["item_urls"][smallest]
    await _fetch(store, probed, why=why)

    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=parts.path.removesuffix("/http_manifest.json")))


def _dump(document: dict[str, Any]) -> bytes:
    return json.dumps(document, indent=2).encode()


async def _set_acl(store: UrlStore, keys: Sequence[str], *, is_public: bool) -> StorageError | None:
    """Make keys public or private; return why the server does not take ACLs, if it says so of the first."""
    change = store.make_public if is_public else store.make_private

    async def apply(key: str) -> None:
        await see_through(change(key), grace_seconds=_GRACE_SECONDS)

    try:
        await apply(keys[0])
    except (NotSupported, AccessDenied) as error:
        return error
    await map_bounded(apply, keys[1:])
    return None


async def _take_back(
    store: UrlStore, layout: DatasetLayout, keys: Sequence[str], because: BaseException
) -> None:
    """Undo a publication that failed; what cannot be undone is said with the failure, which is raised."""

    async def make_private(key: str) -> str | None:
        try:
            await store.make_private(key)
        except NotFound:
            return None
        except StorageError:
            return key
        return None

    problems = []
    left = [key for key in await map_bounded(make_private, keys) if key is not None]
    if left:
        problems.append(f"{len(left)} objects may still be public, {left[0]!r} among them")
    try:
        await store.delete(layout.http_manifest_key)
    except StorageError:
        problems.append(f"{layout.http_manifest_key!r} could not be removed")
    if problems:
        because.add_note(f"{'; '.join(problems)}: unpublish the dataset")


async def _fetch(store: UrlStore, url: str, max_bytes: int = _PROBED_BYTES, *, why: str) -> bytes:
    """Read a URL as a stranger; `b""` if it answers with more bytes than that."""
    try:
        return await store.fetch_unsigned(url, max_bytes=max_bytes)
    except RequestRefused as error:
        if error.code == "EntityTooLarge":
            return b""
        raise
    except (AccessDenied, NotFound) as error:
        said = f"{_shown(url)} does not answer without credentials ({error.code}), {why}"
        raise type(error)(said, code=error.code) from error


async def _is_readable_by_all(store: UrlStore, url: str) -> bool:
    try:
        await _fetch(store, url, why="")
    except (AccessDenied, NotFound):
        return False
    return True


def _shown(url: str) -> str:
    """The URL without its query, which holds the signature."""
    return urlunsplit(urlsplit(url)._replace(query="", fragment=""))


def _because(refusal: StorageError | None) -> str:
    return "" if refusal is None else f" (the server takes no ACLs: {refusal})"
