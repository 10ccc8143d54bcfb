"""Every kind of object that the planner reports: of its tests' tables, and of each verdict and reason.

An object is shown as the API server would: metadata with its generation, and the status. Tests of what tools
make of a status (kstatus, Argo CD) go through all of them.
"""

import importlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from dtool_operator import names
from dtool_operator.api.bucket import DtoolBucket
from dtool_operator.api.conditions import Condition, ConditionStatus, ConditionType
from dtool_operator.api.dataset import DtoolDataset
from dtool_operator.api.dataset_status import DtoolDatasetStatus
from dtool_operator.api.reasons import Reason
from dtool_operator.planning.bucket import plan_bucket
from dtool_operator.planning.dataset import plan_dataset
from dtool_operator.planning.invalid import build_invalid_bucket_status, build_invalid_dataset_status
from dtool_operator.planning.metadata import MetadataPlan
from dtool_operator.planning.observed import ObservedBucket, ObservedDataset, Refusal
from dtool_operator.planning.status import build_dataset_status
from dtool_operator.planning.task import SourceFacts, TaskKind
from dtool_operator.planning.verdict import (
    Damaged,
    Done,
    Inspected,
    Kept,
    Proto,
    Refused,
    Suspended,
    Verdict,
    Working,
)
from tests.support import observed as see
from tests.support.observed_bucket import listing, seen_bucket, trial

_TABLES = Path(__file__).parents[1] / "unit" / "dtool_operator" / "planning"


_SOURCE = SourceFacts(
    uuid=see.UUID,
    name="sample",
    creator_username="olssont",
    created_at=1.0,
    frozen_at=2.0,
    items=3,
    size_bytes=209,
    manifest_sha256="0" * 64,
    content_sha256="0" * 64,
)


@dataclass(frozen=True)
class Report:
    """An object as the API server shows it; `about`: where it comes from."""

    about: str
    body: dict[str, Any]

    @property
    def conditions(self) -> dict[str, dict[str, Any]]:
        """Its conditions by type."""
        return {one["type"]: one for one in self.body["status"]["conditions"]}


def show(one: DtoolBucket | DtoolDataset, status: Any) -> dict[str, Any]:
    """Show an object with this status as the API server does."""
    kind = names.BUCKET_KIND if isinstance(one, DtoolBucket) else names.DATASET_KIND
    metadata = {"name": one.name, "namespace": one.namespace, "generation": one.meta.generation}
    return {"apiVersion": names.API_VERSION, "kind": kind, "metadata": metadata, "status": status.dump()}


@cache
def list_reports() -> tuple[Report, ...]:
    """Return all of them; several may be equal."""
    return (*_of_tables(), *_of_dataset_verdicts(), *_of_buckets())


def _of_tables() -> Iterator[Report]:
    for path in sorted(_TABLES.glob("test_*.py")):
        module = importlib.import_module(f"tests.unit.dtool_operator.planning.{path.stem}")
        for table, value in sorted(vars(module).items()):
            if isinstance(value, dict):
                yield from _of_table(f"{path.stem}.{table}", value)


def _of_table(about: str, table: dict[Any, Any]) -> Iterator[Report]:
    for case, row in table.items():
        for look in row if isinstance(row, tuple) else (row,):
            if isinstance(look, ObservedDataset | ObservedBucket):
                one, status = _plan(look)
                if status is not None:
                    yield Report(f"{about}: {case}", show(one, status))


def _plan(look: ObservedDataset | ObservedBucket) -> tuple[DtoolBucket | DtoolDataset, Any]:
    if isinstance(look, ObservedBucket):
        return look.bucket, plan_bucket(look).status
    return look.dataset, plan_dataset(look).status


def _of_dataset_verdicts() -> Iterator[Report]:
    frozen = see.was_frozen()
    damage = build_dataset_status(frozen, None, Damaged(see.refuse(Reason.ITEM_MISSING)), see.NOW)
    before = {
        "new": see.dataset(),
        "frozen": frozen,
        "damaged": replace(frozen, status=damage),
        "overdue": see.verified_long_ago(frozen),
        "proto": replace(see.dataset(source=None), status=_status(see.dataset(), Proto(_proto_metadata()))),
    }
    for was, one in before.items():
        for said, verdict in list_verdicts(is_known=was in {"frozen", "damaged", "overdue"}):
            for synced in _list_synced():
                status = build_dataset_status(one, None, verdict, see.NOW, synced)
                yield Report(f"{was}, then {said}", show(one, status))
        invalid = build_invalid_dataset_status(one.meta, one.status, "spec.x: must be there", see.NOW)
        yield Report(f"{was}, then invalid", show(one, invalid))


def _status(one: DtoolDataset, verdict: Verdict) -> DtoolDatasetStatus:
    return build_dataset_status(one, None, verdict, see.NOW)


def _proto_metadata() -> Any:
    return see.admin_metadata("proto")


def _list_synced() -> Iterator[MetadataPlan | None]:
    yield None
    for status, reason in (
        (ConditionStatus.TRUE, Reason.SYNCED),
        (ConditionStatus.FALSE, Reason.ACCESS_DENIED),
        (ConditionStatus.FALSE, Reason.INVALID_SPEC),
        (ConditionStatus.UNKNOWN, Reason.BUCKET_UNREACHABLE),
    ):
        condition = Condition(type=ConditionType.METADATA_SYNCED, status=status, reason=reason, message="so")
        yield MetadataPlan(condition, None)


def list_verdicts(*, is_known: bool) -> Iterator[tuple[str, Verdict]]:
    """Yield every verdict; of a dataset that was never frozen no `Kept` and no `Damaged`."""
    copy = see.seen()
    yield "suspended", Suspended()
    yield "proto", Proto(_proto_metadata())
    yield "done", Done(see.ended(copy, see.facts()))
    yield "done, not read", Done(see.ended(copy, see.facts(etag_md5=0, same_as_source=3)))
    yield "inspected", Inspected(replace(see.ended(copy, None), source=_SOURCE))
    for kind in (None, *TaskKind):
        yield f"working: {kind}", Working(None, kind)
    for phase in ("Copying", "Verifying", "Freezing", "Inventing"):
        yield f"working: {phase}", Working(see.running(copy, phase=phase), TaskKind.COPY)
    for reason in Reason:
        yield f"refused: {reason}", Refused(Refusal(reason, f"it says {reason}"))
        if is_known:
            yield f"damaged: {reason}", Damaged(Refusal(reason, f"it says {reason}"))
    if is_known:
        yield "kept", Kept()
        yield "kept, being verified", Kept(see.running(copy, phase="Verifying"))


def _of_buckets() -> Iterator[Report]:
    for spec in ({}, {"suspend": True}, {"accessMode": "ReadOnly"}):
        look = seen_bucket(see.bucket(**spec))
        for about, found in (
            ("not asked", look),
            ("tested", replace(look, tested=trial())),
            ("listed", replace(look, tested=trial(), listed=listing())),
            *((f"test: {reason}", replace(look, tested=trial(see.refuse(reason)))) for reason in Reason),
            *(
                (f"listing: {reason}", replace(look, tested=trial(), listed=listing(see.refuse(reason))))
                for reason in Reason
            ),
        ):
            status = plan_bucket(found).status
            if status is not None:
                yield Report(f"bucket {spec} {about}", show(look.bucket, status))
    one = see.bucket()
    invalid = build_invalid_bucket_status(one.meta, one.status, "spec.x: must be there", see.NOW)
    yield Report("invalid bucket", show(one, invalid))
