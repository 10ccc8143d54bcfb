"""What the exit code of `dtool-s3` says: owns the codes, which error leads to which, and what to do next."""

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

_HINTS: tuple[tuple[type[Exception], str], ...] = (
    (errors.CredentialsRejected, "check the keys of this bucket; `dtool-s3 doctor` tells which are used"),
    (errors.AccessDenied, "the keys are known but may not do this: ask whoever owns the bucket's policy"),
    (errors.ClockSkewed, "set this machine's clock"),
    (errors.BucketNotFound, "check the bucket's name and its endpoint; `dtool-s3 doctor` tells what is used"),
    (errors.StoreFull, "free space or raise the quota, then call this again: what arrived is not lost"),
    (errors.ItemArchived, "restore the object from its archive first"),
    (errors.SettingsError, "see the configuration section of the library's documentation"),
    (errors.InvalidURI, "a dataset is s3://BUCKET/UUID, a bucket is s3://BUCKET"),
    (errors.SourceNotFrozen, "freeze the dataset first"),
    (errors.SourceNotFound, "`dtool-s3 ls` shows what the bucket registers"),
    (errors.DatasetMissing, "`dtool-s3 ls` shows what the bucket registers"),
    (errors.UUIDTaken, "remove the dataset there first, or use it where it is"),
    (errors.ContentDiffers, "look at what is there; `dtool-s3 freeze --remove-extra` removes foreign keys"),
    (errors.WrittenWhileFreezing, "see that nobody else writes, then call this again"),
    (errors.FrozenDataset, "a frozen dataset does not change: make a new one, or remove this one"),
    (errors.SourceDamaged, "`dtool-s3 verify --method content` reads every byte of a dataset"),
    (errors.ItemMissing, "`dtool-s3 verify` names what is missing"),
)


def exit_code(error: BaseException) -> ExitCode:
    """Return the exit code for an error of the library or of the operating system."""
    if isinstance(error, errors.DtoolS3Error) and error.retryable:
        return ExitCode.TEMPORARY
    for code, classes in _BY_CLASS:
        if isinstance(error, classes):
            return code
    return ExitCode.FAILED


def hint(error: BaseException) -> str:
    """Return what to do next, or `""`."""
    for kind, text in _HINTS:
        if isinstance(error, kind):
            return text
    if exit_code(error) is ExitCode.TEMPORARY:
        return "try the same again: it goes on where it was"
    return ""
