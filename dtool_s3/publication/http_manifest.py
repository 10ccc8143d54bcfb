"""http_manifest.json of a published dataset, read by somebody who does not trust it; pure, no I/O.

Everything in it is somebody else's: types are checked field by field, every URL by `AccessURL.check`, names
only so far that they are text that S3 can have in a key; what they mean for a dataset the copy decides.
Source: dtool-s3 0.13 to 0.14.1 and dtool-azure write it; those before tags and annotations leave them out.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dtool_s3.documents import check_density
from dtool_s3.errors import InvalidManifest
from dtool_s3.publication.access_url import AccessURL

_MAX_NAME_BYTES = 900


@dataclass(frozen=True, slots=True)
class HttpManifest:
    """What is published; URLs are on the access URL's own host.

    `item_urls` by identifier; `document_urls` by key relative to the dataset's root (`README.yml`,
    `overlays/NAME.json`, `annotations/NAME.json`).
    """

    admin_metadata: Mapping[str, Any]
    manifest_url: str
    item_urls: Mapping[str, str]
    document_urls: Mapping[str, str]
    tags: tuple[str, ...]


def parse_http_manifest(body: bytes, access: AccessURL) -> HttpManifest:
    """Parse http_manifest.json. Raises InvalidManifest, or AccessDenied for a URL on another host."""
    check_density(body)
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidManifest(f"http_manifest.json of {access} is not JSON") from error
    if not isinstance(document, dict):
        raise InvalidManifest(f"http_manifest.json of {access} is no JSON object")
    admin = document.get("admin_metadata")
    if not isinstance(admin, dict) or "manifest_url" not in document:
        raise InvalidManifest(f"http_manifest.json of {access} lacks admin_metadata or manifest_url")
    if not all(_is_text(value) for value in admin.values() if isinstance(value, str)):
        raise InvalidManifest(f"admin_metadata in http_manifest.json of {access} is not valid Unicode")
    documents = {}
    if document.get("readme_url") is not None:
        documents["README.yml"] = access.check(document["readme_url"])
    for folder in ("overlays", "annotations"):
        for name, url in _mapping(document, folder, access).items():
            documents[f"{folder}/{_name(name, access)}.json"] = access.check(url)
    return HttpManifest(
        admin_metadata=admin,
        manifest_url=access.check(document["manifest_url"]),
        item_urls={i: access.check(url) for i, url in _mapping(document, "item_urls", access).items()},
        document_urls=documents,
        tags=_tags(document.get("tags"), access),
    )


def _mapping(document: Mapping[str, Any], field: str, access: AccessURL) -> Mapping[str, Any]:
    found = document.get(field)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise InvalidManifest(f"{field} in http_manifest.json of {access} is no object")
    return found


def _tags(found: object, access: AccessURL) -> tuple[str, ...]:
    if found is None:
        return ()
    if not isinstance(found, list):
        raise InvalidManifest(f"tags in http_manifest.json of {access} is no list")
    return tuple(_name(tag, access) for tag in found)


def _is_text(value: str) -> bool:
    """Tell whether text can be encoded: JSON can hold halves of characters, which nothing else takes."""
    return not any("\ud800" <= character <= "\udfff" for character in value)


def _name(name: object, access: AccessURL) -> str:
    if isinstance(name, str) and name.isprintable() and 0 < len(name.encode()) <= _MAX_NAME_BYTES:
        return name
    raise InvalidManifest(
        f"http_manifest.json of {access} names a tag, overlay or annotation {str(name)[:80]!r}"
    )
