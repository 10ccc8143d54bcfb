"""Values out of the S3 client's answers, and request parameters out of values; pure."""

import base64
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from dtool_s3.digest import md5_digest, multipart_etag
from dtool_s3.errors import BucketUnreachable
from dtool_s3.settings import Encryption, EncryptionMode
from dtool_s3.store.protocol import Body, ListedObject, ObjectInfo, Part, Precondition

Answer = Mapping[str, Any]


def parse_etag(answer: Answer) -> str:
    """ETag without its quotes."""
    return str(answer["ETag"]).strip('"')


def parse_copied_etag(answer: Answer, result: str, what: str) -> str:
    """ETag in the body of a copy's answer. Raises BucketUnreachable where a 200 says nothing of a copy."""
    told = answer.get(result, {})
    if "ETag" not in told:
        raise BucketUnreachable(f"{what}: the answer does not tell of a copy", code="MalformedAnswer")
    return parse_etag(told)


def parse_total_bytes(answer: Answer) -> int | None:
    """Size of the whole object in the answer about a part of it; None where it does not say."""
    _, _, total = answer.get("ContentRange", "").rpartition("/")
    return int(total) if total.isdecimal() else None


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


def encryption_parameters(encryption: Encryption | None) -> dict[str, str]:
    """Parameters that make the server encrypt what is written: of PUT, copy and the start of an upload."""
    if encryption is None:
        return {}
    match encryption.mode:
        case EncryptionMode.SSE_S3:
            return {"ServerSideEncryption": "AES256"}
        case EncryptionMode.SSE_KMS:
            key = {} if encryption.kms_key_id is None else {"SSEKMSKeyId": encryption.kms_key_id}
            return {"ServerSideEncryption": "aws:kms", **key}


def lowered(metadata: Mapping[str, str]) -> dict[str, str]:
    """User metadata with the lower-case names that it is read back with."""
    return {name.lower(): value for name, value in metadata.items()}


def content_md5(body: Body) -> str:
    """Value of the Content-MD5 header."""
    return encoded_md5(md5_digest(body))


def encoded_md5(digest: bytes) -> str:
    """Value of the Content-MD5 header for a digest that is known."""
    return base64.b64encode(digest).decode("ascii")


def expected_upload_etag(parts: Sequence[Part]) -> str | None:
    """ETag of an object completed from `parts`; None where the parts' ETags are not MD5s."""
    try:
        digests = [bytes.fromhex(part.etag) for part in parts]
    except ValueError:
        return None
    return multipart_etag(digests)
