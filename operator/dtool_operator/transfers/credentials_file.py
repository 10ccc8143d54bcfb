"""The file through which a worker gets its keys: owns its form, its mode and its atomic replacement.

Nothing else carries keys to a worker: not argv, not the environment, not the task document.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from dtool_s3.errors import SettingsError
from dtool_s3.settings import Credentials, Secret

_MAX_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class FileCredentials:
    """A credentials source that reads the file each time it is asked."""

    path: Path

    def __call__(self) -> Credentials:
        """Return the keys as they are in the file now. Raises SettingsError, which shows nothing of them."""
        return read_credentials_file(self.path)


def write_credentials_file(path: Path, credentials: Credentials) -> None:
    """Write keys so that only this user can read them, and readers see the old or the new file, whole."""
    token = credentials.session_token
    document = {
        "accessKeyId": credentials.access_key_id,
        "secretAccessKey": credentials.secret_access_key.reveal(),
        "sessionToken": None if token is None else token.reveal(),
    }
    write_private_file(path, json.dumps(document).encode())


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
    """Read keys. Raises SettingsError, which shows nothing of them."""
    try:
        with path.open("rb") as file:
            document = json.loads(file.read(_MAX_BYTES))
        key_id, secret, token = (document[k] for k in ("accessKeyId", "secretAccessKey", "sessionToken"))
    except OSError as error:
        raise SettingsError(f"the credentials file cannot be read: {error.strerror}") from None
    except (ValueError, TypeError, KeyError):
        raise SettingsError("the credentials file does not hold keys") from None
    if not isinstance(key_id, str) or not isinstance(secret, str) or not isinstance(token, str | None):
        raise SettingsError("the credentials file does not hold keys")
    return Credentials(key_id, Secret(secret), None if token is None else Secret(token))
