"""How the texts of settings are read: each parser raises ValueError, which says what is allowed. Pure."""

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from dtool_operator.api.quantities import parse_duration
from dtool_operator.planning.prefix_policy import AWS

PULL_POLICIES: Final = ("Always", "IfNotPresent", "Never")
LOG_LEVELS: Final = ("debug", "info", "warning", "error")
_HOST: Final = re.compile(r"(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:]+\])(?::(\d{1,5}))?")
_OBJECT_NAME: Final = re.compile(r"[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?")


def parse_text(text: str) -> str:
    """Read any text that says something."""
    if not text.strip():
        raise ValueError("must not be empty")
    return text.strip()


def parse_path(text: str) -> Path:
    """Read a path."""
    return Path(parse_text(text))


def parse_names(text: str) -> frozenset[str]:
    """Read names between commas; empty ones do not count."""
    return frozenset(part.strip() for part in text.split(",") if part.strip())


def parse_endpoints(text: str) -> frozenset[str]:
    """Read S3 endpoints between commas, without a slash at their ends."""
    endpoints = parse_names(text)
    for endpoint in endpoints:
        if endpoint != AWS and not endpoint.startswith(("https://", "http://")):
            raise ValueError(f"an endpoint begins with https:// or http://, or is {AWS}, not {endpoint!r}")
    return frozenset(endpoint.rstrip("/") for endpoint in endpoints)


def parse_hosts(text: str) -> frozenset[str]:
    """Read hosts, each with or without a port, between commas."""
    hosts = frozenset(name.lower() for name in parse_names(text))
    for host in hosts:
        found = _HOST.fullmatch(host)
        if found is None or int(found[1] or 0) > 65535:
            raise ValueError(f"a host is written as example.org or example.org:8443, not {host!r}")
    return hosts


def parse_switch(text: str) -> bool:
    """Read true or false."""
    choice = text.strip().lower()
    if choice not in ("true", "false"):
        raise ValueError("must be true or false")
    return choice == "true"


def parse_object_name(text: str) -> str:
    """Read the name of a Kubernetes object."""
    name = text.strip()
    if not _OBJECT_NAME.fullmatch(name):
        raise ValueError("must be the name of an object: lower-case letters, digits, - and .")
    return name


def parse_number(minimum: int, maximum: int) -> Callable[[str], int]:
    """Return a parser of whole numbers within these bounds, both included."""

    def parse(text: str) -> int:
        if not text.strip().isdecimal() or not minimum <= int(text) <= maximum:
            raise ValueError(f"must be a whole number from {minimum} to {maximum}")
        return int(text)

    return parse


def parse_positive_duration(text: str) -> timedelta:
    """Read a duration that is longer than nothing."""
    duration = parse_duration(text)
    if duration <= timedelta(0):
        raise ValueError("must be longer than nothing")
    return duration


def parse_pull_policy(text: str) -> str:
    """Read when Kubernetes pulls an image."""
    if text.strip() not in PULL_POLICIES:
        raise ValueError(f"must be one of {', '.join(PULL_POLICIES)}")
    return text.strip()


def parse_https_url(text: str) -> str:
    """Read an https:// address without a path; without a slash at its end."""
    url = text.strip().rstrip("/")
    parts = urlsplit(url)
    if parts.scheme != "https" or not _HOST.fullmatch(parts.netloc.lower()) or parts.path or parts.query:
        raise ValueError("must be https://host or https://host:port")
    return url


def parse_level(text: str) -> str:
    """Read a log level."""
    level = text.strip().lower()
    if level not in LOG_LEVELS:
        raise ValueError(f"must be one of {', '.join(LOG_LEVELS)}")
    return level
