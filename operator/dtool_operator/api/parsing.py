"""From JSON to typed values: metadata always; the spec or its field at fault; what parses of the status."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import ValidationError

from dtool_operator.api.schema import LONG_TEXT_MAXIMUM, SHORT_TEXT_MAXIMUM, ApiModel, StatusModel, sanitize

_Spec = TypeVar("_Spec", bound=ApiModel)
_Status = TypeVar("_Status", bound=StatusModel)


@dataclass(frozen=True, slots=True)
class ObjectMeta:
    """What the operator uses of `metadata`. Readable for every object the API server sends."""

    namespace: str
    name: str
    uid: str
    generation: int
    resource_version: str
    creation_timestamp: datetime
    deletion_timestamp: datetime | None
    finalizers: tuple[str, ...]
    labels: Mapping[str, str]
    annotations: Mapping[str, str]

    def get_request(self, annotation: str) -> str | None:
        """Return the value of a request annotation (rule 21) as a status echoes it, or None.

        Compare this, not the raw value: the echo is sanitized, a raw value might never equal it.
        """
        value = self.annotations.get(annotation)
        return None if value is None else sanitize(value, SHORT_TEXT_MAXIMUM)


@dataclass(frozen=True, slots=True)
class ApiObject:
    """What the objects of both kinds have in common."""

    meta: ObjectMeta

    @property
    def namespace(self) -> str:
        """The object's namespace."""
        return self.meta.namespace

    @property
    def name(self) -> str:
        """The object's name."""
        return self.meta.name

    @property
    def uid(self) -> str:
        """The object's uid."""
        return self.meta.uid


class InvalidObject(ValueError):
    """A spec that does not mean anything; the message names the field.

    It carries the metadata, so that a condition `InvalidSpec` can still be written on the object.
    """

    def __init__(self, meta: ObjectMeta, message: str) -> None:
        super().__init__(message)
        self.meta = meta
        self.message = message


def parse_metadata(body: Mapping[str, Any]) -> ObjectMeta:
    """Read `metadata` of an object as the API server sends it (it always sets uid and creationTimestamp)."""
    metadata = body["metadata"]
    deletion = metadata.get("deletionTimestamp")
    return ObjectMeta(
        namespace=metadata.get("namespace") or "",
        name=metadata["name"],
        uid=metadata["uid"],
        generation=metadata.get("generation") or 0,
        resource_version=metadata.get("resourceVersion") or "",
        creation_timestamp=datetime.fromisoformat(metadata["creationTimestamp"]),
        deletion_timestamp=datetime.fromisoformat(deletion) if deletion else None,
        finalizers=tuple(metadata.get("finalizers") or ()),
        labels=MappingProxyType(dict(metadata.get("labels") or {})),
        annotations=MappingProxyType(dict(metadata.get("annotations") or {})),
    )


def parse_spec(model: type[_Spec], meta: ObjectMeta, body: Mapping[str, Any]) -> _Spec:
    """Read `spec`; raise InvalidObject with the first three fields at fault."""
    try:
        return model.model_validate(body.get("spec") or {})
    except ValidationError as error:
        raise InvalidObject(meta, describe_errors("spec", error)) from error


def parse_status(model: type[_Status], body: Mapping[str, Any]) -> _Status:
    """Read `status`; a top-level field that does not parse counts as absent, it is written anew."""
    status = body.get("status")
    if not isinstance(status, Mapping):
        return model()
    try:
        return model.model_validate(status)
    except ValidationError as error:
        faulty = {part["loc"][0] for part in error.errors(include_url=False, include_input=False)}
        return model.model_validate({key: value for key, value in status.items() if key not in faulty})


def describe_errors(root: str, error: ValidationError) -> str:
    """Say which fields are wrong and how, without repeating their values (they may be secret or hostile)."""
    parts = []
    for detail in error.errors(include_url=False, include_input=False)[:3]:
        path = root
        for step in detail["loc"]:
            path += f"[{step}]" if isinstance(step, int) else f".{step}"
        message = detail["msg"].removeprefix("Value error, ")
        parts.append(f"{path}: {message}")
    return sanitize("; ".join(parts), LONG_TEXT_MAXIMUM)
