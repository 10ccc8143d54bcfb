"""What one reconcile has seen, frozen; the only input of the planner, `now` included. Pure values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from dtool_operator.api.bucket import DtoolBucket
from dtool_operator.api.conditions import ConditionStatus, ConditionType, find_condition
from dtool_operator.api.dataset import DtoolDataset
from dtool_operator.api.reasons import Reason
from dtool_operator.planning.transfer import TransferRecord
from dtool_s3.catalog import Catalog
from dtool_s3.documents import AdminMetadata
from dtool_s3.ownership import Owner


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why something is not done: a reason of the API, and a message that tells what to do next.

    `is_passing`: it is expected to pass without anybody's decision; what runs meanwhile may go on.
    """

    reason: Reason
    message: str
    is_passing: bool = False


@dataclass(frozen=True, slots=True)
class NamespaceView:
    """A namespace as the watch shows it."""

    name: str
    uid: str
    labels: Mapping[str, str] = field(default_factory=dict)
    is_terminating: bool = False


@dataclass(frozen=True, slots=True)
class Policy:
    """The administrator's settings that decisions depend on."""

    admin_namespaces: frozenset[str]
    allowed_endpoints: frozenset[str] = frozenset()
    backoff_base: timedelta = timedelta(seconds=2)
    backoff_cap: timedelta = timedelta(minutes=5)
    resync: timedelta = timedelta(minutes=10)
    deletion_timeout: timedelta = timedelta(hours=1)
    terminating_deletion_timeout: timedelta = timedelta(minutes=5)
    max_transfers: int = 4


@dataclass(frozen=True, slots=True)
class ClusterView:
    """The cluster as the watches show it.

    `buckets` are those whose spec is valid, `invalid_buckets` namespace and name of the others.
    """

    uid: str
    buckets: tuple[DtoolBucket, ...]
    namespaces: Mapping[str, NamespaceView]
    invalid_buckets: frozenset[tuple[str, str]] = frozenset()

    def find_bucket(self, namespace: str, name: str) -> DtoolBucket | None:
        """Return the bucket object, or None."""
        return next((b for b in self.buckets if (b.namespace, b.name) == (namespace, name)), None)

    def labels(self, namespace: str) -> Mapping[str, str]:
        """Return the labels of a namespace; none if it is unknown."""
        view = self.namespaces.get(namespace)
        return {} if view is None else view.labels


def is_ready(bucket: DtoolBucket) -> bool:
    """Tell whether a bucket object was found usable, for the spec it has now."""
    ready = find_condition(bucket.status.conditions, ConditionType.READY)
    return (
        ready is not None
        and ready.status is ConditionStatus.TRUE
        and ready.observed_generation == bucket.meta.generation
        and not bucket.spec.suspend
    )


@dataclass(frozen=True, slots=True)
class StorageView:
    """What S3 says about one dataset and its place.

    `registered_prefix`: body of the registration key in the target bucket. `admin`: what lies under the own
    prefix. `source_prefix`, `source_admin`: the same of a copy's source.
    """

    owner: Owner | None = None
    registered_prefix: str | None = None
    admin: AdminMetadata | None = None
    source_prefix: str | None = None
    source_admin: AdminMetadata | None = None
    credentials_version: str = ""


@dataclass(frozen=True, slots=True)
class Slots:
    """Transfers that run, and how many may."""

    running: int = 0
    allowed: int = 4
    running_in_bucket: int = 0
    allowed_in_bucket: int = 4

    @property
    def is_free(self) -> bool:
        """Whether one more may start."""
        return self.running < self.allowed and self.running_in_bucket < self.allowed_in_bucket


@dataclass(frozen=True, slots=True)
class ObservedDataset:
    """All that is known when one DtoolDataset is looked at.

    `siblings`: the other datasets of its namespace. `storage` None: S3 was not asked, because what the
    cluster says already decides; a Refusal: it was asked in vain.
    """

    now: datetime
    dataset: DtoolDataset
    cluster: ClusterView
    policy: Policy
    siblings: tuple[DtoolDataset, ...] = ()
    transfer: TransferRecord | None = None
    storage: StorageView | Refusal | None = None
    slots: Slots = Slots()


@dataclass(frozen=True, slots=True)
class Tested:
    """The last self-test: of which spec and Secret, how it went, the how manyth in a row."""

    version: str
    tested_at: datetime
    refusal: Refusal | None = None
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class Listed:
    """The last listing; `catalog` is that of the last one that succeeded.

    `is_stale`: a dataset is known to have arrived or gone since. `attempt` counts failures in a row.
    """

    listed_at: datetime
    catalog: Catalog | None = None
    refusal: Refusal | None = None
    is_stale: bool = False
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class ObservedBucket:
    """All that is known when one DtoolBucket is looked at.

    `credentials`: a version of the Secret (`""` for the ambient chain), or why there are none; None where
    the spec already decides. `owned_prefix`: prefix of the first admitted namespace whose marker is ours.
    """

    now: datetime
    bucket: DtoolBucket
    cluster: ClusterView
    policy: Policy
    credentials: str | Refusal | None = None
    owned_prefix: str | None = None
    tested: Tested | None = None
    listed: Listed | None = None
    described: Mapping[str, int] = field(default_factory=dict)
