"""What one reconcile has seen, frozen; the only input of the planner, `now` included. Pure values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from dtool_operator.api.bucket import DtoolBucket
from dtool_operator.api.conditions import ConditionStatus, ConditionType, find_condition
from dtool_operator.api.dataset import DtoolDataset
from dtool_operator.api.reasons import Reason
from dtool_operator.planning.transfer import TransferRecord
from dtool_s3.catalog import Catalog, CatalogEntry
from dtool_s3.documents import AdminMetadata
from dtool_s3.metadata import MetadataChange
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
class JobPolicy:
    """How work is done in Kubernetes Jobs; an operator without one runs none.

    `copy_above_bytes`: copies between buckets of at least this size are Jobs; None: none is.
    """

    operator_namespace: str
    has_signing: bool = False
    signing_expiry: timedelta = timedelta(seconds=30)
    copy_above_bytes: int | None = None
    items_per_shard: int = 1_000_000
    max_shards: int = 16


@dataclass(frozen=True, slots=True)
class Policy:
    """The administrator's settings that decisions depend on."""

    admin_namespaces: frozenset[str]
    allowed_endpoints: frozenset[str] = frozenset()
    allowed_http_hosts: frozenset[str] = frozenset()
    backoff_base: timedelta = timedelta(seconds=2)
    backoff_cap: timedelta = timedelta(minutes=5)
    resync: timedelta = timedelta(minutes=10)
    deletion_timeout: timedelta = timedelta(hours=1)
    terminating_deletion_timeout: timedelta = timedelta(minutes=5)
    max_transfers: int = 4
    freeze_quiet_period: timedelta = timedelta(seconds=30)
    jobs: JobPolicy | None = None


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

    `uuid`: the dataset that was looked at; None: the target's. `registered_prefix`: body of the registration
    key in the target bucket. `admin`: what lies under the own prefix. `source_prefix`, `source_admin`: the
    same of a copy's source. `source_owner`: who owns the prefix that the reader reads from as its owner.
    `change`: what README, tags and annotations lack; None: that was not asked.
    """

    owner: Owner | None = None
    registered_prefix: str | None = None
    admin: AdminMetadata | None = None
    source_prefix: str | None = None
    source_admin: AdminMetadata | None = None
    credentials_version: str = ""
    uuid: str | None = None
    change: MetadataChange | None = None
    source_owner: Owner | None = None


@dataclass(frozen=True, slots=True)
class CatalogView:
    """What the last listing of the bucket shows of a dataset; `entry` None: nothing."""

    entry: CatalogEntry | None


@dataclass(frozen=True, slots=True)
class Slots:
    """Transfers that run, and how many may.

    The last place, in all and in a bucket that others share, is kept for a namespace that runs nothing, so
    that one that asks for thousands does not hold up another's single copy (rule 17).
    """

    running: int = 0
    allowed: int = 4
    running_in_bucket: int = 0
    allowed_in_bucket: int = 4
    running_in_namespace: int = 0
    is_shared: bool = False
    is_bucket_shared: bool = False

    @property
    def is_free(self) -> bool:
        """Whether one more may start."""
        return self._has_place(self.running, self.allowed, is_shared=self.is_shared) and self._has_place(
            self.running_in_bucket, self.allowed_in_bucket, is_shared=self.is_bucket_shared
        )

    def _has_place(self, running: int, allowed: int, *, is_shared: bool) -> bool:
        keeps_last = is_shared and allowed > 1 and self.running_in_namespace > 0
        return running < (allowed - 1 if keeps_last else allowed)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a namespace keeps in a bucket beside one dataset: those described, and those that came first."""

    datasets: int = 0
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class ObservedDataset:
    """All that is known when one DtoolDataset is looked at.

    `siblings`: the other datasets of its namespace that describe the same uuid. `source_dataset`: the object
    that spec.source.dataset names. `usage` is known where the bucket has limits per namespace. `catalog`
    None: the bucket was not listed yet. `storage` None: S3 was not asked, because what is known already
    decides; a Refusal: it was asked in vain.
    """

    now: datetime
    dataset: DtoolDataset
    cluster: ClusterView
    policy: Policy
    siblings: tuple[DtoolDataset, ...] = ()
    source_dataset: DtoolDataset | None = None
    usage: Usage = Usage()
    transfer: TransferRecord | None = None
    catalog: CatalogView | None = None
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
class Findings:
    """What a complete listing means for DtoolDatasets, and what was tried since (rule 9).

    `prefixes`: those looked below. `owners`: the markers read after it, None where there is none; a prefix
    that is not in it was not asked, or not with success. `importable`: uuids of frozen datasets that nothing
    described, by prefix. `vanished`: uids of imported objects whose dataset is gone. `tried`: what was acted
    on since (roots of datasets, uids of objects, keys of markers): each once per listing. `refused`:
    namespaces that take no object now.
    """

    prefixes: frozenset[str] = frozenset()
    owners: Mapping[str, Owner | None] = field(default_factory=dict)
    importable: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    vanished: tuple[str, ...] = ()
    tried: frozenset[str] = frozenset()
    refused: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Listed:
    """The last listing; `catalog` is that of the last one that succeeded.

    `is_stale`: a dataset is known to have arrived or gone since. `attempt` counts failures in a row.
    `generation`: of the spec it was made for. `found`: what it says of DtoolDatasets.
    """

    listed_at: datetime
    catalog: Catalog | None = None
    refusal: Refusal | None = None
    is_stale: bool = False
    attempt: int = 1
    generation: int = 1
    found: Findings | None = None


@dataclass(frozen=True, slots=True)
class ObservedBucket:
    """All that is known when one DtoolBucket is looked at.

    `credentials`: a version of the Secret (`""` for the ambient chain), or why there are none; None where
    the spec already decides. `owned_prefix`: prefix of the first admitted namespace whose marker is ours.
    `override_refusal`: why the prefixOverrides that were changed cannot be in force; `overrides_unasked`:
    not all of them are asked about yet.
    `objects`: the DtoolDatasets in this S3 bucket, through whichever bucket object. `described`: bytes of
    those in this bucket object whose size is known, by uuid.
    """

    now: datetime
    bucket: DtoolBucket
    cluster: ClusterView
    policy: Policy
    credentials: str | Refusal | None = None
    owned_prefix: str | None = None
    override_refusal: Refusal | None = None
    overrides_unasked: bool = False
    objects: tuple[DtoolDataset, ...] = ()
    tested: Tested | None = None
    listed: Listed | None = None
    described: Mapping[str, int] = field(default_factory=dict)
