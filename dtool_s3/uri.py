"""The two URI forms of the s3 scheme: `s3://bucket/uuid` and the base `s3://bucket`; pure text, no I/O."""

import re
from dataclasses import dataclass

from dtool_s3.errors import InvalidURI

UUID_PATTERN = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_BUCKET_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")


def is_uuid(text: str) -> bool:
    """Tell whether `text` is a UUID in the lower-case form that dtool writes."""
    return UUID_PATTERN.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class BaseURI:
    """`s3://bucket`: where datasets are."""

    bucket: str

    def __str__(self) -> str:
        return f"s3://{self.bucket}"


@dataclass(frozen=True, slots=True)
class DatasetURI:
    """`s3://bucket/uuid`: one dataset; the prefix is in the bucket's registration key."""

    bucket: str
    uuid: str

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.uuid}"


def parse_uri(text: str) -> BaseURI | DatasetURI:
    """Parse an s3 URI; a trailing slash is tolerated. Raises InvalidURI."""
    scheme, separator, rest = text.partition("://")
    if scheme != "s3" or not separator:
        raise InvalidURI(f"{text!r} is not an s3:// URI")
    bucket, _, path = rest.partition("/")
    if not _BUCKET_PATTERN.fullmatch(bucket):
        raise InvalidURI(f"{text!r} names no valid bucket")
    path = path.strip("/")
    if not path:
        return BaseURI(bucket)
    if not is_uuid(path):
        raise InvalidURI(f"{text!r}: {path!r} is not a dataset UUID (the prefix is never part of the URI)")
    return DatasetURI(bucket, path)


def parse_dataset_uri(text: str) -> DatasetURI:
    """Parse `s3://bucket/uuid`. Raises InvalidURI."""
    uri = parse_uri(text)
    if isinstance(uri, BaseURI):
        raise InvalidURI(f"{text!r} names a bucket, not a dataset: append /<uuid>")
    return uri
