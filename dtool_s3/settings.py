"""Where a bucket is and with which keys: values that may be given in Python without any environment.

Owns the redaction of secrets. Performs no I/O; `dtool_s3.configuration` reads dtool's own variables.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class Addressing(StrEnum):
    """How the bucket is put into the URL."""

    AUTO = "Auto"
    PATH = "Path"
    VIRTUAL = "Virtual"


class ConditionalWrites(StrEnum):
    """Whether the store's If-None-Match and If-Match are relied on."""

    REQUIRED = "Required"
    BEST_EFFORT = "BestEffort"


class EncryptionMode(StrEnum):
    """Which keys the server encrypts with; the values are those of the API's `encryption.mode`."""

    SSE_S3 = "SSE-S3"
    SSE_KMS = "SSE-KMS"


class Secret:
    """A text that cannot be printed, formatted, compared by accident or pickled; `reveal()` gives it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the secret text; for the signing client and the worker's credentials file only."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(***)"

    def __str__(self) -> str:
        return "***"

    def __format__(self, spec: str) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other.reveal() == self._text

    def __hash__(self) -> int:
        return hash(("Secret", self._text))

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a Secret is not pickled")


@dataclass(frozen=True, slots=True)
class Credentials:
    """Access keys of one S3 identity; called, they give themselves, as a source that never changes."""

    access_key_id: str
    secret_access_key: Secret
    session_token: Secret | None = None

    def __call__(self) -> "Credentials":
        """Return these keys."""
        return self


#: Gives the credentials as they are now; None: the ambient chain (environment, profile, web identity…).
CredentialsSource = Callable[[], Credentials | None]


def ambient_credentials() -> Credentials | None:
    """Leave the choice of credentials to the AWS chain of this process."""
    return None


@dataclass(frozen=True, slots=True)
class Encryption:
    """Server-side encryption of every write: SSE-S3, or SSE-KMS with a key (None: the bucket's default)."""

    mode: EncryptionMode
    kms_key_id: str | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An S3 service and how it is spoken to; `url` None is AWS.

    `profile` names a section of the AWS configuration files that gives what is left open here, keys too.
    """

    url: str | None = None
    region: str | None = None
    addressing: Addressing = Addressing.AUTO
    ca_bundle: str | None = None
    conditional_writes: ConditionalWrites = ConditionalWrites.REQUIRED
    profile: str | None = None
    encryption: Encryption | None = None
