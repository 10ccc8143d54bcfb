"""Which error leads to which exit code: every class of the library has one that says something."""

from collections.abc import Iterator

import pytest

from dtool_s3 import errors
from dtool_s3.console.exit_code import ExitCode, exit_code
from dtool_s3.console.hints import hint


def _classes(root: type[errors.DtoolS3Error]) -> Iterator[type[errors.DtoolS3Error]]:
    for kind in root.__subclasses__():
        if kind.__module__ == errors.__name__:
            yield kind
            yield from _classes(kind)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.SettingsError("x"), ExitCode.USAGE),
        (errors.InvalidURI("x"), ExitCode.USAGE),
        (errors.DatasetMissing("x"), ExitCode.NOT_FOUND),
        (errors.BucketNotFound("x"), ExitCode.NOT_FOUND),
        (FileNotFoundError("x"), ExitCode.NOT_FOUND),
        (errors.AccessDenied("x"), ExitCode.DENIED),
        (errors.CredentialsRejected("x"), ExitCode.DENIED),
        (errors.SourceDamaged("x"), ExitCode.DIFFERS),
        (errors.FrozenDataset("x"), ExitCode.REFUSED),
        (errors.UUIDTaken("x"), ExitCode.REFUSED),
        (errors.ContentDiffers("x"), ExitCode.REFUSED),
        (errors.Throttled("x"), ExitCode.TEMPORARY),
        (errors.BucketUnreachable("x"), ExitCode.TEMPORARY),
        (errors.StoreFull("x"), ExitCode.FAILED),
        (ValueError("x"), ExitCode.FAILED),
    ],
)
def test_an_error_has_its_exit_code(error: Exception, code: ExitCode) -> None:
    assert exit_code(error) is code


@pytest.mark.parametrize("kind", list(_classes(errors.DtoolS3Error)), ids=lambda kind: kind.__name__)
def test_what_may_be_tried_again_says_so(kind: type[errors.DtoolS3Error]) -> None:
    error = kind("x")

    assert (exit_code(error) is ExitCode.TEMPORARY) == kind.retryable
    assert not kind.retryable or "again" in hint(error)
