"""What the exit code of `dtool-s3` says: owns the codes, and which error leads to which."""

from enum import IntEnum

from dtool_s3 import errors


class UsageError(errors.DtoolS3Error):
    """The command line asks for what cannot be done so."""

    reason = "Usage"


class ExitCode(IntEnum):
    """The exit codes, as `dtool-s3 --help` documents them."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    DIFFERS = 3
    NOT_FOUND = 4
    DENIED = 5
    REFUSED = 6
    TEMPORARY = 75
    INTERRUPTED = 130
    TERMINATED = 143


MEANINGS = {
    ExitCode.DONE: "done",
    ExitCode.FAILED: "failed for another reason, which is named",
    ExitCode.USAGE: "the command line or the configuration cannot be right; nothing was done",
    ExitCode.DIFFERS: "the bytes or items are not what the manifest says",
    ExitCode.NOT_FOUND: "no such dataset, bucket or file",
    ExitCode.DENIED: "access denied, or the keys are not accepted",
    ExitCode.REFUSED: "refused, because it would harm what is there",
    ExitCode.TEMPORARY: "the service did not answer or was busy: try the same again",
    ExitCode.INTERRUPTED: "interrupted by Ctrl-C, after cleaning up",
    ExitCode.TERMINATED: "ended by SIGTERM, after cleaning up",
}

#: The first class that an error is an instance of decides.
_BY_CLASS: tuple[tuple[ExitCode, tuple[type[Exception], ...]], ...] = (
    (ExitCode.USAGE, (UsageError, errors.SettingsError, errors.InvalidURI)),
    (
        ExitCode.NOT_FOUND,
        (
            errors.NotFound,
            errors.BucketNotFound,
            errors.SourceNotFound,
            errors.DatasetMissing,
            FileNotFoundError,
        ),
    ),
    (ExitCode.DENIED, (errors.AccessDenied, errors.CredentialsRejected, PermissionError)),
    (ExitCode.DIFFERS, (errors.SourceDamaged, errors.ItemMissing)),
    (
        ExitCode.REFUSED,
        (
            errors.ContentDiffers,
            errors.FrozenDataset,
            errors.PreconditionFailed,
            errors.RegistrationHijacked,
            errors.SourceNotFrozen,
            errors.UUIDTaken,
            errors.WrittenWhileFreezing,
        ),
    ),
)


def exit_code(error: BaseException) -> ExitCode:
    """Return the exit code for an error of the library or of the operating system."""
    if isinstance(error, errors.DtoolS3Error) and error.retryable:
        return ExitCode.TEMPORARY
    for code, classes in _BY_CLASS:
        if isinstance(error, classes):
            return code
    return ExitCode.FAILED
