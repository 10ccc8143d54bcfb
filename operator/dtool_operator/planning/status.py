"""From a verdict about a dataset to its complete status; pure. The only place that words conditions.

Conditions follow kstatus: Reconciling and Stalled are present only while they are True (rule 20).
"""

from datetime import datetime
from typing import Any

from dtool_operator.api.choice import DatasetState
from dtool_operator.api.conditions import (
    Condition,
    ConditionStatus,
    ConditionType,
    find_condition,
    merge_conditions,
)
from dtool_operator.api.dataset import DtoolDataset
from dtool_operator.api.dataset_status import (
    DtoolDatasetStatus,
)
from dtool_operator.api.reasons import Reason, find_reason, is_stalled_reason
from dtool_operator.names import ANNOTATION_RECONCILE_REQUESTED
from dtool_operator.planning.history import find_damage, was_frozen
from dtool_operator.planning.metadata import MetadataPlan
from dtool_operator.planning.observed import Refusal
from dtool_operator.planning.phases import describe_work
from dtool_operator.planning.placement import Target
from dtool_operator.planning.task import TaskKind
from dtool_operator.planning.telling import (
    build_progress,
    build_source,
    build_verification,
    describe_facts,
    read_time,
)
from dtool_operator.planning.transfer import TransferRecord
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
from dtool_operator.planning.verification import is_overdue
from dtool_s3.documents import AdminMetadata


def build_dataset_status(
    dataset: DtoolDataset,
    target: Target | None,
    verdict: Verdict,
    now: datetime,
    metadata: MetadataPlan | None = None,
) -> DtoolDatasetStatus:
    """Build the complete status; conditions keep their transition times where their status is the same.

    `metadata`: what is known of README, tags and annotations of a dataset that is there.
    """
    changes = _changes(dataset, verdict, now)
    if metadata is None and isinstance(verdict, Kept):
        metadata = _known_metadata(dataset)
    if metadata is not None:
        changes = _with_metadata(changes, metadata)
    observed = [
        c.model_copy(update={"observed_generation": dataset.meta.generation}) for c in changes["conditions"]
    ]
    if target is not None:
        changes |= {"uuid": target.uuid, "uri": f"s3://{target.bucket.spec.bucket}/{target.uuid}"}
    return DtoolDatasetStatus.model_validate(
        {
            **dict(dataset.status),
            **changes,
            "observed_generation": dataset.meta.generation,
            "conditions": merge_conditions(dataset.status.conditions, observed, now),
            "last_handled_reconcile_at": dataset.meta.get_request(ANNOTATION_RECONCILE_REQUESTED),
        }
    )


def _changes(dataset: DtoolDataset, verdict: Verdict, now: datetime) -> dict[str, Any]:
    match verdict:
        case Kept():
            return _kept(dataset, verdict, now)
        case Refused(refusal):
            return _refused(dataset, refusal, now)
        case Suspended():
            refusal = Refusal(Reason.SUSPENDED, "spec.suspend is true: nothing is started.")
            return _refused(dataset, refusal, now) | {"state": DatasetState.SUSPENDED}
        case Working(record, kind):
            return _working(record, kind)
        case Inspected(record):
            return _working(None, None) | {"source": build_source(record)}
        case Proto(admin):
            return _proto(admin)
        case Done(record):
            return _done(record)
        case Damaged(refusal, record):  # pragma: no branch
            return _damaged(refusal, record)


def _known_metadata(dataset: DtoolDataset) -> MetadataPlan | None:
    """Return what the last look said of them; what was not looked at is no better now (rule 13)."""
    known = find_condition(dataset.status.conditions, ConditionType.METADATA_SYNCED)
    return None if known is None else MetadataPlan(known, dataset.status.managed)


def _with_metadata(changes: dict[str, Any], metadata: MetadataPlan) -> dict[str, Any]:
    """Put in what is known of README, tags and annotations; what they lack makes a good dataset not Ready."""
    conditions = [c for c in changes["conditions"] if c.type is not ConditionType.METADATA_SYNCED]
    synced = metadata.synced
    ready = find_condition(conditions, ConditionType.READY)
    is_spoilt = synced.status is ConditionStatus.FALSE
    if is_spoilt and ready is not None and ready.status is ConditionStatus.TRUE:
        refusal = Refusal(find_reason(synced.reason, Reason.INTERNAL_ERROR), synced.message)
        others = [c for c in conditions if c.type is not ConditionType.READY]
        stalled = is_stalled_reason(refusal.reason)
        conditions = [*_not_ready(refusal, stalled=stalled), *others]
        changes = changes | ({"state": DatasetState.FAILED} if stalled else {})
    return {**changes, "conditions": [*conditions, synced], "managed": metadata.managed}


def _refused(dataset: DtoolDataset, refusal: Refusal, now: datetime) -> dict[str, object]:
    stalled = is_stalled_reason(refusal.reason)
    if was_frozen(dataset):
        about_data = _known_of_frozen(dataset, now)
        state = DatasetState.DAMAGED if find_damage(dataset) else DatasetState.FROZEN
    else:
        # that a copy found something else in its place counts for its deletion, whatever is in the way since
        frozen = find_condition(dataset.status.conditions, ConditionType.FROZEN)
        is_known = frozen is not None and frozen.reason == Reason.CONTENT_DIFFERS
        about_data = _known_of_data(dataset) if is_known else _data_unknown(refusal.reason)
        state = DatasetState.PENDING
    return {
        "conditions": [*_not_ready(refusal, stalled=stalled), *about_data],
        "state": DatasetState.FAILED if stalled else state,
        "progress": None,
    }


def _kept(dataset: DtoolDataset, verdict: Kept, now: datetime) -> dict[str, object]:
    """Say what the conditions about the data say, whatever was in the way in the meantime (rule 13)."""
    damage, record = find_damage(dataset), verdict.record
    if damage is None:
        state, speaking = DatasetState.FROZEN, [_ready()]
    else:
        refusal = Refusal(find_reason(damage.reason, Reason.CONTENT_DIFFERS), damage.message)
        state, speaking = DatasetState.DAMAGED, _not_ready(refusal, stalled=False)
    line = None if record is None else record.progress
    return {
        "conditions": [*speaking, *_known_of_frozen(dataset, now)],
        "state": DatasetState.VERIFYING if record is not None and damage is None else state,
        "progress": None if record is None or line is None else build_progress(record, line),
    }


def _known_of_frozen(dataset: DtoolDataset, now: datetime) -> list[Condition]:
    """Return what is known of a frozen dataset's data; a good verification does not count for ever."""
    known = _known_of_data(dataset)
    return known if find_damage(dataset) is not None else [_judge_age(dataset, c, now) for c in known]


def _judge_age(dataset: DtoolDataset, condition: Condition, now: datetime) -> Condition:
    """Say of a verification that it is too long ago, or again what it found where it no longer is."""
    if condition.type is not ConditionType.VERIFIED:
        return condition
    if is_overdue(dataset, now):
        return _overdue(dataset)
    verified = dataset.status.verified
    if condition.reason != Reason.VERIFICATION_OVERDUE or verified is None:
        return condition
    proven = verified.evidence.etag_md5 + verified.evidence.read
    return _verified(unread=verified.items - proven, items=verified.items)


def _verified(*, unread: int, items: int) -> Condition:
    """Say whether the content of every item was proven (rule 13)."""
    if not unread:
        return _condition(ConditionType.VERIFIED, ConditionStatus.TRUE, Reason.CONTENT_VERIFIED)
    message = (
        f"Sizes are right; the bytes of {unread} of {items} items were not read. A verification with the "
        "method Content reads them."
    )
    return _condition(ConditionType.VERIFIED, ConditionStatus.UNKNOWN, Reason.CONTENT_NOT_READ, message)


def _overdue(dataset: DtoolDataset) -> Condition:
    verified = dataset.status.verified
    since = "" if verified is None else f" since {verified.time:%Y-%m-%d %H:%M} UTC"
    message = (
        f"No verification has ended{since}, which is longer than spec.verify.interval allows; the conditions "
        "of the bucket and the operator's log say what keeps it."
    )
    return _condition(ConditionType.VERIFIED, ConditionStatus.UNKNOWN, Reason.VERIFICATION_OVERDUE, message)


def _working(record: TransferRecord | None, kind: TaskKind | None) -> dict[str, object]:
    state, refusal = describe_work(record, kind)
    line = None if record is None else record.progress
    return {
        "conditions": [*_not_ready(refusal, stalled=False), *_data_unknown(refusal.reason)],
        "state": state,
        "progress": None if record is None or line is None else build_progress(record, line),
    }


def _proto(admin: AdminMetadata) -> dict[str, object]:
    """Say that the proto dataset is as the spec asks: Ready, and not Frozen (rule 20)."""
    message = "The proto dataset is open; spec.freeze: true freezes it."
    return {
        "state": DatasetState.PROTO,
        "conditions": [
            _condition(ConditionType.READY, ConditionStatus.TRUE, Reason.PROTO, message),
            _condition(ConditionType.FROZEN, ConditionStatus.FALSE, Reason.PROTO),
            _condition(ConditionType.VERIFIED, ConditionStatus.UNKNOWN, Reason.PROTO),
            _condition(ConditionType.METADATA_SYNCED, ConditionStatus.TRUE, Reason.SYNCED),
        ],
        "name": admin.name,
        "creator_username": admin.creator_username,
        "created_at": read_time(admin.created_at),
        "progress": None,
    }


def _done(record: TransferRecord) -> dict[str, object]:
    facts = record.facts
    assert facts is not None, "work that is done has told what it found"
    unread = facts.unproven + facts.same_as_source
    return {
        "state": DatasetState.FROZEN,
        "conditions": [
            _ready(),
            _condition(ConditionType.FROZEN, ConditionStatus.TRUE, Reason.FROZEN),
            _verified(unread=unread, items=facts.items),
            _condition(ConditionType.METADATA_SYNCED, ConditionStatus.TRUE, Reason.SYNCED),
        ],
        "progress": None,
        "uuid": record.task.uuid,
        **describe_facts(facts),
        **build_verification(record),
    }


def _damaged(refusal: Refusal, record: TransferRecord | None) -> dict[str, object]:
    """An incident: Frozen stays True in what was promised, Verified is False, Ready is False (rule 16)."""
    return {
        "state": DatasetState.DAMAGED,
        "conditions": [
            *_not_ready(refusal, stalled=False),
            _condition(ConditionType.FROZEN, ConditionStatus.TRUE, Reason.FROZEN),
            _condition(ConditionType.VERIFIED, ConditionStatus.FALSE, refusal.reason, refusal.message),
            _condition(ConditionType.METADATA_SYNCED, ConditionStatus.UNKNOWN, refusal.reason),
        ],
        "progress": None,
        **({} if record is None or record.facts is None else describe_facts(record.facts)),
        **({} if record is None else build_verification(record)),
    }


_ABOUT_DATA = frozenset({ConditionType.FROZEN, ConditionType.VERIFIED, ConditionType.METADATA_SYNCED})


def _known_of_data(dataset: DtoolDataset) -> list[Condition]:
    return [c for c in dataset.status.conditions if c.type in _ABOUT_DATA]


def _data_unknown(reason: Reason) -> list[Condition]:
    return [
        _condition(ConditionType.FROZEN, ConditionStatus.FALSE, reason),
        _condition(ConditionType.VERIFIED, ConditionStatus.UNKNOWN, reason),
        _condition(ConditionType.METADATA_SYNCED, ConditionStatus.UNKNOWN, reason),
    ]


def _ready() -> Condition:
    message = "The dataset is frozen and complete."
    return _condition(ConditionType.READY, ConditionStatus.TRUE, Reason.SUCCEEDED, message)


def _not_ready(refusal: Refusal, *, stalled: bool) -> list[Condition]:
    second = ConditionType.STALLED if stalled else ConditionType.RECONCILING
    return [
        _condition(ConditionType.READY, ConditionStatus.FALSE, refusal.reason, refusal.message),
        _condition(second, ConditionStatus.TRUE, refusal.reason, refusal.message),
    ]


def _condition(type_: ConditionType, status: ConditionStatus, reason: Reason, message: str = "") -> Condition:
    return Condition(type=type_, status=status, reason=reason, message=message)
