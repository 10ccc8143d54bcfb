"""Whatever a user writes and S3 says: a plan, always the same, that comes to rest."""

from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dtool_operator.api.dataset import DtoolDataset
from dtool_operator.api.dataset_status import Managed
from dtool_operator.api.reasons import Reason
from dtool_operator.planning.dataset import plan_dataset
from dtool_operator.planning.history import was_frozen
from dtool_operator.planning.inquiry import find_inquiry
from dtool_operator.planning.observed import CatalogView, ObservedDataset, Slots, StorageView, Usage
from dtool_operator.planning.plan import (
    Backoff,
    CreateProto,
    DatasetAction,
    EnsureOwner,
    MarkObject,
    StartTransfer,
    SyncMetadata,
)
from dtool_operator.planning.task import DatasetFacts, ErrorLine, MismatchLine, ProgressLine, TaskKind
from dtool_operator.planning.transfer import TransferRecord, TransferState
from dtool_s3.catalog import CatalogEntry, EntryState
from dtool_s3.documents import AdminMetadata, DatasetType
from dtool_s3.metadata import MetadataChange
from dtool_s3.ownership import Owner
from tests.support import observed as see
from tests.support.observed import adopted, bucket, dataset, instruments, seen

T = TypeVar("T")


def mostly(usual: st.SearchStrategy[T], rare: st.SearchStrategy[T]) -> st.SearchStrategy[T]:
    """What is usual, and now and then what is rare: else nearly every plan would be a refusal."""
    return st.sampled_from("uuuruuuu").flatmap(lambda kind: rare if kind == "r" else usual)


UUIDS = st.sampled_from([see.UUID, "00000000-0000-4000-8000-000000000000"])
NAMES = st.sampled_from(["lab", "instruments", "own", "missing"])
SPACES = st.sampled_from([None, see.ADMIN, "alice", "bob"])
REFS = st.fixed_dictionaries({"name": NAMES}, optional={"namespace": SPACES})
BUCKET_NAMES = st.sampled_from(["lab-data", "instrument-data", "own-data", "B.." + "x" * 252])

SOURCES = st.one_of(
    st.builds(lambda name, uuid: {"uri": f"s3://{name}/{uuid}"}, BUCKET_NAMES, UUIDS),
    st.builds(lambda ref, uuid: {"stored": {"bucketRef": ref, "uuid": uuid}}, REFS, UUIDS),
    st.builds(lambda host: {"uri": f"https://{host}.example.org/{see.UUID}"}, st.sampled_from(["data", "x"])),
    st.just({"uri": "https://data.example.org/published/x"}),
    st.just({"dataset": {"name": "raw", "namespace": "bob"}}),
    st.builds(
        lambda ref, prefix: {"objects": {"bucketRef": ref, "prefix": prefix}},
        REFS,
        st.sampled_from(["u/alice/run/", "u/bob/"]),
    ),
    st.just({"volume": {"claimName": "c"}}),
)
LAB = st.just({"bucketRef": {"name": "lab", "namespace": see.ADMIN}})
PLACES = mostly(
    LAB,
    st.one_of(
        st.builds(lambda ref: {"bucketRef": ref}, REFS),
        st.just({"bucketRef": None, "volume": {"claimName": "c"}}),
    ),
)
USABLE = st.sampled_from(
    [
        see.URI,
        {"stored": {"bucketRef": {"name": "instruments", "namespace": see.ADMIN}, "uuid": see.UUID}},
        {"dataset": {"name": "raw", "namespace": "bob"}},
        {"objects": {"bucketRef": {"name": "lab", "namespace": see.ADMIN}, "prefix": "run/"}},
        {"uri": f"https://data.example.org/{see.UUID}"},
    ]
)
ORIGINS = st.one_of(
    st.builds(lambda source: {"source": source}, mostly(USABLE, SOURCES)),
    st.just({"source": None, "uuid": see.UUID}),
    st.builds(lambda source: {"source": source, "identity": "New"}, mostly(USABLE, SOURCES)),
    st.just({"source": None}),
)
CHOICES = st.fixed_dictionaries(
    {},
    optional={
        "freeze": st.booleans(),
        "tags": st.lists(st.just("a"), max_size=1),
        "annotations": st.just({"b": 1}),
        "readme": st.just("x"),
        "verify": st.just({"interval": "24h", "method": "Content"}),
        "suspend": mostly(st.just(False), st.just(True)),
        "deletionPolicy": st.sampled_from(["Retain", "Delete"]),
    },
)
TEXTS = st.text(max_size=40)
PREFIXES = mostly(
    st.sampled_from([None, "u/alice/"]),
    st.one_of(st.sampled_from(["", "u/bob/", "u/alice"]), TEXTS),
)
SOURCE_PREFIXES = mostly(st.sampled_from(["", "u/bob/"]), PREFIXES)
ADMINS = mostly(
    st.sampled_from([see.admin_metadata(kind) for kind in (None, "proto", "frozen")]),
    st.builds(
        AdminMetadata, uuid=UUIDS, type=st.sampled_from(DatasetType), name=TEXTS, creator_username=TEXTS
    ),
)
FROZEN_ADMINS = mostly(st.just(see.admin_metadata()), ADMINS)
OWNERS = mostly(st.sampled_from([None, see.OWNER, see.OTHER]), st.builds(Owner, TEXTS, TEXTS, TEXTS, TEXTS))
CHANGES = st.sampled_from(
    [None, MetadataChange(), MetadataChange(readme="x", put_tags=("a",)), MetadataChange(delete_tags=("c",))]
)
STORAGES = mostly(
    st.builds(
        StorageView,
        owner=OWNERS,
        registered_prefix=PREFIXES,
        admin=ADMINS,
        source_prefix=SOURCE_PREFIXES,
        source_admin=FROZEN_ADMINS,
        credentials_version=st.sampled_from(["1", "2"]),
        change=CHANGES,
    ),
    st.builds(see.refuse, st.sampled_from(Reason)),
)
HOUR = timedelta(hours=1)
COUNTS = st.integers(0, 2**60)
TIMES = st.one_of(st.none(), st.floats())
MISMATCHES = st.lists(st.builds(MismatchLine, relpath=TEXTS, expected=TEXTS, found=TEXTS), max_size=20)
FACTS = st.builds(
    DatasetFacts,
    name=TEXTS,
    creator_username=TEXTS,
    created_at=TIMES,
    frozen_at=TIMES,
    items=COUNTS,
    size_bytes=COUNTS,
    etag_md5=COUNTS,
    read=COUNTS,
    same_as_source=COUNTS,
    unproven=COUNTS,
    mismatch_count=COUNTS,
    mismatches=MISMATCHES.map(tuple),
)
LINES = st.builds(
    ProgressLine,
    phase=st.one_of(st.sampled_from(["Copying", "Verifying", "Freezing", "Removing"]), TEXTS),
    items=COUNTS,
    items_total=COUNTS,
    bytes=COUNTS,
    bytes_total=COUNTS,
)
ERRORS = st.builds(
    ErrorLine,
    reason=st.one_of(st.sampled_from([str(reason) for reason in Reason]), TEXTS),
    message=TEXTS,
    retryable=st.booleans(),
)
PROTO = see.stored("proto", registered="u/alice/")
TASKS = [
    see.task_of(look)
    for look in (
        seen(),
        seen(adopted(), storage=see.HERE),
        seen(adopted(freeze=True), storage=PROTO),
        seen(dataset(identity="New")),
        seen(see.deleted(see.marked(dataset(), finalizer=True)), storage=PROTO),
    )
]
MOMENTS = st.datetimes(see.NOW.replace(tzinfo=None) - timedelta(days=2), see.NOW.replace(tzinfo=None)).map(
    lambda moment: moment.replace(tzinfo=see.NOW.tzinfo)
)
RECORDS = st.one_of(
    st.none(),
    st.builds(
        TransferRecord,
        task=st.sampled_from(TASKS),
        state=st.sampled_from(TransferState),
        attempts=st.integers(1, 1000),
        started_at=MOMENTS,
        progress=st.one_of(st.none(), LINES),
        progress_at=st.one_of(st.none(), MOMENTS),
        finished_at=st.one_of(st.none(), MOMENTS),
        facts=st.one_of(st.none(), FACTS),
        error=st.one_of(st.none(), ERRORS),
    ),
)
CLUSTER = see.cluster(
    bucket(
        readAccess="Bucket",
        takeOver=[{"namespace": "alice", "fromOwner": str(see.OTHER)}],
        limits={"perNamespace": {"datasets": 3}},
    ),
    instruments(),
    bucket("own", "alice", bucket="own-data"),
    bucket("x", bucket="instrument-data"),
)
POLICY = replace(see.POLICY, allowed_http_hosts=frozenset({"data.example.org"}))
BOBS = see.was_frozen(dataset(namespace="bob"))
HURT = see.reported(BOBS, plan_dataset(seen(see.was_frozen(), storage=see.stored("frozen"))))
OPEN = see.reported(dataset(source=None), plan_dataset(seen(dataset(source=None), storage=PROTO)))
READING = see.was_frozen(dataset(verify={"interval": "24h", "method": "Content"}))
CHANGED = see.reported(
    READING,
    plan_dataset(
        seen(
            see.with_annotations(READING, {"dtool.dev/verifyRequestedAt": "1"}),
            storage=see.HERE,
            transfer=see.ended(
                seen(see.with_annotations(READING, {"dtool.dev/verifyRequestedAt": "1"}), storage=see.HERE),
                see.facts(mismatch_count=1),
            ),
        )
    ),
)
#: What may have been reported before: nothing, frozen, damaged in two ways, an open proto.
REPORTED = [dataset().status, see.was_frozen().status, HURT.status, CHANGED.status, OPEN.status]
OURS = Managed(tags=("a", "c"))
REQUESTS = st.dictionaries(
    st.sampled_from(["dtool.dev/verifyRequestedAt", "dtool.dev/reconcileRequestedAt"]), st.just("1")
)
ENTRIES = st.builds(
    CatalogEntry,
    uuid=st.just(see.UUID),
    prefix=st.sampled_from(["u/alice/", "u/bob/"]),
    state=st.sampled_from(EntryState),
    registration_etag=st.just("etag"),
)
CATALOGS = st.one_of(st.none(), st.builds(CatalogView, st.one_of(st.none(), ENTRIES)))


@st.composite
def datasets(draw: st.DrawFn) -> DtoolDataset:
    """Objects that the API takes, new ones and reported ones, with any marks."""
    spec = {**draw(PLACES), **draw(ORIGINS), **draw(CHOICES)}
    one = dataset(namespace=draw(mostly(st.just("alice"), st.sampled_from(["mallory", "x"]))), **spec)
    status = draw(mostly(st.sampled_from(REPORTED[:2]), st.sampled_from(REPORTED)))
    managed = draw(st.sampled_from([None, OURS]))
    marked = see.marked(
        replace(one, status=status.model_copy(update={"managed": managed})),
        finalizer=draw(st.booleans()),
        label=draw(st.sampled_from([None, see.UUID, one.uid, "x"])),
    )
    asking = see.with_annotations(marked, draw(REQUESTS))
    return draw(
        mostly(st.just(asking), st.sampled_from([see.deleted(asking), see.deleted(asking, ago=2 * HOUR)]))
    )


@st.composite
def looks(draw: st.DrawFn) -> ObservedDataset:
    """What a reconciler may have seen: S3 is asked exactly where `find_inquiry` says so."""
    one = draw(datasets())
    look = seen(
        one,
        cluster=CLUSTER,
        policy=POLICY,
        siblings=draw(mostly(st.just(()), st.tuples(datasets().map(see.older)))),
        source_dataset=draw(mostly(st.just(BOBS), st.sampled_from([None, HURT]))),
        transfer=draw(mostly(st.none(), RECORDS)),
        catalog=draw(CATALOGS),
        usage=draw(mostly(st.just(Usage()), st.just(Usage(3)))),
        slots=draw(mostly(st.just(Slots()), st.just(Slots(running=4)))),
        storage=None,
        now=see.NOW + draw(st.sampled_from([timedelta(0), HOUR, 300 * HOUR])),
    )
    inquiry = find_inquiry(look)
    if inquiry is None:
        return look
    storage = draw(STORAGES)
    if isinstance(storage, StorageView):
        # README, tags and annotations are compared where that is asked, and something is there
        is_compared = inquiry.wanted is not None and storage.admin is not None
        change = (storage.change or MetadataChange()) if is_compared else None
        storage = replace(storage, uuid=inquiry.other_uuid, change=change)
    return replace(look, storage=storage)


MANY = settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])


@MANY
@given(looks())
def test_whatever_was_seen_there_is_a_plan_and_always_the_same(look: ObservedDataset) -> None:
    plan = plan_dataset(look)

    assert plan_dataset(look) == plan
    assert plan.status is None or plan.status.dump()


@MANY
@given(looks())
def test_every_plan_comes_to_rest(look: ObservedDataset) -> None:
    """Rule 10."""
    for _ in range(5):
        plan = plan_dataset(look)
        later = see.carried_out(look, plan)
        if not plan.actions and later == look:
            return
        look = later
    raise AssertionError(f"it goes on and on: {plan.actions}")


@MANY
@given(looks())
def test_no_plan_is_looked_at_again_at_once_unless_something_was_done_or_noted(
    look: ObservedDataset,
) -> None:
    plan = plan_dataset(look)

    # what is about to be written is noted in the status first
    is_noted = plan.status is not None and plan.status.managed != look.dataset.status.managed
    if plan.look_again is None or isinstance(plan.look_again, Backoff) or plan.actions or is_noted:
        return
    assert plan.look_again > timedelta(0)


@MANY
@given(looks())
def test_a_second_look_plans_nothing_new_unless_the_first_said_that_more_is_to_do(
    look: ObservedDataset,
) -> None:
    plan = plan_dataset(look)

    again = plan_dataset(see.carried_out(look, plan))

    if plan.look_again != timedelta(0):
        assert again.actions == ()


WRITING = frozenset({TaskKind.COPY, TaskKind.INGEST, TaskKind.FREEZE, TaskKind.REMOVE})


def is_write(action: DatasetAction) -> bool:
    """Tell whether an action writes below a prefix."""
    if isinstance(action, StartTransfer):
        return action.task.kind in WRITING
    return isinstance(action, CreateProto | SyncMetadata)


@MANY
@given(looks())
def test_rule_4_nothing_is_written_below_a_prefix_before_its_owner_marker(look: ObservedDataset) -> None:
    plan = plan_dataset(look)

    writes = [position for position, action in enumerate(plan.actions) if is_write(action)]
    if writes:
        assert isinstance(look.storage, StorageView)
        assert look.storage.owner in (None, see.OWNER, see.OTHER)
        markers = [p for p, action in enumerate(plan.actions) if isinstance(action, EnsureOwner)]
        assert look.storage.owner == see.OWNER or markers[0] < writes[0]
        for action in plan.actions:
            if isinstance(action, EnsureOwner):
                assert (action.owner, action.replaces) == (see.OWNER, look.storage.owner)


@MANY
@given(looks())
def test_rule_16_nothing_is_copied_created_frozen_or_removed_where_a_dataset_was_frozen(
    look: ObservedDataset,
) -> None:
    if not was_frozen(look.dataset) or look.dataset.meta.deletion_timestamp is not None:
        return

    plan = plan_dataset(look)

    for action in plan.actions:
        assert not isinstance(action, CreateProto)
        assert not isinstance(action, StartTransfer) or action.task.kind is TaskKind.VERIFY


@MANY
@given(looks())
def test_rule_11_no_worker_starts_without_consent_and_a_finalizer(look: ObservedDataset) -> None:
    plan = plan_dataset(look)

    for position, action in enumerate(plan.actions):
        if not isinstance(action, StartTransfer | CreateProto | SyncMetadata):
            continue
        assert look.dataset.namespace == "alice"
        if isinstance(action, StartTransfer):
            assert action.task.target.prefix == "u/alice/"
            assert action.task.target.bucket != "instrument-data"
        is_begun = isinstance(action, CreateProto) or (isinstance(action, StartTransfer) and is_write(action))
        if is_begun:
            marks = [a for a in plan.actions[:position] if isinstance(a, MarkObject)]
            assert look.dataset.meta.finalizers or marks[0].has_finalizer


@MANY
@given(looks())
def test_kstatus_conditions_agree_with_each_other(look: ObservedDataset) -> None:
    """Rule 20."""
    status = plan_dataset(look).status

    if status is None:
        return
    said: dict[str, Any] = {str(c.type): c for c in status.conditions}
    others = [c for name, c in said.items() if name in {"Reconciling", "Stalled"}]
    assert [str(c.status) for c in others] == ([] if said["Ready"].status == "True" else ["True"])
    assert all(c.reason == said["Ready"].reason for c in others)
    assert {c.observed_generation for c in status.conditions} == {look.dataset.meta.generation}
    assert (status.state == "Failed") is ("Stalled" in said)
    if said["Ready"].status == "True":
        assert said["Frozen"].status == ("False" if said["Ready"].reason == "Proto" else "True")
        assert said["Verified"].status != "False"
