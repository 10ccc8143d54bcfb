"""What the API's models share: how they treat input, and the types of fields. Says nothing of a kind."""

import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

from dtool_operator.api.quantities import parse_duration

_REPLACED_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Control, formatting (also bidirectional), surrogate, private, unassigned characters, line separators."""


_FIELDS_GIVEN: Final[set[str]] = set()


class ApiModel(BaseModel):
    """Frozen, camelCase outside, tolerant of fields that a newer CRD has and this operator does not know."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True)

    def model_post_init(self, context: object) -> None:  # noqa: ARG002
        """Share the set of fields that were given: nobody asks for it, and it is half of a status."""
        object.__setattr__(self, "__pydantic_fields_set__", _FIELDS_GIVEN)


class StatusModel(ApiModel):
    """A part of a status: every field may be absent."""

    def dump(self) -> dict[str, Any]:
        """Return the JSON body, camelCase, without None and without empty lists and objects."""
        body = _without_empty(self.model_dump(by_alias=True, mode="json"))
        assert isinstance(body, dict)
        return body


def _without_empty(value: object) -> object:
    if isinstance(value, dict):
        kept = {key: _without_empty(item) for key, item in value.items()}
        return {key: item for key, item in kept.items() if item is not None and item not in ({}, [])}
    if isinstance(value, list):
        return [_without_empty(item) for item in value]
    return value


def sanitize(text: str, limit: int) -> str:
    """Make somebody else's text fit for one line of a status, Event or log.

    Control, formatting and other invisible characters become spaces, runs of spaces one space; what is
    longer than `limit` characters is cut and ends in `…`.
    """
    # four times the limit is enough to fill it after collapsing, unless the text is mostly blanks
    head = text[: 4 * limit]
    visible = "".join(" " if unicodedata.category(c) in _REPLACED_CATEGORIES else c for c in head)
    line = " ".join(visible.split())
    if len(line) <= limit and len(head) == len(text):
        return line
    return line[: limit - 1].rstrip() + "…"


def check_host(url: str) -> str:
    """Return the URL, or raise ValueError if its host or port mean nothing (no CEL rule says that).

    Everything behind the API may split the URL without fear.
    """
    try:
        parts = urlsplit(url)
        has_host = bool(parts.hostname)
        _ = parts.port
    except ValueError as error:
        raise ValueError("has a host or port that mean nothing") from error
    if not has_host:
        raise ValueError("has no host")
    return url


def _sanitizer(limit: int) -> Callable[[object], object]:
    return lambda value: sanitize(value, limit) if isinstance(value, str) else value


def _to_utc_second(value: datetime) -> datetime:
    return value.astimezone(UTC).replace(microsecond=0)


def _read_duration(value: object) -> object:
    return parse_duration(value) if isinstance(value, str) else value


def _check_interval(value: timedelta) -> timedelta:
    if not INTERVAL_MINIMUM <= value <= INTERVAL_MAXIMUM:
        raise ValueError("must be between 1m and 8760h")
    return value


INTERVAL_MINIMUM: Final = timedelta(minutes=1)
INTERVAL_MAXIMUM: Final = timedelta(hours=8760)

Interval = Annotated[
    timedelta,
    BeforeValidator(_read_duration),
    AfterValidator(_check_interval),
]
"""How often something happens: written `10m`, at least a minute, at most a year."""

Timestamp = Annotated[AwareDatetime, AfterValidator(_to_utc_second)]
"""A moment in UTC, whole seconds, as Kubernetes writes them."""

Count = Annotated[int, Field(ge=0)]

ObservedGeneration = Annotated[Count | None, BeforeValidator(lambda value: value or None)]
"""The API server's default of it is 0, no object's generation: nobody has looked yet."""

ObjectName = Annotated[str, Field(max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
"""Name of a Kubernetes object (a DNS subdomain)."""

NamespaceName = Annotated[str, Field(max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
"""Name of a namespace (a DNS label)."""

Uuid = Annotated[
    str, Field(max_length=36, pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$")
]
"""UUID of a dtool dataset, as dtool writes it: lower case with dashes."""

DtoolName = Annotated[str, Field(min_length=1, max_length=80, pattern=r"^[0-9a-zA-Z_.-]+$")]
"""Name that dtool allows for a dataset, a tag or an annotation."""

LONG_TEXT_MAXIMUM: Final = 1024
SHORT_TEXT_MAXIMUM: Final = 256

LongText = Annotated[str, BeforeValidator(_sanitizer(LONG_TEXT_MAXIMUM)), Field(max_length=LONG_TEXT_MAXIMUM)]
"""Text of a status that may come from a bucket (messages, keys, URIs): sanitized and truncated."""

ShortText = Annotated[
    str, BeforeValidator(_sanitizer(SHORT_TEXT_MAXIMUM)), Field(max_length=SHORT_TEXT_MAXIMUM)
]
"""As LongText, shorter (names, hashes)."""
