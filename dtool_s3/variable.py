"""One variable of dtool's configuration: where its value comes from and whether it can be one.

Owns the order (environment, then the JSON file), that an empty value counts as none, and the messages, which
name the variable and never a secret. Knows no variable by name: `dtool_s3.configuration` does.
"""

import json
import os
import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import dtoolcore.utils

from dtool_s3.errors import SettingsError

#: What botocore accepts as a region: a label of a host name that is not a number.
_REGION = re.compile(r"(?![0-9]+$)(?!-)[A-Za-z0-9-]{1,63}(?<!-)")

_Choice = TypeVar("_Choice", bound=StrEnum)


class Variables:
    """The environment and one JSON file, read once; `origins` tells what was found where, by variable."""

    def __init__(self, config_path: str | os.PathLike[str] | None) -> None:
        self._path = Path(config_path or dtoolcore.utils.DEFAULT_CONFIG_PATH)
        self._file = _read_file(self._path)
        self.origins: dict[str, str] = {}

    def find(self, name: str, *, may_be_number: bool = False) -> str | None:
        """Return the value of a variable as it stands; None where it is in neither place."""
        value = os.environ.get(name)
        if value is not None:
            self.origins[name] = "environment"
            return value
        value = self._file.get(name)
        if value is None:
            return None
        if may_be_number and type(value) is int:
            value = str(value)
        if not isinstance(value, str):
            raise SettingsError(f"{name} in dtool's configuration file {self._path} is not a text")
        self.origins[name] = str(self._path)
        return value

    def names(self, start: str) -> dict[str, str]:
        """Return the variables whose names begin with `start`, and where each would be taken from."""
        found = {name: str(self._path) for name in self._file if name.startswith(start)}
        return found | {name: "environment" for name in os.environ if name.startswith(start)}

    def text(self, name: str) -> str | None:
        """Return the value of a variable; None also where it is empty."""
        return (self.find(name) or "").strip() or None

    def choice(self, name: str, kind: type[_Choice]) -> _Choice | None:
        """Return one of an enumeration's values, whatever its case."""
        value = self.text(name)
        if value is None:
            return None
        for each in kind:
            if each.value.lower() == value.lower():
                return each
        raise SettingsError(f"{name}={value!r} is none of {', '.join(each.value for each in kind)}")

    def region(self, name: str) -> str | None:
        """Return the name of a region."""
        value = self.text(name)
        if value is not None and not _REGION.fullmatch(value):
            raise SettingsError(f"{name}={value!r} is no name of a region, such as eu-central-1")
        return value

    def file(self, name: str) -> str | None:
        """Return the path of a file that exists; `~` is this user's directory."""
        value = self.text(name)
        if value is None:
            return None
        path = Path(value).expanduser()
        if not path.is_file():
            raise SettingsError(f"{name}={value!r}: there is no such file")
        return str(path)

    def seconds(self, name: str) -> int | None:
        """Return a positive whole number of seconds; in the file it may be a number."""
        value = (self.find(name, may_be_number=True) or "").strip()
        if value == "":
            return None
        if not value.isascii() or not value.isdecimal() or int(value) == 0:
            raise SettingsError(f"{name}={value!r} is no number of seconds greater than 0")
        return int(value)


def check_endpoint_url(name: str, url: str) -> None:
    """Raise SettingsError unless `url` is http:// or https://, with a host and without user and password."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable, parts = False, None
    if parts is not None and parts.username is not None:
        raise SettingsError(f"{name} holds a user name or password: the keys have variables of their own")
    if not usable:
        raise SettingsError(f"{name}={url!r} is no URL such as https://s3.example.org")


def _read_file(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError) as error:
        reason = f"line {error.lineno}: {error.msg}" if isinstance(error, json.JSONDecodeError) else error
        raise SettingsError(f"dtool's configuration file {path} cannot be read: {reason}") from error
    if not isinstance(content, dict):
        raise SettingsError(f"dtool's configuration file {path} is not a JSON object")
    return content
