"""How S3's answers are named, and that the tree keeps its promises."""

import inspect
import re

import pytest

from dtool_s3 import errors
from dtool_s3.errors import (
    AccessDenied,
    BadDigest,
    BucketNotFound,
    BucketUnreachable,
    ClockSkewed,
    CredentialsRejected,
    DtoolS3Error,
    InvalidURI,
    ItemArchived,
    NotFound,
    NotSupported,
    PreconditionFailed,
    RequestRefused,
    SettingsError,
    StorageError,
    StoreFull,
    Throttled,
    storage_error,
)


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("NoSuchKey", 404, NotFound),
        ("404", 404, NotFound),
        ("NoSuchUpload", 404, NotFound),
        ("NoSuchBucket", 404, BucketNotFound),
        ("AccessDenied", 403, AccessDenied),
        ("403", 403, AccessDenied),
        ("AnythingElse", 403, AccessDenied),
        ("InvalidAccessKeyId", 403, CredentialsRejected),
        ("SignatureDoesNotMatch", 403, CredentialsRejected),
        ("ExpiredToken", 400, CredentialsRejected),
        ("401", 401, CredentialsRejected),
        ("RequestTimeTooSkewed", 403, ClockSkewed),
        ("PreconditionFailed", 412, PreconditionFailed),
        ("ConditionalRequestConflict", 409, PreconditionFailed),
        ("InvalidObjectState", 403, ItemArchived),
        ("QuotaExceeded", 403, StoreFull),
        ("", 507, StoreFull),
        ("BadDigest", 400, BadDigest),
        ("IncompleteBody", 400, BadDigest),
        ("SlowDown", 503, Throttled),
        ("TooManyRequests", 429, Throttled),
        ("", 429, Throttled),
        ("NotImplemented", 501, NotSupported),
        ("OperationAborted", 409, BucketUnreachable),
        ("RequestTimeout", 400, BucketUnreachable),
        ("InternalError", 500, BucketUnreachable),
        ("", 502, BucketUnreachable),
        ("", 0, BucketUnreachable),
        ("KeyTooLongError", 400, RequestRefused),
        ("InvalidRange", 416, RequestRefused),
        ("PermanentRedirect", 301, RequestRefused),
    ],
)
def test_an_answer_of_s3_gets_its_name(code: str, status: int, expected: type[StorageError]) -> None:
    error = storage_error(code, status, "what happened")

    assert type(error) is expected
    assert error.code == (code or str(status))
    assert str(error) == "what happened"


def test_only_failures_that_may_pass_are_retryable() -> None:
    retryable = {name for name, kind in _tree().items() if kind.retryable}

    assert retryable == {"BadDigest", "Throttled", "BucketUnreachable", "VolumeFull", "VolumeUnavailable"}


def test_every_error_has_a_reason_in_camel_case() -> None:
    for kind in _tree().values():
        assert kind.reason.isalnum(), kind
        assert kind.reason[0].isupper(), kind


def test_the_picture_of_the_tree_shows_every_error() -> None:
    shown = set(re.findall(r"── (\w+)", errors.__doc__ or ""))

    assert shown == set(_tree()) - {"DtoolS3Error"}


def test_errors_of_settings_and_uris_are_also_what_upstream_raises() -> None:
    assert issubclass(SettingsError, RuntimeError)
    assert issubclass(InvalidURI, ValueError)


def _tree() -> dict[str, type[DtoolS3Error]]:
    kinds = inspect.getmembers(errors, inspect.isclass)
    return {name: kind for name, kind in kinds if issubclass(kind, DtoolS3Error)}
