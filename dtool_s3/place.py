"""From a URI to where it leads: configuration, store and layout of one dataset; one GET, nothing else.

The prefix is never part of a URI: the bucket's registration key holds it.
"""

from dataclasses import dataclass

from dtool_s3.configuration import Configuration, Configure, check_installation, open_store, with_slash
from dtool_s3.errors import InvalidURI
from dtool_s3.layout import DatasetLayout
from dtool_s3.registration import read_registration
from dtool_s3.store.protocol import Store
from dtool_s3.uri import BaseURI, parse_dataset_uri, parse_uri


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket and how it is configured."""

    configuration: Configuration
    store: Store


@dataclass(frozen=True, slots=True)
class Place:
    """Where a dataset is registered; `is_registered` False: where it would be created."""

    configuration: Configuration
    store: Store
    layout: DatasetLayout
    is_registered: bool


def open_bucket(base_uri: str, configure: Configure) -> Bucket:
    """Open the bucket of `s3://bucket`; no request is made. Raises InvalidURI, SettingsError."""
    uri = parse_uri(base_uri)
    if not isinstance(uri, BaseURI):
        raise InvalidURI(f"{base_uri!r} names a dataset where a bucket is meant: s3://{uri.bucket}")
    return _open(uri.bucket, configure)


def open_prefix(prefix_uri: str, configure: Configure) -> tuple[Bucket, str]:
    """Open the bucket of `s3://bucket/some/prefix/` and return it with the prefix; no request is made.

    A slash at the prefix's end is added; `s3://bucket` is everything in it. Raises InvalidURI.
    """
    scheme, separator, rest = prefix_uri.partition("://")
    bucket, _, prefix = rest.partition("/")
    if scheme != "s3" or not separator or prefix.startswith("/"):
        raise InvalidURI(f"{prefix_uri!r} is not of the form s3://bucket/some/prefix/")
    return _open(parse_uri(f"s3://{bucket}").bucket, configure), with_slash(prefix)


async def find_place(uri: str, configure: Configure) -> Place:
    """Find the dataset `s3://bucket/uuid` by its registration key, which need not exist.

    Raises InvalidURI, SettingsError, InvalidAdminMetadata for a key that holds no prefix, StorageError.
    """
    parsed = parse_dataset_uri(uri)
    bucket = _open(parsed.bucket, configure)
    registered = await read_registration(bucket.store, parsed.uuid)
    prefix = bucket.configuration.prefix if registered is None else registered
    layout = DatasetLayout(prefix, parsed.uuid)
    return Place(bucket.configuration, bucket.store, layout, is_registered=registered is not None)


def _open(name: str, configure: Configure) -> Bucket:
    check_installation()
    configuration = configure(name)
    return Bucket(configuration, open_store(configuration))
