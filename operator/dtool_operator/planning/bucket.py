"""What to do with one DtoolBucket: check the spec, try the bucket, list it, act on it, report. Pure.

Tests and listings are actions; their outcomes come back with the next look.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

from dtool_operator.api.bucket import DtoolBucket
from dtool_operator.api.bucket_status import DtoolBucketStatus
from dtool_operator.api.choice import AccessMode, ConditionalWrites, ImportMode
from dtool_operator.api.conditions import (
    Condition,
    ConditionStatus,
    ConditionType,
    find_condition,
    merge_conditions,
)
from dtool_operator.api.reasons import Reason, is_stalled_reason
from dtool_operator.names import ANNOTATION_RECONCILE_REQUESTED
from dtool_operator.planning.bucket_spec import check_bucket_spec
from dtool_operator.planning.census import Census, admitted_prefixes, take_census
from dtool_operator.planning.history import is_look_requested
from dtool_operator.planning.importing import Survey, describe_findings, plan_findings, take_survey
from dtool_operator.planning.observed import Listed, ObservedBucket, Refusal, Tested, is_ready
from dtool_operator.planning.overrides import build_in_force
from dtool_operator.planning.plan import (
    Backoff,
    BucketAction,
    ListDatasets,
    Plan,
    SelfTest,
    backoff_delay,
    spread_interval,
    time_left,
)

__all__ = ["BucketPlan", "admitted_prefixes", "build_bucket_status", "plan_bucket"]

BucketPlan = Plan[BucketAction, DtoolBucketStatus]

#: A bucket in which datasets arrive one after the other is not listed more often than this.
RELIST_PAUSE = timedelta(seconds=5)

#: Secrets are not watched: a bucket is looked at so often to notice that its keys were replaced.
SECRET_LOOK = timedelta(minutes=1)

TRUE, FALSE, UNKNOWN = ConditionStatus.TRUE, ConditionStatus.FALSE, ConditionStatus.UNKNOWN

_AT_ONCE = timedelta(0)
#: Why a listing failed that shows that the bucket cannot be used; other reasons are about listing alone.
_UNREACHABLE = frozenset(
    {
        Reason.ACCESS_DENIED,
        Reason.BUCKET_NOT_FOUND,
        Reason.BUCKET_UNREACHABLE,
        Reason.CLOCK_SKEWED,
        Reason.CREDENTIALS_REJECTED,
    }
)
#: What violations are called in the condition's message; the first that there are gives its reason.
_VIOLATIONS = {
    Reason.OUTSIDE_ANY_PREFIX: "Datasets outside every admitted and acknowledged prefix",
    Reason.REGISTRATION_MISSING: (
        "Datasets without a registration key, which readers do not find (dtool-s3 register writes one)"
    ),
}


def plan_bucket(seen: ObservedBucket) -> BucketPlan:
    """Decide what happens with a bucket now."""
    refusal = check_bucket_spec(seen.bucket, seen.cluster, seen.policy)
    if refusal is None and seen.bucket.spec.suspend:
        refusal = Refusal(Reason.SUSPENDED, "spec.suspend is true: nothing is started with this bucket.")
    if refusal is not None:
        is_final = is_stalled_reason(refusal.reason) or refusal.reason is Reason.SUSPENDED
        return Plan((), build_bucket_status(seen, refusal), _resync(seen) if is_final else Backoff())
    if isinstance(seen.credentials, Refusal):
        return Plan((), build_bucket_status(seen, seen.credentials), Backoff())
    assert seen.credentials is not None, "credentials are read for every valid spec"
    version = describe_test(seen)
    if seen.tested is None or seen.tested.version != version:
        return Plan((SelfTest(version, seen.owned_prefix),), None, _AT_ONCE)
    if seen.tested.refusal is not None:
        return _test_again(seen, seen.tested, seen.tested.refusal)
    if seen.override_refusal is not None:
        is_final = is_stalled_reason(seen.override_refusal.reason)
        status = build_bucket_status(seen, seen.override_refusal)
        return Plan((), status, _resync(seen) if is_final else Backoff())
    if seen.overrides_unasked:
        return Plan((), None, _AT_ONCE)
    return _list(seen)


def describe_test(seen: ObservedBucket) -> str:
    """Say what a self-test depends on: spec, Secret, and the prefix under which it may write."""
    return f"{seen.bucket.meta.generation}/{seen.credentials}/{seen.owned_prefix}"


def _test_again(seen: ObservedBucket, tested: Tested, refusal: Refusal) -> BucketPlan:
    """Report a test that failed; repeat it after a growing pause, unless only an edit can help."""
    status = build_bucket_status(seen, refusal)
    is_final = is_stalled_reason(refusal.reason)
    pause = _retry_in(seen, tested.attempt, tested.tested_at)
    if is_look_requested(seen.bucket) or (pause == timedelta(0) and not is_final):
        test = SelfTest(tested.version, seen.owned_prefix, attempt=tested.attempt + 1)
        return Plan((test,), status, _AT_ONCE)
    return Plan((), status, min(SECRET_LOOK, _resync(seen) if is_final else pause))


def _list(seen: ObservedBucket) -> BucketPlan:
    """List a bucket that answers. It is Ready before its first listing, which may take long."""
    listed = seen.listed
    if listed is None and is_ready(seen.bucket):
        return Plan((ListDatasets(),), None, _AT_ONCE)
    refusal = None if listed is None else listed.refusal
    is_silent = refusal is not None and refusal.reason in _UNREACHABLE
    survey = take_survey(seen)
    status = build_bucket_status(seen, refusal if is_silent else None, survey)
    if listed is None:
        return Plan((), status, _AT_ONCE)
    pause = _listing_pause(seen, listed, survey)
    if pause == timedelta(0) or is_look_requested(seen.bucket):
        attempt = listed.attempt + 1 if listed.refusal is not None else 1
        return Plan((ListDatasets(attempt),), status, _AT_ONCE)
    actions = plan_findings(survey)
    return Plan(actions, status, _AT_ONCE if actions else min(SECRET_LOOK, pause))


def _listing_pause(seen: ObservedBucket, listed: Listed, survey: Survey) -> timedelta:
    if listed.refusal is not None:
        return _retry_in(seen, listed.attempt, listed.listed_at)
    interval = spread_interval(seen.bucket.spec.listing.interval, key=seen.bucket.uid)
    is_stale = (
        listed.is_stale
        or listed.generation != seen.bucket.meta.generation
        # a namespace was admitted since: what lies below its prefix was not looked for
        or (listed.found is not None and not survey.namespaces.keys() <= listed.found.prefixes)
    )
    pause = min(interval, RELIST_PAUSE) if is_stale else interval
    return time_left(listed.listed_at, pause, seen.now)


def _retry_in(seen: ObservedBucket, attempt: int, since: datetime) -> timedelta:
    policy = seen.policy
    pause = backoff_delay(attempt, key=seen.bucket.uid, base=policy.backoff_base, cap=policy.backoff_cap)
    return time_left(since, pause, seen.now)


def _resync(seen: ObservedBucket) -> timedelta:
    return spread_interval(seen.policy.resync, key=seen.bucket.uid)


def build_bucket_status(
    seen: ObservedBucket, refusal: Refusal | None, survey: Survey | None = None
) -> DtoolBucketStatus:
    """Build the complete status; what a listing found before stays until the next one."""
    bucket = seen.bucket
    catalog = None if seen.listed is None else seen.listed.catalog
    census = None if catalog is None else take_census(seen, catalog)
    conditions = [
        c.model_copy(update={"observed_generation": bucket.meta.generation})
        for c in _conditions(seen, refusal, census, survey)
    ]
    return DtoolBucketStatus.model_validate(
        {
            **dict(bucket.status),
            **({} if census is None else census.fields),
            **({} if survey is None else _imported(bucket, survey)),
            **({} if refusal is not None else {"prefix_overrides": build_in_force(bucket)}),
            "observed_generation": bucket.meta.generation,
            "conditions": merge_conditions(bucket.status.conditions, conditions, seen.now),
            "last_handled_reconcile_at": bucket.meta.get_request(ANNOTATION_RECONCILE_REQUESTED),
        }
    )


def _imported(bucket: DtoolBucket, survey: Survey) -> Mapping[str, object]:
    is_asked = bucket.spec.listing.import_ is not ImportMode.NEVER
    return {"imported": len(survey.imported) if is_asked or survey.imported else None}


def _conditions(
    seen: ObservedBucket, refusal: Refusal | None, census: Census | None, survey: Survey | None
) -> list[Condition]:
    respected = _respected(seen, census)
    if refusal is None:
        return [
            _condition(ConditionType.READY, TRUE, Reason.SUCCEEDED, _ready_message(seen.bucket)),
            _condition(ConditionType.REACHABLE, TRUE, Reason.SUCCEEDED),
            _listed(seen.listed, survey),
            respected,
        ]
    is_stalled = is_stalled_reason(refusal.reason)
    second = ConditionType.STALLED if is_stalled else ConditionType.RECONCILING
    asked_in_vain = [one.refusal for one in (seen.tested, seen.listed) if one is not None]
    was_asked = any(one is refusal for one in asked_in_vain)
    return [
        _condition(ConditionType.READY, FALSE, refusal.reason, refusal.message),
        _condition(second, TRUE, refusal.reason, refusal.message),
        _condition(ConditionType.REACHABLE, FALSE if was_asked else UNKNOWN, refusal.reason, refusal.message),
        _condition(ConditionType.LISTED, UNKNOWN, refusal.reason),
        respected,
    ]


def _ready_message(bucket: DtoolBucket) -> str:
    if bucket.spec.access_mode is AccessMode.READ_ONLY:
        return "The bucket answers; nothing is written to it."
    if bucket.spec.conditional_writes is ConditionalWrites.BEST_EFFORT:
        return (
            "The bucket answers. conditionalWrites is BestEffort: of two writers that create the same "
            "registration key or owner marker at the same moment, the later may replace the earlier."
        )
    return "The bucket answers."


def _listed(listed: Listed | None, survey: Survey | None) -> Condition:
    if listed is None:
        return _condition(ConditionType.LISTED, UNKNOWN, Reason.PENDING)
    if listed.refusal is not None:
        return _condition(ConditionType.LISTED, FALSE, listed.refusal.reason, listed.refusal.message)
    message = "" if survey is None else describe_findings(survey)
    return _condition(ConditionType.LISTED, TRUE, Reason.SUCCEEDED, message)


def _respected(seen: ObservedBucket, census: Census | None) -> Condition:
    if census is None:
        known = find_condition(seen.bucket.status.conditions, ConditionType.PREFIXES_RESPECTED)
        return known or _condition(ConditionType.PREFIXES_RESPECTED, UNKNOWN, Reason.PENDING)
    counts = census.violation_counts
    if not any(counts.values()):
        return _condition(ConditionType.PREFIXES_RESPECTED, TRUE, Reason.WITHIN_PREFIXES)
    said = "; ".join(f"{words}: {counts[reason]}" for reason, words in _VIOLATIONS.items() if counts[reason])
    worst = next(reason for reason in _VIOLATIONS if counts[reason])
    message = f"{said}; see status.violations."
    return _condition(ConditionType.PREFIXES_RESPECTED, FALSE, worst, message)


def _condition(type_: ConditionType, status: ConditionStatus, reason: Reason, message: str = "") -> Condition:
    return Condition(type=type_, status=status, reason=reason, message=message)
