"""What the doctor found, as a value; pure."""

from dataclasses import dataclass
from enum import StrEnum

from dtool_s3.errors import (
    AccessDenied,
    BucketNotFound,
    BucketUnreachable,
    ClockSkewed,
    CredentialsRejected,
    DtoolS3Error,
    RequestRefused,
    SettingsError,
)

_CHECK_ENDPOINT = "check DTOOL_S3_ENDPOINT_<bucket>, or endpoint_url in ~/.aws/config"
_ADVICE: dict[type[DtoolS3Error], str] = {
    AccessDenied: "give these keys the rights that datasets need: `Prefixes and access` in the documentation",
    BucketNotFound: "check the bucket's name and DTOOL_S3_ENDPOINT_<bucket>",
    BucketUnreachable: _CHECK_ENDPOINT,
    RequestRefused: _CHECK_ENDPOINT,
    ClockSkewed: "set this machine's clock",
    CredentialsRejected: "check the keys, and whether they belong to this endpoint",
    SettingsError: "correct the variable that is named",
}


class Status(StrEnum):
    """How a question was answered."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One question and its answer; `advice` says what to do, `error` is what was raised."""

    name: str
    status: Status
    message: str
    advice: str = ""
    error: DtoolS3Error | None = None


def failed(name: str, error: DtoolS3Error, status: Status = Status.FAIL) -> Finding:
    """Build the finding of a question that ended with an error."""
    return Finding(name, status, f"{error.reason}: {error}", _ADVICE.get(type(error), ""), error)
