"""An object whose spec means nothing; a value."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from dtool_operator.api.parsing import ObjectMeta
from dtool_operator.api.schema import StatusModel

Status = TypeVar("Status", bound=StatusModel)


@dataclass(frozen=True, slots=True)
class Invalid(Generic[Status]):
    """Its status can still be written; `message` names the field at fault."""

    meta: ObjectMeta
    message: str
    status: Status
