"""One page of ListObjectsV2 as XML, read into the store's values; pure.

Source: AWS, "ListObjectsV2", with `encoding-type=url`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import unquote_plus
from xml.etree.ElementTree import Element, ParseError, fromstring

from dtool_s3.errors import BucketUnreachable
from dtool_s3.store.protocol import ListedObject


@dataclass(frozen=True, slots=True)
class ListingPage:
    """What a page shows; `token`: where the next one begins, None: there is none."""

    objects: tuple[ListedObject, ...]
    common_prefixes: tuple[str, ...]
    token: str | None


def parse_page(body: bytes) -> ListingPage:
    """Read a page. Raises BucketUnreachable for what is none, or says that it is cut and not where."""
    try:
        root = fromstring(body)  # noqa: S314 - entities need a DTD, which expat of today bounds
        space = root.tag[: root.tag.index("}") + 1] if root.tag.startswith("{") else ""
        _check_name(root.tag, f"{space}ListBucketResult")
        is_encoded = root.findtext(f"{space}EncodingType") == "url"
        decode = unquote_plus if is_encoded else str
        objects = tuple(_parse_entry(entry, space, decode) for entry in root.findall(f"{space}Contents"))
        prefixes = tuple(
            decode(_require(entry, f"{space}Prefix")) for entry in root.findall(f"{space}CommonPrefixes")
        )
        is_cut = root.findtext(f"{space}IsTruncated") == "true"
        token = _require(root, f"{space}NextContinuationToken") if is_cut else None
    except (ParseError, ValueError):
        raise BucketUnreachable("list: the answer is no listing", code="MalformedAnswer") from None
    return ListingPage(objects, prefixes, token)


def _parse_entry(entry: Element, space: str, decode: Callable[[str], str]) -> ListedObject:
    modified = datetime.fromisoformat(_require(entry, f"{space}LastModified"))
    return ListedObject(
        key=decode(_require(entry, f"{space}Key")),
        size_bytes=int(_require(entry, f"{space}Size")),
        etag=_require(entry, f"{space}ETag").strip('"'),
        last_modified=modified.astimezone(UTC),
        storage_class=entry.findtext(f"{space}StorageClass") or "STANDARD",
    )


def _check_name(found: str, expected: str) -> None:
    if found != expected:
        raise ValueError


def _require(element: Element, name: str) -> str:
    text = element.findtext(name)
    if not text:
        raise ValueError
    return text
