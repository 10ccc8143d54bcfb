"""What one bucket is worked with: owns the names and rules of dtool's variables, and the sharing of stores.

A `Configuration` is made in Python, or read from dtool's own variables: the environment first, then the JSON
file. What they leave open comes from the standard AWS chain. Source: the configuration section of dtool-s3's
README, 0.5 to 0.14; the variables from REGION on are this library's own.
"""

import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from types import MappingProxyType

import dtoolcore.utils

from dtool_s3.errors import SettingsError
from dtool_s3.layout import is_safe_prefix
from dtool_s3.settings import (
    Addressing,
    ConditionalWrites,
    Credentials,
    CredentialsSource,
    Encryption,
    EncryptionMode,
    Endpoint,
    Secret,
    ambient_credentials,
)
from dtool_s3.store.protocol import Store
from dtool_s3.variable import Variables, check_endpoint_url

_STORES_KEPT = 32
_NO_ORIGINS: Mapping[str, str] = MappingProxyType({})
_DTOOL_PREFIX = "DTOOL_S3_DATASET_PREFIX"


def default_cache_directory() -> Path:
    """Return where dtool keeps fetched items unless told otherwise."""
    return Path(dtoolcore.utils.DEFAULT_CACHE_PATH)


def with_slash(prefix: str) -> str:
    """Return a prefix as datasets need it: `""`, or with a slash at its end."""
    return prefix if prefix == "" or prefix.endswith("/") else f"{prefix}/"


@dataclass(frozen=True, slots=True)
class Configuration:
    """How one bucket is reached, and how datasets are put into it; made without reading anything.

    `credentials`: keys, or a function that gives them as they are now; left out, the AWS chain of this
    process. `prefix`: where new datasets go, `""` or with a trailing slash, which is added. `store`: one that
    is open already, used in place of endpoint and credentials. `publish_expiry_seconds`: how long the URLs
    of published datasets are valid; None: they are public. `origins`: where each variable was found.
    """

    bucket: str
    endpoint: Endpoint = field(default_factory=Endpoint)
    credentials: CredentialsSource = ambient_credentials
    prefix: str = ""
    prefix_variable: str = "prefix"
    cache_directory: Path = field(default_factory=default_cache_directory)
    publish_expiry_seconds: int | None = None
    store: Store | None = field(default=None, repr=False)
    origins: Mapping[str, str] = field(default_factory=lambda: _NO_ORIGINS, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "prefix", with_slash(self.prefix))

    def check_prefix(self) -> str:
        """Return the prefix if datasets may be created under it. Raises SettingsError."""
        if not is_safe_prefix(self.prefix):
            raise SettingsError(
                f"{self.prefix_variable}={self.prefix!r}: a prefix is made of whole segments such as "
                "'u/alice/', without empty, '.' or '..' segments; it starts neither with '/' nor with 'dtool'"
            )
        return self.prefix


#: Gives the configuration of a bucket by its name.
Configure = Callable[[str], Configuration]


def read_configuration(bucket: str, config_path: str | os.PathLike[str] | None = None) -> Configuration:
    """Read the configuration of `bucket`; `config_path` None is dtool's default file.

    Raises SettingsError (a RuntimeError) that names the variable: endpoint and keys given incompletely or
    empty, values that cannot be, variables that contradict each other, a file that is no JSON object.
    """
    variables = Variables(config_path)
    url, keys = _endpoint_and_keys(variables, bucket)
    prefix_variable, prefix = _prefix(variables, bucket)
    cache = variables.text("DTOOL_CACHE_DIRECTORY")
    return Configuration(
        bucket=bucket,
        endpoint=Endpoint(
            url=url,
            region=variables.region(f"DTOOL_S3_REGION_{bucket}"),
            addressing=variables.choice(f"DTOOL_S3_ADDRESSING_{bucket}", Addressing) or Addressing.AUTO,
            ca_bundle=variables.file(f"DTOOL_S3_CA_BUNDLE_{bucket}"),
            conditional_writes=variables.choice(f"DTOOL_S3_CONDITIONAL_WRITES_{bucket}", ConditionalWrites)
            or ConditionalWrites.REQUIRED,
            profile=_profile(variables, bucket, has_keys=keys is not None),
            encryption=_encryption(variables, bucket),
        ),
        credentials=keys or ambient_credentials,
        prefix=prefix,
        prefix_variable=prefix_variable,
        cache_directory=Path(cache).expanduser() if cache else default_cache_directory(),
        publish_expiry_seconds=variables.seconds("DTOOL_S3_PUBLISH_EXPIRY"),
        origins=MappingProxyType(variables.origins),
    )


def _endpoint_and_keys(variables: Variables, bucket: str) -> tuple[str | None, Credentials | None]:
    """Endpoint and keys come together or not at all; a session token only with them."""
    names = [f"DTOOL_S3_{part}_{bucket}" for part in ("ENDPOINT", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY")]
    given = url, access_key_id, secret_access_key = [variables.find(name) for name in names]
    token_name = f"DTOOL_S3_SESSION_TOKEN_{bucket}"
    token = variables.text(token_name)
    if given == [None, None, None]:
        if token is not None:
            raise SettingsError(f"{token_name} is given without {', '.join(names)}, which it belongs to")
        return None, None
    if not url or not access_key_id or not secret_access_key:
        missing = [name for name, value in zip(names, given, strict=True) if not value]
        raise SettingsError(
            f"the endpoint of bucket {bucket!r} needs all of {', '.join(names)}; missing or empty: "
            f"{', '.join(missing)}"
        )
    check_endpoint_url(names[0], url)
    keys = Credentials(access_key_id, Secret(secret_access_key), Secret(token) if token else None)
    return url, keys


def _profile(variables: Variables, bucket: str, *, has_keys: bool) -> str | None:
    name = f"DTOOL_S3_PROFILE_{bucket}"
    profile = variables.text(name)
    if profile is not None and has_keys:
        raise SettingsError(
            f"{name} and DTOOL_S3_ACCESS_KEY_ID_{bucket} contradict each other: a profile brings its keys"
        )
    return profile


def _encryption(variables: Variables, bucket: str) -> Encryption | None:
    mode_name, key_name = f"DTOOL_S3_ENCRYPTION_{bucket}", f"DTOOL_S3_KMS_KEY_ID_{bucket}"
    mode = variables.choice(mode_name, EncryptionMode)
    key = variables.text(key_name)
    if key is not None and mode is not EncryptionMode.SSE_KMS:
        raise SettingsError(f"{key_name} needs {mode_name}={EncryptionMode.SSE_KMS.value}")
    return None if mode is None else Encryption(mode, key)


def _prefix(variables: Variables, bucket: str) -> tuple[str, str]:
    """Name of the deciding variable and its value; the bucket's own one wins, an empty one too."""
    for name in (f"{_DTOOL_PREFIX}_{bucket}", _DTOOL_PREFIX):
        value = variables.find(name)
        if value is not None:
            return name, value
    return _DTOOL_PREFIX, ""


_shared: OrderedDict[tuple[object, ...], Store] = OrderedDict()
_sharing = threading.Lock()


def open_store(configuration: Configuration) -> Store:
    """Return the store of a configuration; equal configurations share one, and so its connections.

    A store that was given in Python is returned as it is. No request is made here.
    """
    if configuration.store is not None:
        return configuration.store
    # the AWS chain reads the environment when a client is made
    ambient = sorted((name, value) for name, value in os.environ.items() if name.startswith("AWS_"))
    fingerprint = hashlib.sha256(repr(ambient).encode()).hexdigest()
    key = (configuration.endpoint, configuration.bucket, configuration.credentials, fingerprint)
    with _sharing:
        if key not in _shared:
            _shared[key] = _open_s3_store(configuration)
        _shared.move_to_end(key)
        if len(_shared) > _STORES_KEPT:
            _shared.popitem(last=False)  # others may still use it: it ends with its last user
        return _shared[key]


def _open_s3_store(configuration: Configuration) -> Store:
    from dtool_s3.store.s3 import S3Store  # noqa: PLC0415 - its clients cost half a second, only if needed

    return S3Store(configuration.endpoint, configuration.bucket, configuration.credentials)


def close_stores() -> None:
    """Close the stores that `open_store` shares, and their connections; blocks until requests have ended.

    For programs that are done with S3 but go on; a store that is asked for later is opened anew.
    """
    with _sharing:
        stores = list(_shared.values())
        _shared.clear()
    for store in stores:
        close = getattr(store, "close", None)
        if close is not None:
            close()


def _forget_after_fork() -> None:
    """Give the child a lock of its own: the parent's may be held by a thread that does not exist here."""
    global _sharing  # noqa: PLW0603 - one lock per process
    _sharing = threading.Lock()


os.register_at_fork(after_in_child=_forget_after_fork)


def check_installation() -> None:
    """Raise SettingsError if upstream's dtool-s3 is installed beside us: both own the package `dtool_s3`."""
    try:
        found = metadata.version("dtool-s3")
    except metadata.PackageNotFoundError:
        return
    raise SettingsError(
        f"dtool-s3 {found} and dtool-operator are installed together and overwrite each other's files: "
        "run `pip uninstall dtool-s3`, then install dtool-operator again from where it came, with "
        "`pip install --force-reinstall --no-deps`"
    )
