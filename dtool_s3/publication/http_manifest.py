"""http_manifest.json of a published dataset, read by somebody who does not trust it; pure, no I/O.

Everything in it is somebody else's: types are checked field by field, every URL by `AccessURL.check`, names
only so far that they are text that S3 can have in a key; what they mean for a dataset the copy decides.
Source: dtool-s3 0.13 to 0.14.1 and dtool-azure write it; those before tags and annotations leave them out.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dtool_s3.documents import is_text
from dtool_s3.errors import InvalidManifest
from dtool_s3.json_members import iterate_members
from dtool_s3.publication.access_url import AccessURL

_MAX_NAME_BYTES = 900
#: Overlays and annotations.
_MAX_DOCUMENTS = 10_000
_IDENTIFIER = re.compile(r"[0-9a-f]{40}")
_FOLDERS = ("overlays", "annotations")
_FIELDS = frozenset({"admin_metadata", "manifest_url", "readme_url", "item_urls", "tags", *_FOLDERS})


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
    """Parse http_manifest.json. Raises InvalidManifest, or AccessDenied for a URL on another host.

    The URLs of items are checked one by one: of a hostile document no more is held than of an honest one.
    """
    document: dict[str, Any] = {}
    item_urls: dict[str, str] = {}
    documents: dict[str, str] = {}
    try:
        for parent, name, value in iterate_members(body, inside={"item_urls", *_FOLDERS}):
            if parent == "item_urls":
                item_urls[_identifier(name, access)] = access.check(value)
            elif parent:
                documents[f"{parent}/{_name(name, access)}.json"] = access.check(value)
                _check_count(documents, access)
            elif name in _FIELDS:
                document[name] = value
    except (ValueError, RecursionError) as error:
        raise InvalidManifest(f"http_manifest.json of {access} is not JSON: {str(error)[:120]}") from error
    for field in ("item_urls", *_FOLDERS):
        _check_mapping(document, field, access)
    if document.get("readme_url") is not None:
        documents["README.yml"] = access.check(document["readme_url"])
    return HttpManifest(
        admin_metadata=_admin_metadata(document, access),
        manifest_url=access.check(document["manifest_url"]),
        item_urls=item_urls,
        document_urls=documents,
        tags=_tags(document.get("tags"), access),
    )


def _admin_metadata(document: Mapping[str, Any], access: AccessURL) -> Mapping[str, Any]:
    admin = document.get("admin_metadata")
    if not isinstance(admin, dict) or "manifest_url" not in document:
        raise InvalidManifest(f"http_manifest.json of {access} lacks admin_metadata or manifest_url")
    if not all(is_text(value) for value in admin.values() if isinstance(value, str)):
        raise InvalidManifest(f"admin_metadata in http_manifest.json of {access} is not valid Unicode")
    return admin


def _check_count(documents: Mapping[str, str], access: AccessURL) -> None:
    if len(documents) > _MAX_DOCUMENTS:
        raise InvalidManifest(f"http_manifest.json of {access} names more than {_MAX_DOCUMENTS} documents")


def _identifier(name: str, access: AccessURL) -> str:
    if _IDENTIFIER.fullmatch(name):
        return name
    raise InvalidManifest(
        f"item_urls in http_manifest.json of {access} names {name[:80]!r}, which is no item"
    )


def _check_mapping(document: Mapping[str, Any], field: str, access: AccessURL) -> None:
    if not isinstance(document.get(field), dict | None):
        raise InvalidManifest(f"{field} in http_manifest.json of {access} is no object")


def _tags(found: object, access: AccessURL) -> tuple[str, ...]:
    if found is None:
        return ()
    if not isinstance(found, list):
        raise InvalidManifest(f"tags in http_manifest.json of {access} is no list")
    return tuple(_name(tag, access) for tag in found)


def _name(name: object, access: AccessURL) -> str:
    if isinstance(name, str) and name.isprintable() and 0 < len(name.encode()) <= _MAX_NAME_BYTES:
        return name
    raise InvalidManifest(
        f"http_manifest.json of {access} names a tag, overlay or annotation {str(name)[:80]!r}"
    )
