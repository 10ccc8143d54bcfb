"""What an administrator can set: one table of names, defaults and meanings, read from the environment.

Every field of Settings is a variable `DTOOL_OPERATOR_<FIELD>` and a flag `--<field>` of `dtool-operator run`.
Reads the environment and the ServiceAccount's namespace file when asked to; importing it does nothing.
"""

import argparse
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, get_type_hints

from dtool_operator.api.quantities import parse_duration
from dtool_operator.planning.prefix_policy import AWS

PREFIX: Final = "DTOOL_OPERATOR_"
NAMESPACE_FILE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
DEFAULT_NAMESPACE: Final = "dtool-system"
# what the kubelet sets in every Pod for a Service named dtool-operator
_SERVICE_LINK: Final = re.compile(rf"{PREFIX}(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_\w+)?)")
LOG_LEVELS: Final = ("debug", "info", "warning", "error")


class InvalidSetting(ValueError):
    """A variable or flag that means nothing; the message names it."""


def _parse_text(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    return text.strip()


def _parse_path(text: str) -> Path:
    return Path(_parse_text(text))


def _parse_names(text: str) -> frozenset[str]:
    return frozenset(part.strip() for part in text.split(",") if part.strip())


def _parse_endpoints(text: str) -> frozenset[str]:
    endpoints = _parse_names(text)
    for endpoint in endpoints:
        if endpoint != AWS and not endpoint.startswith(("https://", "http://")):
            raise ValueError(f"an endpoint begins with https:// or http://, or is {AWS}, not {endpoint!r}")
    return frozenset(endpoint.rstrip("/") for endpoint in endpoints)


def _parse_number(minimum: int, maximum: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.strip().isdecimal() or not minimum <= int(text) <= maximum:
            raise ValueError(f"must be a whole number from {minimum} to {maximum}")
        return int(text)

    return parse


def _parse_positive_duration(text: str) -> timedelta:
    duration = parse_duration(text)
    if duration <= timedelta(0):
        raise ValueError("must be longer than nothing")
    return duration


def _parse_level(text: str) -> str:
    level = text.strip().lower()
    if level not in LOG_LEVELS:
        raise ValueError(f"must be one of {', '.join(LOG_LEVELS)}")
    return level


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table: the default as a user would write it (None: see the meaning)."""

    default: str | None
    parse: Callable[[str], object]
    meaning: str


@dataclass(frozen=True, slots=True)
class Settings:
    """Durations are written as in the API: `90s`, `10m`, `1h30m`; lists with commas."""

    namespace: Annotated[
        str,
        Setting(
            None,
            _parse_text,
            f"The operator's own namespace; default: the one of its Pod, else {DEFAULT_NAMESPACE}.",
        ),
    ]
    admin_namespaces: Annotated[
        frozenset[str],
        Setting(
            None,
            _parse_names,
            "Namespaces whose DtoolBuckets have an administrator's powers; default: the operator's own.",
        ),
    ]
    allowed_endpoints: Annotated[
        frozenset[str],
        Setting(
            "",
            _parse_endpoints,
            f"S3 endpoints that DtoolBuckets may name, {AWS} for AWS; default: AWS and the endpoints of "
            "administrators' buckets.",
        ),
    ]
    state_dir: Annotated[
        Path,
        Setting(
            "/var/lib/dtool-operator",
            _parse_path,
            "Directory for what running transfers need: task documents and credentials files.",
        ),
    ]
    health_host: Annotated[
        str,
        Setting("127.0.0.1", _parse_text, "Address that serves /healthz and /readyz; in a Pod 0.0.0.0."),
    ]
    health_port: Annotated[
        int, Setting("8080", _parse_number(0, 65535), "Port of the same; 0: a free one, which the log tells.")
    ]
    max_transfers: Annotated[
        int, Setting("4", _parse_number(1, 1000), "Transfers that run at the same time.")
    ]
    reconcile_workers: Annotated[
        int, Setting("8", _parse_number(1, 100), "Objects that are looked at at the same time.")
    ]
    resync_interval: Annotated[
        timedelta,
        Setting(
            "10m",
            _parse_positive_duration,
            "How often every object is looked at, and the watches are compared with a list.",
        ),
    ]
    deletion_timeout: Annotated[
        timedelta,
        Setting(
            "1h", _parse_positive_duration, "How long removing data may hold up the deletion of its object."
        ),
    ]
    terminating_namespace_deletion_timeout: Annotated[
        timedelta,
        Setting("5m", _parse_positive_duration, "The same, where the whole namespace is being deleted."),
    ]
    backoff_base: Annotated[
        timedelta,
        Setting("2s", _parse_positive_duration, "First pause before what failed is tried again."),
    ]
    backoff_cap: Annotated[
        timedelta,
        Setting("5m", _parse_positive_duration, "Longest pause before what failed is tried again."),
    ]
    log_level: Annotated[str, Setting("info", _parse_level, f"One of {', '.join(LOG_LEVELS)}.")]


def list_settings() -> dict[str, Setting]:
    """Return the table by field name, in the order of the fields."""
    hints = get_type_hints(Settings, include_extras=True)
    return {one.name: hints[one.name].__metadata__[0] for one in fields(Settings)}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add one flag per setting; `read_settings` takes what was parsed."""
    for name, setting in list_settings().items():
        default = f" Default: {setting.default}." if setting.default else ""
        parser.add_argument(
            _flag(name), metavar="VALUE", help=f"{setting.meaning}{default} [{_variable(name)}]"
        )


def read_settings(
    environment: Mapping[str, str],
    flags: Mapping[str, str | None] | None = None,
    *,
    namespace_file: Path = NAMESPACE_FILE,
) -> Settings:
    """Read flags, else the environment, else the defaults. Raises InvalidSetting.

    An unknown variable with our prefix is an error too: most likely a misspelt one.
    """
    settings = list_settings()
    ours = {name for name in environment if name.startswith(PREFIX) and not _SERVICE_LINK.fullmatch(name)}
    if unknown := ours - set(map(_variable, settings)):
        raise InvalidSetting(f"{min(unknown)}: there is no such setting")
    values: dict[str, Any] = {}
    for name, setting in settings.items():
        flag = (flags or {}).get(name)
        text = environment.get(_variable(name), setting.default) if flag is None else flag
        if text is not None:
            values[name] = _parse(setting, text, _variable(name) if flag is None else _flag(name))
    values.setdefault("namespace", _read_namespace(namespace_file))
    values["admin_namespaces"] = values.get("admin_namespaces") or frozenset({values["namespace"]})
    if values["backoff_cap"] < values["backoff_base"]:
        raise InvalidSetting(f"{PREFIX}BACKOFF_CAP: must not be shorter than {PREFIX}BACKOFF_BASE")
    return Settings(**values)


def _parse(setting: Setting, text: str, source: str) -> object:
    try:
        return setting.parse(text)
    except ValueError as error:
        raise InvalidSetting(f"{source}: {error}") from error


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _variable(name: str) -> str:
    return f"{PREFIX}{name.upper()}"


def _read_namespace(path: Path) -> str:
    try:
        return path.read_text().strip() or DEFAULT_NAMESPACE
    except OSError:  # not in a Pod
        return DEFAULT_NAMESPACE
