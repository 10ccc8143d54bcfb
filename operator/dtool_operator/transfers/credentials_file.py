"""The file through which a worker gets its keys: owns its form, its mode and its atomic replacement.

In a Pod it may be a bucket's own Secret instead, mounted as a directory with a file for each value. Nothing
else carries keys to a worker: not argv, not the environment, not the task document.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from dtool_s3.errors import SettingsError
from dtool_s3.settings import Credentials, Secret

_MAX_BYTES = 64 * 1024
_MOUNTED_VERSION = "..data"
_SECRET_FILES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


@dataclass(frozen=True, slots=True)
class FileCredentials:
    """A credentials source that reads the file each time it is asked."""

    path: Path

    def __call__(self) -> Credentials:
        """Return the keys as they are in the file now. Raises SettingsError, which shows nothing of them."""
        return read_credentials_file(self.path)


def write_credentials_file(path: Path, credentials: Credentials) -> None:
    """Write keys so that only this user can read them, and readers see the old or the new file, whole."""
    write_private_file(path, dump_credentials(credentials).encode())


def dump_credentials(credentials: Credentials) -> str:
    """Return the content of the file: it holds the secrets, never show it."""
    token = credentials.session_token
    document = {
        "accessKeyId": credentials.access_key_id,
        "secretAccessKey": credentials.secret_access_key.reveal(),
        "sessionToken": None if token is None else token.reveal(),
    }
    return json.dumps(document)


def write_private_file(path: Path, body: bytes) -> None:
    """Put `body` in place of `path` in one step, mode 0600."""
    temporary = path.with_name(f"{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(body)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read_credentials_file(path: Path) -> Credentials:
    """Read keys of a file or a mounted Secret. Raises SettingsError, which shows nothing of them."""
    try:
        key_id, secret, token = _read_directory(path) if path.is_dir() else _read_document(path)
    except OSError as error:
        raise SettingsError(f"the credentials file cannot be read: {error.strerror}") from None
    except (ValueError, TypeError, KeyError):
        raise SettingsError("the credentials file does not hold keys") from None
    if not isinstance(key_id, str) or not isinstance(secret, str) or not isinstance(token, str | None):
        raise SettingsError("the credentials file does not hold keys")
    return Credentials(key_id, Secret(secret), None if token is None else Secret(token))


def _read_document(path: Path) -> tuple[object, object, object]:
    document = json.loads(_read_bounded(path))
    return document["accessKeyId"], document["secretAccessKey"], document["sessionToken"]


def _read_directory(path: Path) -> tuple[object, object, object]:
    """Read a Secret as the kubelet mounts it: it replaces all files in one step, by a link.

    Read through the one link there is, so that no half of an old Secret meets half of a new one.
    """
    version = path / _MOUNTED_VERSION
    directory = version.resolve(strict=True) if version.exists() else path
    key_id, secret = (_read_bounded(directory / name).decode().strip() for name in _SECRET_FILES)
    if not key_id or not secret:
        raise ValueError("a value is empty")
    token_file = directory / "AWS_SESSION_TOKEN"
    token = _read_bounded(token_file).decode().strip() if token_file.exists() else ""
    return key_id, secret, token or None


def _read_bounded(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_MAX_BYTES)
