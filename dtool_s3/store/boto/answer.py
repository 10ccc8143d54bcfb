"""Values out of the S3 client's answers, and request parameters out of values; pure."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from dtool_s3.store.protocol import ListedObject, ObjectInfo, Part, Precondition

Answer = Mapping[str, Any]


def parse_etag(answer: Answer) -> str:
    """ETag without its quotes."""
    return str(answer["ETag"]).strip('"')


def parse_info(key: str, answer: Answer) -> ObjectInfo:
    """What HEAD and GET say of an object."""
    return ObjectInfo(
        key=key,
        size_bytes=answer["ContentLength"],
        etag=parse_etag(answer),
        last_modified=answer["LastModified"].astimezone(UTC),
        metadata=lowered(answer.get("Metadata", {})),
    )


def parse_listed(entry: Answer) -> ListedObject:
    """One entry of a listing."""
    return ListedObject(
        key=entry["Key"],
        size_bytes=entry["Size"],
        etag=parse_etag(entry),
        last_modified=entry["LastModified"].astimezone(UTC),
        storage_class=entry.get("StorageClass", "STANDARD"),
    )


def parse_date(answer: Answer) -> datetime:
    """The server's clock when it answered; this machine's where the answer does not say."""
    try:
        return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"]).astimezone(UTC)
    except (KeyError, ValueError):
        return datetime.now(UTC)


def condition_parameters(precondition: Precondition) -> dict[str, str]:
    """Parameters of a conditional write."""
    parameters = {}
    if precondition.if_none_match:
        parameters["IfNoneMatch"] = "*"
    if precondition.if_match is not None:
        parameters["IfMatch"] = f'"{precondition.if_match}"'
    return parameters


def lowered(metadata: Mapping[str, str]) -> dict[str, str]:
    """User metadata with the lower-case names that it is read back with."""
    return {name.lower(): value for name, value in metadata.items()}


def md5_digest(body: bytes) -> bytes:
    """MD5 of a body: a checksum against accidents."""
    return hashlib.md5(body, usedforsecurity=False).digest()


def content_md5(body: bytes) -> str:
    """Value of the Content-MD5 header."""
    return base64.b64encode(md5_digest(body)).decode("ascii")


def expected_upload_etag(parts: Sequence[Part]) -> str | None:
    """ETag of an object completed from `parts`; None where the parts' ETags are not MD5s."""
    try:
        digests = b"".join(bytes.fromhex(part.etag) for part in parts)
    except ValueError:
        return None
    return f"{md5_digest(digests).hex()}-{len(parts)}"
