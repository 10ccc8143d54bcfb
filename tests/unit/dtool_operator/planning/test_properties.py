"""Whatever a user writes and S3 says: a plan, always the same, that comes to rest."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dtool_operator.api.dataset import DtoolDataset
from dtool_operator.api.reasons import Reason
from dtool_operator.planning.dataset import plan_dataset
from dtool_operator.planning.inquiry import find_inquiry
from dtool_operator.planning.observed import ObservedDataset, Slots, StorageView
from dtool_operator.planning.plan import Backoff, MarkObject, StartTransfer
from dtool_operator.planning.task import DatasetFacts, ErrorLine, MismatchLine, ProgressLine
from dtool_operator.planning.transfer import TransferRecord, TransferState
from dtool_s3.documents import AdminMetadata, DatasetType
from dtool_s3.ownership import Owner
from tests.support import observed as see
from tests.support.observed import adopted, bucket, dataset, instruments, seen

UUIDS = st.sampled_from([see.UUID, "00000000-0000-4000-8000-000000000000"])
NAMES = st.sampled_from(["lab", "instruments", "own", "missing"])
SPACES = st.sampled_from([None, see.ADMIN, "alice", "bob"])
REFS = st.fixed_dictionaries({"name": NAMES}, optional={"namespace": SPACES})
BUCKET_NAMES = st.sampled_from(["lab-data", "instrument-data", "own-data", "B.." + "x" * 252])

SOURCES = st.one_of(
    st.builds(lambda name, uuid: {"uri": f"s3://{name}/{uuid}"}, BUCKET_NAMES, UUIDS),
    st.builds(lambda ref, uuid: {"stored": {"bucketRef": ref, "uuid": uuid}}, REFS, UUIDS),
    st.just({"uri": "https://data.example.org/published/x"}),
    st.just({"dataset": {"name": "raw"}}),
    st.just({"objects": {"bucketRef": {"name": "lab"}, "prefix": "run/"}}),
    st.just({"volume": {"claimName": "c"}}),
)
LAB = st.just({"name": "lab", "namespace": see.ADMIN})
PLACES = st.one_of(
    st.builds(lambda ref: {"bucketRef": ref}, st.one_of(LAB, LAB, REFS)),
    st.just({"bucketRef": None, "volume": {"claimName": "c"}}),
)
ORIGINS = st.one_of(
    st.builds(lambda source: {"source": source}, SOURCES),
    st.builds(lambda uuid: {"source": None, "uuid": uuid}, UUIDS),
    st.builds(lambda source: {"source": source, "identity": "New"}, SOURCES),
    st.just({"source": None}),
)
CHOICES = st.fixed_dictionaries(
    {},
    optional={
        "freeze": st.booleans(),
        "tags": st.lists(st.just("a"), max_size=1),
        "suspend": st.booleans(),
        "deletionPolicy": st.sampled_from(["Retain", "Delete"]),
    },
)
TEXTS = st.text(max_size=40)
PREFIXES = st.one_of(st.none(), st.sampled_from(["", "u/alice/", "u/bob/", "u/alice"]), TEXTS)
ADMINS = st.one_of(
    st.none(),
    st.builds(
        AdminMetadata, uuid=UUIDS, type=st.sampled_from(DatasetType), name=TEXTS, creator_username=TEXTS
    ),
)
OWNERS = st.one_of(st.none(), st.just(see.OWNER), st.builds(Owner, TEXTS, TEXTS, TEXTS, TEXTS))
STORAGES = st.one_of(
    st.builds(StorageView, OWNERS, PREFIXES, ADMINS, PREFIXES, ADMINS, st.sampled_from(["1", "2"])),
    st.builds(see.refuse, st.sampled_from(Reason)),
)
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
TASKS = [see.task_of(seen()), see.task_of(seen(adopted(), storage=see.HERE))]
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
    bucket(), instruments(), bucket("own", "alice", bucket="own-data"), bucket("x", bucket="instrument-data")
)


@st.composite
def datasets(draw: st.DrawFn) -> DtoolDataset:
    """Objects that the API takes, new ones and reported ones, with any marks."""
    spec = {**draw(PLACES), **draw(ORIGINS), **draw(CHOICES)}
    one = dataset(namespace=draw(st.sampled_from(["alice", "mallory", "x"])), **spec)
    status = draw(st.sampled_from([one, see.was_frozen()])).status
    marked = see.marked(replace(one, status=status), finalizer=draw(st.booleans()))
    return draw(st.sampled_from([marked, see.deleted(marked), see.deleted(marked, ago=timedelta(hours=2))]))


@st.composite
def looks(draw: st.DrawFn) -> ObservedDataset:
    """What a reconciler may have seen: S3 is asked exactly where `find_places` says so."""
    one = draw(datasets())
    look = seen(
        one,
        cluster=CLUSTER,
        siblings=(one, *draw(st.lists(datasets().map(see.older), max_size=1))),
        transfer=draw(RECORDS),
        slots=draw(st.sampled_from([Slots(), Slots(running=4)])),
        storage=None,
    )
    return look if find_inquiry(look) is None else replace(look, storage=draw(STORAGES))


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
    for _ in range(5):
        plan = plan_dataset(look)
        later = see.carried_out(look, plan)
        if not plan.actions and later == look:
            return
        look = later
    raise AssertionError(f"it goes on and on: {plan.actions}")


@MANY
@given(looks())
def test_no_plan_is_looked_at_again_at_once_unless_something_was_done(look: ObservedDataset) -> None:
    plan = plan_dataset(look)

    if not plan.actions and plan.look_again is not None and not isinstance(plan.look_again, Backoff):
        assert plan.look_again > timedelta(0)


@MANY
@given(looks())
def test_no_worker_starts_without_consent_ownership_and_a_finalizer(look: ObservedDataset) -> None:
    plan = plan_dataset(look)

    for position, action in enumerate(plan.actions):
        if not isinstance(action, StartTransfer):
            continue
        storage = look.storage
        assert isinstance(storage, StorageView)
        assert storage.owner in (None, see.OWNER)
        assert look.dataset.namespace == "alice"
        assert action.task.target.prefix == "u/alice/"
        assert action.task.target.bucket != "instrument-data"
        if action.task.source is not None:
            marks = [a for a in plan.actions[:position] if isinstance(a, MarkObject)]
            assert look.dataset.meta.finalizers or marks[0].has_finalizer


@MANY
@given(looks())
def test_kstatus_conditions_agree_with_each_other(look: ObservedDataset) -> None:
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
