"""What a plan is made of: actions as data, the status to report, and when to look again. Pure values."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from dtool_operator.planning.task import Task
from dtool_operator.planning.transfer import JobRef
from dtool_s3.metadata import MetadataChange
from dtool_s3.ownership import Owner


@dataclass(frozen=True, slots=True)
class MarkObject:
    """Put the finalizer and the uuid label on the object, or take the finalizer off."""

    has_finalizer: bool
    uuid: str | None = None


@dataclass(frozen=True, slots=True)
class EnsureOwner:
    """Create the owner marker of a prefix, before anything else is written there.

    `replaces`: the owner that a `takeOver` names, who is replaced, and nobody else.
    """

    owner: Owner
    replaces: Owner | None = None


@dataclass(frozen=True, slots=True)
class CreateProto:
    """Create an empty proto dataset for others to fill, or finish what an earlier run began.

    `created_at`, `frozen_at`: seconds since 1970 of a dataset that keeps its identity; None: now, and never.
    """

    uuid: str
    name: str
    creator_username: str
    readme: str
    created_at: float | None = None
    frozen_at: float | None = None


@dataclass(frozen=True, slots=True)
class SyncMetadata:
    """Bring README, tags and annotations to what the spec asks."""

    uuid: str
    change: MetadataChange
    is_frozen: bool


@dataclass(frozen=True, slots=True)
class StartTransfer:
    """Start a worker; `source_bucket` is the `namespace/name` whose credentials read the source."""

    task: Task
    source_bucket: str | None = None


@dataclass(frozen=True, slots=True)
class ReleaseJob:
    """Let the Job of a started task begin: its uid is in the object's status now."""


@dataclass(frozen=True, slots=True)
class AdoptJob:
    """Follow the Job that an earlier operator started for this task, if it is still the same."""

    task: Task
    job: JobRef
    source_bucket: str | None = None


@dataclass(frozen=True, slots=True)
class RemoveJob:
    """End a Job that an earlier operator started and that nothing asks for any more."""

    job: JobRef


@dataclass(frozen=True, slots=True)
class CancelTransfer:
    """End the running worker and wait until it is gone."""


@dataclass(frozen=True, slots=True)
class ForgetTransfer:
    """Drop the record of a finished worker."""


@dataclass(frozen=True, slots=True)
class RefreshCredentials:
    """Give the running worker the Secrets as they are now."""

    task: Task
    source_bucket: str | None = None


@dataclass(frozen=True, slots=True)
class ReportLeftBehind:
    """Say where data stay behind that a deletion could not remove."""

    message: str


@dataclass(frozen=True, slots=True)
class RemoveImported:
    """Delete an object that the operator imported: a user's describes the same dataset (rule 9)."""


DatasetAction = (
    MarkObject
    | EnsureOwner
    | CreateProto
    | SyncMetadata
    | StartTransfer
    | ReleaseJob
    | AdoptJob
    | RemoveJob
    | CancelTransfer
    | ForgetTransfer
    | RefreshCredentials
    | ReportLeftBehind
    | RemoveImported
)


@dataclass(frozen=True, slots=True)
class SelfTest:
    """Try the bucket; under `prefix` if it may be written to, else HEAD and list only.

    `attempt` counts the tests of one version in a row; the outcome carries it, and the pause grows with it.
    """

    version: str
    prefix: str | None
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class ListDatasets:
    """List the datasets of the bucket; `attempt` counts listings in a row, as for a test."""

    attempt: int = 1


@dataclass(frozen=True, slots=True)
class ImportDataset:
    """Create a DtoolDataset for a dataset that was found; of `names` the first that no other dataset has.

    `namespace_uid`: which namespace of this name owns the prefix.
    """

    namespace: str
    namespace_uid: str
    names: tuple[str, ...]
    prefix: str
    uuid: str


@dataclass(frozen=True, slots=True)
class PruneImported:
    """Delete an imported DtoolDataset: because its dataset is gone, or a user's object describes it."""

    namespace: str
    name: str
    uid: str
    resource_version: str
    prefix: str
    uuid: str
    is_superseded: bool


BucketAction = SelfTest | ListDatasets | EnsureOwner | ImportDataset | PruneImported

Action_co = TypeVar("Action_co", covariant=True)
Status_co = TypeVar("Status_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Backoff:
    """Look again after a delay that grows with every look in a row that ended so."""


@dataclass(frozen=True, slots=True)
class Plan(Generic[Action_co, Status_co]):
    """Actions in order, the complete status afterwards (None: leave it), and when to look again.

    `is_waiting`: for a place among the transfers; whoever frees one calls.
    """

    actions: tuple[Action_co, ...]
    status: Status_co | None
    look_again: timedelta | Backoff | None
    is_waiting: bool = False


def backoff_delay(attempts: int, *, key: str, base: timedelta, cap: timedelta) -> timedelta:
    """Return the pause after `attempts` failures: doubled each time, capped, spread by ±25 % of it.

    The spread comes from the key and the attempt, so that the planner stays pure.
    """
    whole = min(cap, base * 2 ** min(attempts - 1, 20)) if attempts > 0 else timedelta(0)
    spread = (hash_fraction(f"{key}/{attempts}") - 0.5) / 2
    return whole * (1 + spread)


def spread_interval(interval: timedelta, *, key: str) -> timedelta:
    """Return the interval changed by up to ±10 %, the same for the same key."""
    return interval * (0.9 + hash_fraction(key) / 5)


def hash_fraction(text: str) -> float:
    """Map a text to a number in [0, 1), the same in every process."""
    value = 0
    for byte in text.encode():
        value = (value * 1000003 ^ byte) & 0xFFFFFFFF
    value = (value ^ (value >> 16)) * 0x45D9F3B & 0xFFFFFFFF
    return (value ^ (value >> 16)) / 2**32


def is_due(since: datetime, pause: timedelta, now: datetime) -> bool:
    """Tell whether a pause that began at `since` is over."""
    return now - since >= pause


def time_left(since: datetime, pause: timedelta, now: datetime) -> timedelta:
    """Return the rest of a pause that began at `since`; nothing is left where the clock was set back."""
    return max(timedelta(0), pause - (now - since)) if now >= since else timedelta(0)
