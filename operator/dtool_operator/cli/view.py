"""A DtoolDataset as the commands show it: owns what of its JSON is shown, and under which names.

Reads the JSON itself: the models of the API would triple the time that `ls` takes to start. A status may say
anything; what is not of the expected type counts as absent.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from dtool_operator.names import LABEL_IMPORTED, LABEL_UUID

Body = Mapping[str, Any]


class Outcome(StrEnum):
    """What a wait for a dataset comes to."""

    OPEN = "open"
    MET = "met"
    FAILED = "failed"


class Goal(StrEnum):
    """What is waited for: a condition that is to be True."""

    READY = "ready"
    FROZEN = "frozen"
    VERIFIED = "verified"


_CONDITIONS: Final = {Goal.READY: "Ready", Goal.FROZEN: "Frozen", Goal.VERIFIED: "Verified"}
#: States in which nothing goes on by itself.
_ENDED: Final = frozenset({"Failed", "Damaged", "Suspended"})


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a worker is."""

    items: int
    items_total: int
    bytes: int
    bytes_total: int
    bytes_per_second: int
    percent: str


@dataclass(frozen=True, slots=True)
class DatasetView:
    """One DtoolDataset; empty texts and None: not known (yet).

    `place`: `bucket NAMESPACE/NAME` or `volume CLAIM:PATH`. `conditions`: status by type. `is_current`: the
    status speaks of the spec as it is now.
    """

    namespace: str
    name: str
    uuid: str
    dataset_name: str
    state: str
    items: int | None
    size_bytes: int | None
    size: str
    place: str
    uri: str
    ready: str
    reason: str
    message: str
    verified: str
    verified_method: str
    frozen_at: str
    created: str
    tags: tuple[str, ...]
    is_imported: bool
    progress: Progress | None
    conditions: Mapping[str, Mapping[str, str]]
    is_current: bool
    verify_request: str
    verify_handled: str

    def judge(self, goal: Goal) -> Outcome:
        """Tell whether a goal is met, or will not be without somebody's help."""
        if not self.is_current:
            return Outcome.OPEN
        if self.conditions.get(_CONDITIONS[goal], {}).get("status") == "True":
            return Outcome.MET
        is_stalled = self.conditions.get("Stalled", {}).get("status") == "True"
        is_proto = self.state == "Proto" and goal is not Goal.READY
        return Outcome.FAILED if is_stalled or is_proto or self.state in _ENDED else Outcome.OPEN

    @property
    def key(self) -> tuple[str, str]:
        """Namespace and name."""
        return self.namespace, self.name

    def document(self) -> dict[str, Any]:
        """Return it as `-o json` prints it: every field, null where it is not known."""
        shown = {_camel(one.name): getattr(self, one.name) for one in fields(self) if one.name in _SHOWN}
        progress = self.progress and {
            _camel(one.name): getattr(self.progress, one.name) for one in fields(self.progress)
        }
        document = {name: None if value == "" else value for name, value in shown.items()}
        return {**document, "tags": list(self.tags), "progress": progress, "imported": self.is_imported}


_UNSHOWN: Final = {"is_imported", "conditions", "is_current", "verify_request", "verify_handled", "progress"}
_SHOWN: Final = {one.name for one in fields(DatasetView)} - _UNSHOWN


def read_view(body: Body) -> DatasetView:
    """Read an object as the API server sends it."""
    meta, spec, status = _map(body, "metadata"), _map(body, "spec"), _map(body, "status")
    labels, annotations = _map(meta, "labels"), _map(meta, "annotations")
    conditions = {_text(c, "type"): c for c in _maps(status, "conditions")}
    ready, verified = conditions.get("Ready", {}), _map(status, "verified")
    generation, observed = meta.get("generation"), status.get("observedGeneration")
    return DatasetView(
        namespace=_text(meta, "namespace"),
        name=_text(meta, "name"),
        uuid=_text(status, "uuid") or _text(spec, "uuid") or _text(labels, LABEL_UUID),
        dataset_name=_text(status, "name") or _text(spec, "name"),
        state="Deleting" if meta.get("deletionTimestamp") else _text(status, "state") or "Pending",
        items=_count(status, "items"),
        size_bytes=_count(status, "sizeBytes"),
        size=_text(status, "size"),
        place=_read_place(spec, _text(meta, "namespace")),
        uri=_text(status, "uri"),
        ready=_text(ready, "status"),
        reason=_text(ready, "reason"),
        message=_text(ready, "message"),
        verified=_text(verified, "time"),
        verified_method=_text(verified, "method"),
        frozen_at=_text(status, "frozenAt"),
        created=_text(meta, "creationTimestamp"),
        tags=_read_tags(spec, status),
        is_imported=labels.get(LABEL_IMPORTED) == "true",
        progress=_read_progress(status),
        conditions={type_: {k: str(v) for k, v in c.items()} for type_, c in conditions.items()},
        is_current=generation is not None and generation == observed,
        verify_request=_text(annotations, "dtool.dev/verifyRequestedAt"),
        verify_handled=_text(status, "lastHandledVerifyAt"),
    )


def _read_place(spec: Body, namespace: str) -> str:
    ref, volume = _map(spec, "bucketRef"), _map(spec, "volume")
    if volume:
        return f"volume {_text(volume, 'claimName')}:{_text(volume, 'path')}"
    return f"bucket {_text(ref, 'namespace') or namespace}/{_text(ref, 'name')}" if ref else ""


def _read_tags(spec: Body, status: Body) -> tuple[str, ...]:
    given = [*_list(spec, "tags"), *_list(_map(status, "managed"), "tags")]
    return tuple(dict.fromkeys(tag for tag in given if isinstance(tag, str)))


def _read_progress(status: Body) -> Progress | None:
    told = _map(status, "progress")
    if not told:
        return None
    return Progress(
        items=_count(told, "items") or 0,
        items_total=_count(told, "itemsTotal") or 0,
        bytes=_count(told, "bytes") or 0,
        bytes_total=_count(told, "bytesTotal") or 0,
        bytes_per_second=_count(told, "bytesPerSecond") or 0,
        percent=_text(told, "percent"),
    )


def format_age(since: str, now: datetime) -> str:
    """Show how long ago a moment of the API server was, as kubectl does: `5d`, `3h`, `12m`, `40s`."""
    try:
        seconds = int((now - datetime.fromisoformat(since).astimezone(UTC)).total_seconds())
    except ValueError:
        return ""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length}{unit}"
    return f"{max(0, seconds)}s"


def _map(body: Body, key: str) -> Body:
    value = body.get(key)
    return value if isinstance(value, dict) else {}


def _list(body: Body, key: str) -> list[object]:
    value = body.get(key)
    return value if isinstance(value, list) else []


def _maps(body: Body, key: str) -> list[Body]:
    return [one for one in _list(body, key) if isinstance(one, dict)]


def _text(body: Body, key: str) -> str:
    value = body.get(key)
    return value if isinstance(value, str) else ""


def _count(body: Body, key: str) -> int | None:
    value = body.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)
