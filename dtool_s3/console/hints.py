"""What to do next about an error: owns the hints of `dtool-s3`; pure.

A hint is by the error's class, unless what happened (the S3 code, the message of the library, the command)
says more. None contradicts what the message itself advises.
"""

from dataclasses import dataclass

from dtool_s3 import errors
from dtool_s3.console.exit_code import ExitCode, exit_code

#: Failures to connect, by the names that botocore gives them: the same again seldom helps.
_NO_CONNECTION = frozenset(
    {"ConnectTimeoutError", "EndpointConnectionError", "ProxyConnectionError", "SSLError"}
)
_CHECK_CONNECTION = (
    "check DTOOL_S3_ENDPOINT_<bucket>, or endpoint_url of the AWS configuration: host, port, http or https; "
    "for certificates of one's own DTOOL_S3_CA_BUNDLE_<bucket>; if all is right, the service is down: try "
    "again later"
)
#: How the freezing names keys that are no items.
_NO_ITEM = ("not in the manifest", "no item of dtool's")
_LISTING = "`dtool-s3 ls` shows what the bucket registers"

_BY_CLASS: tuple[tuple[type[Exception], str], ...] = (
    (errors.CredentialsRejected, "check the keys of this bucket; `dtool-s3 doctor` tells which are used"),
    (errors.AccessDenied, "the keys are known but may not do this: ask whoever owns the bucket's policy"),
    (errors.ClockSkewed, "set this machine's clock"),
    (errors.BucketNotFound, "check the bucket's name and its endpoint; `dtool-s3 doctor` tells what is used"),
    (errors.StoreFull, "free space or raise the quota, then call this again: what arrived is not lost"),
    (errors.ItemArchived, "restore the object from its archive first"),
    (errors.SettingsError, "see the configuration section of the library's documentation"),
    (errors.InvalidURI, "a dataset is s3://BUCKET/UUID, a bucket is s3://BUCKET"),
    (errors.SourceNotFrozen, "freeze the dataset first: `dtool-s3 freeze`"),
    (errors.SourceNotFound, _LISTING),
    (errors.DatasetMissing, _LISTING),
    (errors.UUIDTaken, "remove the dataset there first, or use it where it is"),
    (errors.ContentDiffers, "look at what is there"),
    (errors.WrittenWhileFreezing, "see that nobody else writes, then call this again"),
    (errors.FrozenDataset, "a frozen dataset does not change: make a new one, or remove this one"),
    (errors.SourceDamaged, "`dtool-s3 verify --method content` reads every byte of a dataset"),
    (errors.ItemMissing, "`dtool-s3 verify` names what is missing"),
)


@dataclass(frozen=True, slots=True)
class Asked:
    """What the user asked for, as far as hints depend on it."""

    command: str = ""
    source_uri: str = ""

    @property
    def is_upload(self) -> bool:
        """Whether the source is a directory, which `dtool` looks after and not `dtool-s3`."""
        return self.command == "cp" and not self.source_uri.startswith("s3://")


def hint(error: BaseException, asked: Asked | None = None) -> str:
    """Return what to do next, or `""`."""
    asked = asked or Asked()
    special = _of_what_happened(error, asked)
    if special is None and asked.is_upload:
        special = _of_a_directory(error, asked.source_uri)
    if special is not None:
        return special
    for kind, text in _BY_CLASS:
        if isinstance(error, kind):
            return text
    if exit_code(error) is ExitCode.TEMPORARY:
        return "try the same again: it goes on where it was"
    return ""


def _of_what_happened(error: BaseException, asked: Asked) -> str | None:
    said = str(error)
    match error:
        case errors.BucketUnreachable(code=code) if code in _NO_CONNECTION:
            return _CHECK_CONNECTION
        case errors.UnsafePath() if "directory markers" in said:
            return "`--skip-markers` leaves them out"
        case errors.ContentDiffers() if "frozen already, with" in said:
            return "the datasets differ although they have one UUID; nothing was written"
        case errors.ContentDiffers() if asked.command == "freeze" and any(text in said for text in _NO_ITEM):
            return "`dtool-s3 freeze --remove-extra` removes keys that dtool did not write"
        case errors.AccessDenied() | errors.NotFound() if "ACLs" in said:
            return ""  # the message says what to do instead
    return None


def _of_a_directory(error: BaseException, source_uri: str) -> str | None:
    match error:
        case errors.SourceDamaged() | errors.ItemMissing():
            return f"`dtool verify --full {source_uri}` tells which files differ from the manifest"
        case errors.SourceNotFound():
            return "check the path: it is the directory of the dataset itself"
        case errors.SourceNotFrozen():
            return f"freeze the dataset first: `dtool freeze {source_uri}`"
        case _:
            return None
