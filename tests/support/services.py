"""The services that the store's contract is tested on, and which cases each leaves out, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dtool_s3.settings import Credentials, Endpoint, Secret
from dtool_s3.store.memory import MemoryServer
from dtool_s3.store.protocol import UrlStore
from dtool_s3.store.s3 import S3Store
from tests.support.prefixed import PrefixedStore

if TYPE_CHECKING:
    from sandbox.seaweedfs import ObjectStore
    from tests.support.moto import MotoServer
    from tests.support.s3_place import S3Place

ADMIN, LIMITED, STRANGER, UNKNOWN = "admin", "alice", "instruments", "unknown"
#: The bucket that LIMITED may read, and write under `u/alice/` only; STRANGER may do nothing in it.
SHARED = "lab-data"

_ONE_IDENTITY = "it has one identity"
_DIFFERS = "servers differ in it, and the library does without"
#: Implementation -> test -> why it is not held to it.
LEFT_OUT: Mapping[str, Mapping[str, str]] = {
    "seaweedfs": {
        "test_a_copy_in_parts_has_the_etag_of_its_source": (
            "it keeps a copied part in several chunks, whose ETags make that of the part"
        ),
        "test_a_published_object_is_read_by_everybody_until_it_is_taken_back": (
            "it accepts the ACL, and refuses strangers all the same"
        ),
    },
    "moto": {
        "test_a_source_that_changed_is_not_copied": "its CopyObject does not look at copy-source-if-match",
        "test_unfinished_uploads_are_listed_and_can_be_given_up": "a part of a given-up upload: HTTP 500",
        "test_wrong_keys_are_told_from_missing_rights": "it takes any keys",
        "test_an_identity_without_rights_is_denied": "it takes any keys",
        "test_an_identity_limited_to_a_prefix_writes_nowhere_else": "it takes any keys",
        "test_the_parts_of_an_object_are_told": "it tells no parts",
        "test_a_part_with_another_md5_than_the_given_is_refused": "it does not look at Content-MD5",
        "test_a_part_of_a_source_that_changed_is_not_copied": (
            "its UploadPartCopy looks neither at copy-source-if-match nor at the end of the source"
        ),
        "test_a_signed_url_is_for_its_object_alone": "it checks no signature",
        "test_the_objects_that_may_be_removed_are_gone_when_another_may_not": "it takes any keys",
    },
    "named": {
        "test_the_parts_of_an_object_are_told": _DIFFERS,
        "test_a_copy_in_parts_has_the_etag_of_its_source": _DIFFERS,
        "test_a_published_object_is_read_by_everybody_until_it_is_taken_back": _DIFFERS,
        "test_removing_from_a_missing_bucket_says_so": "it needs to know a bucket that does not exist",
        "test_the_objects_that_may_be_removed_are_gone_when_another_may_not": _ONE_IDENTITY,
        "test_a_copy_goes_from_bucket_to_bucket": "it needs a second bucket",
        "test_a_missing_bucket_is_named": "it needs to know a bucket that does not exist",
        "test_wrong_keys_are_told_from_missing_rights": _ONE_IDENTITY,
        "test_an_identity_without_rights_is_denied": _ONE_IDENTITY,
        "test_an_identity_limited_to_a_prefix_writes_nowhere_else": _ONE_IDENTITY,
    },
}


@dataclass(frozen=True, slots=True)
class Service:
    """An implementation under test: a fresh bucket, and stores by (bucket, identity)."""

    name: str
    bucket: str
    open: Callable[[str, str], UrlStore]

    def as_admin(self, bucket: str | None = None) -> UrlStore:
        """Open a bucket, the fresh one unless another is named, with all rights."""
        return self.open(bucket or self.bucket, ADMIN)


def memory_service(bucket: str) -> Service:
    """A memory server with the sandbox's identities."""

    def allows(identity: str | None, operation: str, name: str, key: str) -> bool:
        if identity == STRANGER:
            return name != SHARED
        is_write = operation in {"put", "copy", "delete", "start_upload"}
        return identity != LIMITED or not is_write or key.startswith("u/alice/")

    server = MemoryServer(allows=allows)
    server.rejected_identities.add(UNKNOWN)
    server.create_bucket(bucket)
    server.create_bucket(SHARED)
    return Service("memory", bucket, server.store)


def seaweedfs_service(server: ObjectStore, bucket: str, opened: list[S3Store]) -> Service:
    """The sandbox's server with its identities; `opened` gets the stores, for closing."""

    def credentials(identity: str) -> Credentials:
        if identity == UNKNOWN:
            return Credentials("NOBODY", Secret("nothing"))
        keys = server.identity(identity)
        return Credentials(keys.access_key, Secret(keys.secret_key))

    def open_store(name: str, identity: str) -> UrlStore:
        opened.append(S3Store(Endpoint(server.endpoint), name, lambda: credentials(identity)))
        return opened[-1]

    server.create_bucket(bucket)
    server.create_bucket(SHARED)
    return Service("seaweedfs", bucket, open_store)


def moto_service(server: MotoServer, bucket: str, opened: list[S3Store]) -> Service:
    """A moto server, which takes any identity; `opened` gets the stores, for closing."""

    def open_store(name: str, _: str) -> UrlStore:
        opened.append(server.store(name))
        return opened[-1]

    server.create_bucket(bucket)
    server.create_bucket(SHARED)
    return Service("moto", bucket, open_store)


def named_service(place: S3Place) -> Service:
    """The S3 that the user named: a prefix of its bucket."""
    return Service("named", place.bucket, lambda *_: PrefixedStore(place.open_store(), place.prefix))
