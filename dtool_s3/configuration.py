"""dtool's own variables for one bucket: environment first, then the JSON file; owns their rules and names.

Reads the environment and the configuration file, nothing else. Region, session token, CA bundle and profiles
come from the standard AWS chain. Source: the configuration section of dtool-s3's README, 0.5 to 0.14.
"""

import functools
import hashlib
import os
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from dtoolcore.utils import DEFAULT_CACHE_PATH, get_config_value

from dtool_s3.errors import SettingsError
from dtool_s3.layout import is_safe_prefix
from dtool_s3.settings import Credentials, CredentialsSource, Endpoint, Secret, ambient_credentials
from dtool_s3.store.protocol import Store

_STORES_KEPT = 32


@dataclass(frozen=True, slots=True)
class FixedCredentials:
    """A credentials source that always gives the same keys."""

    credentials: Credentials

    def __call__(self) -> Credentials:
        """Return the keys."""
        return self.credentials


@dataclass(frozen=True, slots=True)
class Configuration:
    """What dtool's variables say about one bucket.

    `prefix` is where new datasets go: `""`, or with a trailing slash. `prefix_variable` is the name of the
    variable it came from, for messages.
    """

    bucket: str
    endpoint: Endpoint
    credentials: CredentialsSource
    prefix: str
    prefix_variable: str
    cache_directory: Path

    def check_prefix(self) -> str:
        """Return the prefix if datasets may be created under it. Raises SettingsError."""
        if not is_safe_prefix(self.prefix):
            raise SettingsError(
                f"{self.prefix_variable}={self.prefix!r}: a prefix is made of whole segments such as "
                "'u/alice/', without empty, '.' or '..' segments; it starts neither with '/' nor with 'dtool'"
            )
        return self.prefix


def given_configuration(bucket: str, prefix: str = "", cache_directory: Path | None = None) -> Configuration:
    """Return a configuration that was given in Python, for a store that is given too; reads nothing."""
    return Configuration(
        bucket=bucket,
        endpoint=Endpoint(),
        credentials=ambient_credentials,
        prefix=prefix,
        prefix_variable="prefix",
        cache_directory=cache_directory or Path(DEFAULT_CACHE_PATH),
    )


def read_configuration(bucket: str, config_path: str | os.PathLike[str] | None = None) -> Configuration:
    """Read the configuration of `bucket`; `config_path` None is dtool's default file.

    Raises SettingsError (a RuntimeError) if endpoint and keys are given incompletely or empty, or if the
    file cannot be read as a JSON object.
    """
    endpoint, credentials = _endpoint_and_credentials(bucket, config_path)
    prefix_variable, prefix = _prefix(bucket, config_path)
    cache = _value("DTOOL_CACHE_DIRECTORY", config_path) or DEFAULT_CACHE_PATH
    return Configuration(
        bucket=bucket,
        endpoint=endpoint,
        credentials=credentials,
        prefix=prefix,
        prefix_variable=prefix_variable,
        cache_directory=Path(cache).expanduser(),
    )


def open_store(configuration: Configuration) -> Store:
    """Return the S3 store of a configuration; equal configurations share one, and so its connections."""
    ambient = sorted((name, value) for name, value in os.environ.items() if name.startswith("AWS_"))
    fingerprint = hashlib.sha256(repr(ambient).encode()).hexdigest()
    return _open_store(configuration.endpoint, configuration.bucket, configuration.credentials, fingerprint)


@functools.lru_cache(maxsize=_STORES_KEPT)
def _open_store(
    endpoint: Endpoint,
    bucket: str,
    credentials: CredentialsSource,
    environment: str,  # noqa: ARG001 - the AWS chain reads the environment when a client is made
) -> Store:
    from dtool_s3.store.s3 import S3Store  # noqa: PLC0415 - boto3 costs half a second, only if needed

    return S3Store(endpoint, bucket, credentials)


def check_installation() -> None:
    """Raise SettingsError if upstream's dtool-s3 is installed beside us: both own the package `dtool_s3`."""
    try:
        found = metadata.version("dtool-s3")
    except metadata.PackageNotFoundError:
        return
    raise SettingsError(
        f"dtool-s3 {found} and dtool-operator are installed together and overwrite each other's files: "
        "run `pip uninstall dtool-s3` and then `pip install --force-reinstall dtool-operator`"
    )


def _endpoint_and_credentials(
    bucket: str, config_path: str | os.PathLike[str] | None
) -> tuple[Endpoint, CredentialsSource]:
    names = [f"DTOOL_S3_{part}_{bucket}" for part in ("ENDPOINT", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY")]
    endpoint, access_key_id, secret_access_key = (_value(name, config_path) for name in names)
    if endpoint is None and access_key_id is None and secret_access_key is None:
        return Endpoint(), ambient_credentials
    if not endpoint or not access_key_id or not secret_access_key:
        given = (endpoint, access_key_id, secret_access_key)
        missing = [name for name, value in zip(names, given, strict=True) if not value]
        raise SettingsError(
            f"the endpoint of bucket {bucket!r} needs all of {', '.join(names)}; missing or empty: "
            f"{', '.join(missing)}"
        )
    keys = Credentials(access_key_id, Secret(secret_access_key))
    return Endpoint(url=endpoint), FixedCredentials(keys)


def _prefix(bucket: str, config_path: str | os.PathLike[str] | None) -> tuple[str, str]:
    """Name of the deciding variable and its value with a trailing slash; the bucket's own one wins."""
    general = "DTOOL_S3_DATASET_PREFIX"
    for name in (f"{general}_{bucket}", general):
        value = _value(name, config_path)
        if value is not None:
            return name, value if value == "" or value.endswith("/") else f"{value}/"
    return general, ""


def _value(name: str, config_path: str | os.PathLike[str] | None) -> str | None:
    try:
        value = get_config_value(name, config_path)
    except (OSError, ValueError, TypeError) as error:
        raise SettingsError(f"dtool's configuration file cannot be read: {error}") from error
    if value is not None and not isinstance(value, str):
        raise SettingsError(f"{name} in dtool's configuration file is not a text")
    return value
