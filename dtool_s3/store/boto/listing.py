"""Listings of objects and of unfinished uploads, page by page; owns no state."""

from collections.abc import Callable, Sequence
from typing import Any

from dtool_s3.errors import BucketUnreachable
from dtool_s3.store.boto.answer import parse_listed
from dtool_s3.store.boto.connection import Client, Connection
from dtool_s3.store.protocol import ListedObject, Listing, Upload

PAGE_ENTRIES = 1000


async def list_objects(
    connection: Connection,
    prefix: str,
    *,
    delimiter: str,
    limit: int,
    keeps: Callable[[str], bool] | None = None,
) -> Listing:
    """List keys with ListObjectsV2 (botocore asks for URL encoding and undoes it).

    The result is sorted by the keys' UTF-8 bytes; a server that keeps directories may choose the `limit`
    keys by another order. A key that two pages show, because others write meanwhile, is listed once.
    """
    objects: dict[str, ListedObject] = {}
    common: dict[str, None] = {}
    parameters: dict[str, Any] = {"Bucket": connection.bucket, "Prefix": prefix, "Delimiter": delimiter}
    left, is_cut = limit, True
    while is_cut and left > 0:
        page = await _page(connection, prefix, parameters | {"MaxKeys": min(PAGE_ENTRIES, left)})
        contents, prefixes = page.get("Contents", ()), page.get("CommonPrefixes", ())
        left -= len(contents) + len(prefixes)
        for entry in contents:
            if keeps is None or keeps(entry["Key"]):
                objects[entry["Key"]] = parse_listed(entry)
        found = (entry["Prefix"] for entry in prefixes)
        common.update(dict.fromkeys(name for name in found if keeps is None or keeps(name)))
        is_cut = bool(page.get("IsTruncated"))
        if is_cut:
            parameters["ContinuationToken"] = _token(connection, page, parameters.get("ContinuationToken"))
    return Listing(
        tuple(sorted(objects.values(), key=lambda listed: listed.key.encode())),
        tuple(sorted(common, key=str.encode)),
        is_cut,
    )


async def _page(connection: Connection, prefix: str, parameters: dict[str, Any]) -> dict[str, Any]:
    def call(client: Client) -> dict[str, Any]:
        page: dict[str, Any] = client.list_objects_v2(**parameters)
        return page

    return await connection.ask("list", prefix, call)


def _token(connection: Connection, page: dict[str, Any], last: str | None) -> str:
    """Where to go on; what was there before would come for ever."""
    token = page.get("NextContinuationToken")
    if not isinstance(token, str) or token == last:
        message = f"list of {connection.place('')}: the answer is cut and does not say how to go on"
        raise BucketUnreachable(message, code="MalformedAnswer")
    return token


async def list_uploads(connection: Connection, prefix: str) -> Sequence[Upload]:
    """List unfinished uploads, in key order.

    Without URL encoding: servers say that they encode these keys, and do not.
    """
    found: dict[str, Upload] = {}
    parameters: dict[str, Any] = {"Bucket": connection.bucket, "Prefix": prefix}

    def call(client: Client) -> dict[str, Any]:
        page: dict[str, Any] = client.list_multipart_uploads(**parameters)
        return page

    while True:
        page = await connection.ask("list_uploads", prefix, call)
        known = len(found)
        for entry in page.get("Uploads", ()):
            found[entry["UploadId"]] = Upload(entry["Key"], entry["UploadId"])
        if not page.get("IsTruncated") or len(found) == known:  # a page without news would come for ever
            return tuple(sorted(found.values(), key=lambda upload: upload.key.encode()))
        last = page["Uploads"][-1]
        parameters["KeyMarker"] = page.get("NextKeyMarker") or last["Key"]
        parameters["UploadIdMarker"] = page.get("NextUploadIdMarker") or last["UploadId"]
