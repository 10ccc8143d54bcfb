"""What the operator would do with an object, and why: the operator's own planner on what a user may see.

Decides nothing itself; knows which answers rest on objects that the user cannot see.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit

from dtool_operator.api.bucket import DtoolBucket
from dtool_operator.api.conditions import Condition, ConditionType, find_condition
from dtool_operator.api.dataset import DtoolDataset
from dtool_operator.api.reasons import Reason
from dtool_operator.cli.action_text import describe_action
from dtool_operator.cli.expectation import expect_storage, list_expectations, list_questions
from dtool_operator.cli.sight import Sight
from dtool_operator.planning.bucket import plan_bucket
from dtool_operator.planning.dataset import plan_dataset
from dtool_operator.planning.inquiry import Inquiry, find_inquiry
from dtool_operator.planning.observed import JobPolicy, ObservedBucket, ObservedDataset, Policy, Usage
from dtool_operator.planning.prefix_policy import AWS


class Decided(StrEnum):
    """What decides."""

    CLUSTER = "ByCluster"
    """What the cluster says is enough."""
    STORAGE = "ByStorage"
    """S3 has the last word; the plan is the one for the answers that one expects."""
    UNDECIDED = "Undecided"
    """The answer rests on something that the user may not see."""


@dataclass(frozen=True, slots=True)
class Foresight:
    """What would happen to one object. `assumed`: what the plan takes for granted, in words."""

    kind: str
    namespace: str
    name: str
    decided: Decided
    place: str = ""
    state: str = ""
    questions: Sequence[str] = ()
    expected: Sequence[str] = ()
    actions: Sequence[tuple[str, str]] = ()
    conditions: Sequence[Condition] = ()
    assumed: Sequence[str] = ()
    hidden: Sequence[str] = ()

    @property
    def is_stalled(self) -> bool:
        """Whether it would not go on without another spec or object."""
        return find_condition(self.conditions, ConditionType.STALLED) is not None


#: Reasons that say that something is not there: not to be believed of what may not be seen.
_OF_ABSENCE: Final = frozenset(
    {
        Reason.BUCKET_NOT_FOUND,
        Reason.SOURCE_DATASET_NOT_FOUND,
        Reason.SOURCE_NOT_ALLOWED,
        Reason.NAMESPACE_NOT_ALLOWED,
        Reason.PENDING,
    }
)
_WORKING: Final = frozenset({"Copying", "Verifying", "Freezing"})


def foresee_dataset(sight: Sight, dataset: DtoolDataset, admins: frozenset[str], now: datetime) -> Foresight:
    """Plan one dataset, with the answers of S3 that one expects where S3 would be asked."""
    seen, assumed = _observe(sight, dataset, admins, now)
    inquiry = find_inquiry(seen)
    if inquiry is not None:
        seen = replace(seen, storage=expect_storage(dataset, inquiry))
    plan = plan_dataset(seen)
    status = dataset.status if plan.status is None else plan.status
    ready = find_condition(status.conditions, ConditionType.READY)
    is_hidden = bool(sight.hidden) and ready is not None and ready.reason in _OF_ABSENCE
    decided = Decided.CLUSTER if inquiry is None else Decided.STORAGE
    return Foresight(
        kind="DtoolDataset",
        namespace=dataset.namespace,
        name=dataset.name,
        decided=Decided.UNDECIDED if is_hidden else decided,
        place=_describe_place(dataset, inquiry),
        state=str(status.state or "Pending"),
        questions=[] if inquiry is None else list_questions(inquiry),
        expected=[] if inquiry is None else list_expectations(dataset, inquiry),
        actions=[(type(action).__name__, describe_action(action)) for action in plan.actions],
        conditions=status.conditions,
        assumed=assumed,
        hidden=sight.hidden if is_hidden else (),
    )


def _observe(
    sight: Sight, dataset: DtoolDataset, admins: frozenset[str], now: datetime
) -> tuple[ObservedDataset, list[str]]:
    world, assumed = sight.world, ["a place among the transfers is free"]
    source, jobs, hosts = dataset.spec.source, None, frozenset[str]()
    if dataset.spec.volume is not None or (source is not None and source.volume is not None):
        jobs = JobPolicy(operator_namespace=min(admins), has_signing=True)
        assumed.append("the operator runs Jobs beside volumes, may do so here, and signs URLs for them")
    if source is not None and source.uri is not None and not source.uri.startswith("s3://"):
        hosts = frozenset({urlsplit(source.uri).netloc})
        assumed.append(f"the operator's administrator allows the host {urlsplit(source.uri).netloc}")
    if str(dataset.status.state) in _WORKING:
        assumed.append(f"the worker that is at it now ({dataset.status.state}) is not there any more")
    bucket = world.bucket_of(dataset)
    seen = ObservedDataset(
        now=now,
        dataset=dataset,
        cluster=world.view(),
        policy=Policy(admin_namespaces=admins, allowed_http_hosts=hosts, jobs=jobs),
        siblings=world.rivals(dataset),
        source_dataset=world.source_of(dataset),
        usage=Usage() if bucket is None else world.find_usage(dataset, bucket),
    )
    return seen, assumed


def _describe_place(dataset: DtoolDataset, inquiry: Inquiry | None) -> str:
    if dataset.spec.volume is not None:
        return f"volume {dataset.spec.volume.claim_name}:{dataset.spec.volume.path}"
    target = None if inquiry is None else inquiry.target
    if target is None:
        return ""
    bucket = f"DtoolBucket {target.bucket.namespace}/{target.bucket.name}"
    return f"s3://{target.bucket.spec.bucket}/{target.prefix}{target.uuid} ({bucket})"


def foresee_bucket(sight: Sight, bucket: DtoolBucket, admins: frozenset[str], now: datetime) -> Foresight:
    """Plan one bucket object as an operator that has just started would."""
    endpoint = bucket.spec.endpoint or AWS
    assumed = [
        f"the operator's administrators' namespaces are {', '.join(sorted(admins))}",
        f"its administrator allows the endpoint {endpoint}",
        "the Secret is there, and the operator may read it",
    ]
    policy = Policy(admin_namespaces=admins, allowed_endpoints=frozenset({endpoint}))
    seen = ObservedBucket(now, bucket, sight.world.view(), policy, credentials="")
    plan = plan_bucket(seen)
    return Foresight(
        kind="DtoolBucket",
        namespace=bucket.namespace,
        name=bucket.name,
        decided=Decided.STORAGE if plan.actions else Decided.CLUSTER,
        place=f"s3://{bucket.spec.bucket}",
        actions=[(type(action).__name__, describe_action(action)) for action in plan.actions],
        expected=["the endpoint answers, and the keys may read and write"] if plan.actions else [],
        conditions=bucket.status.conditions if plan.status is None else plan.status.conditions,
        assumed=assumed,
    )
