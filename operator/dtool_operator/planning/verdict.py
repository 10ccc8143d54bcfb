"""What one look at a dataset came to; pure values. `status` words them."""

from dataclasses import dataclass

from dtool_operator.planning.observed import Refusal
from dtool_operator.planning.task import TaskKind
from dtool_operator.planning.transfer import TransferRecord
from dtool_s3.documents import AdminMetadata


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing goes on; the refusal says why and whether it may change."""

    refusal: Refusal


@dataclass(frozen=True, slots=True)
class Suspended:
    """The user asked for a pause."""


@dataclass(frozen=True, slots=True)
class Working:
    """A worker of this kind runs, or is about to; None: the operator itself is about to do something."""

    record: TransferRecord | None
    kind: TaskKind | None


@dataclass(frozen=True, slots=True)
class Inspected:
    """A worker found out what the source is; the work itself comes next."""

    record: TransferRecord


@dataclass(frozen=True, slots=True)
class Proto:
    """A proto dataset that the spec asks for, open for others to fill."""

    admin: AdminMetadata


@dataclass(frozen=True, slots=True)
class Done:
    """A worker found or made a frozen dataset."""

    record: TransferRecord


@dataclass(frozen=True, slots=True)
class Kept:
    """Frozen before, and nothing new is known of it: Ready unless damage was seen.

    `record`: a worker verifies it.
    """

    record: TransferRecord | None = None


@dataclass(frozen=True, slots=True)
class Damaged:
    """Frozen before, and not what it was; `record`: the verification that found it."""

    refusal: Refusal
    record: TransferRecord | None = None


Verdict = Refused | Suspended | Working | Inspected | Proto | Done | Kept | Damaged
