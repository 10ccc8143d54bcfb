"""The library's error tree; owns how a failure is named and whether trying again can help.

Errors are translated once, at the store. `reason` is a CamelCase fact that programs may show or match.

    DtoolS3Error
    ├── StorageError                 the object store refused or did not answer; carries the S3 code
    │   ├── NotFound                 the key does not exist
    │   ├── BucketNotFound
    │   ├── AccessDenied
    │   ├── CredentialsRejected      key id, signature or session token refused
    │   ├── ClockSkewed
    │   ├── PreconditionFailed       If-None-Match or If-Match did not hold
    │   ├── ItemArchived             the storage class needs a restore first
    │   ├── StoreFull                the server's own quota or disk
    │   ├── BadDigest                bytes changed on the way        (retryable)
    │   ├── Throttled                                                (retryable)
    │   ├── BucketUnreachable        no or a broken answer, 5xx      (retryable)
    │   ├── NotSupported             the store, or this version, cannot do it
    │   └── RequestRefused           any other 4xx
    ├── VolumeError                  the file system under a directory refused or did not answer
    │   ├── VolumeFull               no room, or no quota, left                    (retryable)
    │   └── VolumeUnavailable        gone, broken, read-only or not ours to use    (retryable)
    └── DatasetError                 what lies in the store is not what it should be
        ├── SettingsError            configuration is incomplete or contradicts itself
        ├── InvalidURI
        ├── SourceNotFound           no dataset at the source
        ├── SourceNotFrozen          a proto dataset, still being written
        ├── DatasetMissing           no dataset at the place
        ├── InvalidAdminMetadata     header, body and key disagree, or fields are missing
        ├── InvalidOwnerMarker       the marker of a prefix cannot be understood: somebody else's
        ├── InvalidManifest
        ├── UnsafePath               a relpath that leaves the dataset, or cannot be written
        ├── UUIDTaken                the registration key names another prefix
        ├── RegistrationHijacked     the registration key changed under a dataset of ours
        ├── ContentDiffers           the target holds something else
        ├── SourceDamaged            an item of the source differs from its manifest
        ├── ItemMissing              an item of a manifest is not in the store
        ├── WrittenWhileFreezing     somebody wrote between the look and the flip
        ├── QuotaExceeded            the source is larger than the caller allows
        ├── SourceTooLarge           the source has more items than a manifest can name
        └── FrozenDataset            a write that would change what is frozen
"""

from typing import ClassVar


class DtoolS3Error(Exception):
    """Root of the library's errors."""

    reason: ClassVar[str] = "Failed"
    retryable: ClassVar[bool] = False


class StorageError(DtoolS3Error):
    """The object store refused a request or did not answer it.

    `code` is the S3 error code (or the HTTP status as text); response bodies are never kept.
    """

    def __init__(self, message: str, *, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class NotFound(StorageError):
    """The key does not exist."""

    reason = "NotFound"


class BucketNotFound(StorageError):
    """The bucket does not exist."""

    reason = "BucketNotFound"


class AccessDenied(StorageError):
    """The credentials are known, the request is not allowed."""

    reason = "AccessDenied"


class CredentialsRejected(StorageError):
    """The access key, its signature or the session token is refused."""

    reason = "CredentialsRejected"


class ClockSkewed(StorageError):
    """This machine's clock and the server's differ too much to sign requests."""

    reason = "ClockSkewed"


class PreconditionFailed(StorageError):
    """If-None-Match or If-Match did not hold: somebody else was first."""

    reason = "PreconditionFailed"


class ItemArchived(StorageError):
    """The object lies in an archive storage class and must be restored first."""

    reason = "ItemArchived"


class StoreFull(StorageError):
    """The server has no room left: its disk, or a quota of the bucket."""

    reason = "QuotaExceeded"


class BadDigest(StorageError):
    """The bytes that arrived are not the bytes that were sent."""

    reason = "BucketUnreachable"
    retryable = True


class Throttled(StorageError):
    """The server asks for fewer requests."""

    reason = "Throttled"
    retryable = True


class BucketUnreachable(StorageError):
    """No answer, a broken answer, or a server error."""

    reason = "BucketUnreachable"
    retryable = True


class NotSupported(StorageError):
    """The store, or this version of the library, cannot do what was asked."""

    reason = "NotSupported"


class RequestRefused(StorageError):
    """The server refused the request for a reason of its own; see `code`."""

    reason = "BucketUnreachable"


class VolumeError(DtoolS3Error):
    """The file system under a directory refused a call or did not answer it."""


class VolumeFull(VolumeError):
    """The file system, or a quota on it, has no room left."""

    reason = "VolumeFull"
    retryable = True


class VolumeUnavailable(VolumeError):
    """The file system is gone, broken, read-only, or does not let this user in."""

    reason = "VolumeUnavailable"
    retryable = True


class DatasetError(DtoolS3Error):
    """What lies in the store, or what was asked of it, is not what it should be."""


class SettingsError(DatasetError, RuntimeError):
    """Configuration is incomplete or contradicts itself (RuntimeError, as upstream raises)."""

    reason = "InvalidSpec"


class InvalidURI(DatasetError, ValueError):
    """Not an s3 dataset URI or base URI."""

    reason = "InvalidSpec"


class SourceNotFound(DatasetError):
    """There is no dataset at the source."""

    reason = "SourceNotFound"


class SourceNotFrozen(DatasetError):
    """The source is a proto dataset: it may still change."""

    reason = "SourceNotFrozen"


class DatasetMissing(DatasetError):
    """There is no dataset at the place."""

    reason = "DatasetMissing"


class InvalidAdminMetadata(DatasetError):
    """Header, body and key of the administrative metadata disagree, or fields are missing."""

    reason = "InvalidAdminMetadata"


class InvalidOwnerMarker(DatasetError):
    """The owner marker of a prefix cannot be understood; the prefix counts as somebody else's."""

    reason = "PrefixOwnedByOther"


class InvalidManifest(DatasetError):
    """The manifest cannot be parsed, is too large, or contradicts itself."""

    reason = "InvalidManifest"


class UnsafePath(DatasetError):
    """A relpath leaves the dataset's directory or cannot be written."""

    reason = "UnsafePath"


class UUIDTaken(DatasetError):
    """The registration key of this UUID names another prefix."""

    reason = "UUIDTaken"


class RegistrationHijacked(DatasetError):
    """The registration key of a dataset of ours now names another prefix, or is gone."""

    reason = "RegistrationHijacked"


class ContentDiffers(DatasetError):
    """The target holds something that is not the dataset."""

    reason = "ContentDiffers"


class SourceDamaged(DatasetError):
    """An item of the source is not what the source's manifest says."""

    reason = "SourceDamaged"


class ItemMissing(DatasetError):
    """An item that a manifest names is not in the store."""

    reason = "ItemMissing"


class WrittenWhileFreezing(DatasetError):
    """Somebody wrote between the look and the flip."""

    reason = "WrittenWhileFreezing"


class QuotaExceeded(DatasetError):
    """The source is larger than the caller allows; nothing was written."""

    reason = "QuotaExceeded"


class SourceTooLarge(DatasetError):
    """The source has more items than the caller allows or a manifest can name; nothing was written."""

    reason = "SourceTooLarge"


class FrozenDataset(DatasetError):
    """A write that would change a frozen dataset is refused."""

    reason = "FrozenDataset"


_BY_CODE: dict[str, type[StorageError]] = {
    "404": NotFound,
    "NoSuchKey": NotFound,
    "NotFound": NotFound,
    "NoSuchVersion": NotFound,
    "NoSuchUpload": NotFound,
    "NoSuchBucket": BucketNotFound,
    "403": AccessDenied,
    "AccessDenied": AccessDenied,
    "AllAccessDisabled": AccessDenied,
    "AccountProblem": AccessDenied,
    "401": CredentialsRejected,
    "InvalidAccessKeyId": CredentialsRejected,
    "SignatureDoesNotMatch": CredentialsRejected,
    "ExpiredToken": CredentialsRejected,
    "InvalidToken": CredentialsRejected,
    "TokenRefreshRequired": CredentialsRejected,
    "AuthorizationHeaderMalformed": CredentialsRejected,
    "RequestTimeTooSkewed": ClockSkewed,
    "412": PreconditionFailed,
    "PreconditionFailed": PreconditionFailed,
    "409": PreconditionFailed,
    "ConditionalRequestConflict": PreconditionFailed,
    "InvalidObjectState": ItemArchived,
    "507": StoreFull,
    "QuotaExceeded": StoreFull,
    "XMinioStorageFull": StoreFull,
    "XMinioAdminBucketQuotaExceeded": StoreFull,
    "BadDigest": BadDigest,
    "InvalidDigest": BadDigest,
    "XAmzContentSHA256Mismatch": BadDigest,
    "XAmzContentChecksumMismatch": BadDigest,
    "IncompleteBody": BadDigest,
    "429": Throttled,
    "SlowDown": Throttled,
    "TooManyRequests": Throttled,
    "RequestLimitExceeded": Throttled,
    "Throttling": Throttled,
    "501": NotSupported,
    "NotImplemented": NotSupported,
    "OperationAborted": BucketUnreachable,
    "RequestTimeout": BucketUnreachable,
    "InternalError": BucketUnreachable,
    "ServiceUnavailable": BucketUnreachable,
}


def storage_error(code: str, status: int, message: str) -> StorageError:
    """Build the error for an S3 `code` and HTTP `status` (0: none came).

    The S3 code decides; an unknown code falls back to the status: 5xx are retryable, other 4xx are refusals.
    Source: the S3 "List of error codes".
    """
    found = _BY_CODE.get(code) or _BY_CODE.get(str(status))
    if found is None:
        found = BucketUnreachable if status >= 500 or status == 0 else RequestRefused
    return found(message, code=code or str(status))
