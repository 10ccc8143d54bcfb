"""Builders of what a planner sees of a bucket, for the tests of `planning`."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

from dtool_operator.api.bucket import DtoolBucket
from dtool_operator.api.bucket_status import DtoolBucketStatus
from dtool_operator.planning.bucket import BucketPlan
from dtool_operator.planning.observed import Listed, ObservedBucket, Refusal, Tested
from dtool_s3.catalog import Catalog, CatalogEntry, EntryState
from tests.support.datasets import UUID
from tests.support.observed import NOW, POLICY, cluster, fresh

CATALOG = Catalog({UUID: CatalogEntry(UUID, "u/alice/", EntryState.FROZEN, "etag")})
"""One frozen dataset of alice's."""

MINUTE = timedelta(minutes=1)


def seen_bucket(one: DtoolBucket, *others: DtoolBucket, **fields: Any) -> ObservedBucket:
    """One look at a bucket object that nothing was reported of, with its Secret read."""
    values = {
        "now": NOW,
        "bucket": fresh(one),
        "cluster": cluster(one, *others),
        "policy": POLICY,
        "credentials": "7",
        **fields,
    }
    return ObservedBucket(**values)


def trial(refusal: Refusal | None = None, *, ago: timedelta = MINUTE, **fields: Any) -> Tested:
    """A self-test of the bucket object and Secret that `seen_bucket` shows."""
    return Tested(fields.pop("version", "1/7/None"), NOW - ago, refusal, **fields)


def listing(refusal: Refusal | None = None, *, ago: timedelta = MINUTE, **fields: Any) -> Listed:
    """A listing; what was found last is CATALOG."""
    return Listed(NOW - ago, fields.pop("catalog", CATALOG), refusal, **fields)


def read_back(look: ObservedBucket, plan: BucketPlan) -> ObservedBucket:
    """The next look, after the plan's status was written and read."""
    if plan.status is None:
        return look
    status = DtoolBucketStatus.model_validate(json.loads(json.dumps(plan.status.dump())))
    return replace(look, bucket=replace(look.bucket, status=status))
