"""What becomes a DtoolDataset, under which name, and which of these go again (rule 9); whole plans."""

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtool_operator.api.bucket import DtoolBucket
from dtool_operator.api.dataset import DtoolDataset, parse_dataset
from dtool_operator.planning.bucket import plan_bucket
from dtool_operator.planning.findings import build_findings, find_marker_prefixes
from dtool_operator.planning.imported import build_labels
from dtool_operator.planning.importing import ACTIONS_AT_ONCE, build_names
from dtool_operator.planning.observed import Findings, NamespaceView, ObservedBucket
from dtool_s3.catalog import Catalog, CatalogEntry, EntryState
from dtool_s3.ownership import Owner
from tests.support import observed as see
from tests.support.datasets import UUID
from tests.support.observed import ADMIN, adopted, bucket, cluster, deleted, was_frozen
from tests.support.observed_bucket import listing, read_back, seen_bucket, trial
from tests.support.told import tell

OURS = Owner(see.CLUSTER, "ns-alice", "alice", "u/alice/")
THEIRS = Owner("cluster-2", "ns-alice", "alice", "u/alice/")
FROZEN = CatalogEntry(UUID, "u/alice/", EntryState.FROZEN, "etag", name="RNA seq, 2026")
FIRST_NAME = "rna-seq-2026-1c10766c"
IMPORTING = bucket(listing={"import": "Frozen"})


# ---- names --------------------------------------------------------------------------------------------

NAMES = {
    "rnaseq": "rnaseq-1c10766c",
    "RNA_seq 2026": "rna-seq-2026-1c10766c",
    "a" * 80: f"{'a' * 54}-1c10766c",
    f"{'a' * 53}.b": f"{'a' * 53}-1c10766c",
    "-.-x-.-": "x-1c10766c",
    "": UUID,
    "…": UUID,
    "../../etc/passwd": "etc-passwd-1c10766c",
    "x\n  labels: {a: b}": "x-labels-a-b-1c10766c",
    "Straße": "stra-e-1c10766c",
}


@pytest.mark.parametrize("name", NAMES)
def test_an_imported_object_is_named_after_its_dataset_rule_9(name: str) -> None:
    assert build_names(name, UUID)[0] == NAMES[name]


@given(st.text(max_size=400))
def test_every_name_is_a_dns_label_whatever_a_bucket_says_rule_9(name: str) -> None:
    names = build_names(name, UUID)

    assert all(re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", one) for one in names)
    assert len(set(names)) == len(names)
    assert names[-1].endswith(UUID)


@given(st.text(max_size=400))
def test_every_label_value_is_one_that_kubernetes_takes_rule_9(name: str) -> None:
    values = build_labels(build_names(name, UUID)[-1][-36:]).values()

    assert all(re.fullmatch(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", value) for value in values)


# ---- what a listing says ------------------------------------------------------------------------------


def imported(name: str = "found", *, namespace: str = "alice", uuid: str = UUID, **spec: Any) -> DtoolDataset:
    """An object that the operator made."""
    body: dict[str, Any] = {
        "metadata": see.meta(name, namespace, labels=build_labels(uuid)),
        "spec": {"bucketRef": {"name": "lab", "namespace": ADMIN}, "uuid": uuid, **spec},
    }
    return parse_dataset(body)


def look(one: DtoolBucket = IMPORTING, *objects: DtoolDataset, **fields: Any) -> ObservedBucket:
    return seen_bucket(one, tested=trial(), objects=objects, **fields)


def findings(*found: CatalogEntry, seen: ObservedBucket | None = None, **catalog: Any) -> Findings:
    entries = {one.uuid: one for one in found if one.state is not EntryState.UNREGISTERED}
    unregistered = tuple(one for one in found if one.state is EntryState.UNREGISTERED)
    here = look() if seen is None else seen
    return build_findings(here, here, Catalog(entries, unregistered, **catalog))


def test_a_frozen_dataset_under_an_admitted_prefix_that_nothing_describes_is_importable_rule_9() -> None:
    found = findings(FROZEN)

    assert found.importable == {"u/alice/": (UUID,)}
    assert found.prefixes == {"u/alice/", "u/bob/", "u/dtool-system/"}
    assert find_marker_prefixes(look(), found) == ("u/alice/",)


@pytest.mark.parametrize("state", [state for state in EntryState if state is not EntryState.FROZEN])
def test_what_is_not_frozen_is_not_importable_rule_9(state: EntryState) -> None:
    assert findings(replace(FROZEN, state=state)).importable == {}


@pytest.mark.parametrize("prefix", ["", "u/mallory/", "u/alice/deeper/", "archive/"])
def test_what_lies_elsewhere_is_not_importable_rule_9(prefix: str) -> None:
    assert findings(replace(FROZEN, prefix=prefix)).importable == {}


def test_nothing_is_importable_where_the_spec_does_not_ask_rule_9() -> None:
    assert findings(FROZEN, seen=look(bucket())).importable == {}


DESCRIBED = {
    "an adoption": adopted(),
    "an imported object": imported(),
    "a copy that is under way": see.dataset(),
    "an object through another bucket object of the same S3 bucket": adopted(bucketRef={"name": "own"}),
}


@pytest.mark.parametrize("case", DESCRIBED)
def test_what_an_object_describes_is_not_importable_rule_9(case: str) -> None:
    own = bucket("own", "alice", prefixTemplate="u/{namespace}/")
    seen = replace(look(IMPORTING, DESCRIBED[case]), cluster=cluster(IMPORTING, own))

    assert findings(FROZEN, seen=seen).importable == {}


@pytest.mark.parametrize(
    "one",
    [
        adopted(namespace="bob"),
        adopted(bucketRef={"name": "instruments", "namespace": ADMIN}),
        adopted(bucketRef={"name": "gone"}),
    ],
    ids=["another namespace's", "in another bucket", "in an unknown bucket"],
)
def test_an_object_for_another_place_describes_nothing_here_rule_9(one: DtoolDataset) -> None:
    seen = replace(look(IMPORTING, one), cluster=cluster(IMPORTING, see.instruments()))

    assert findings(FROZEN, seen=seen).importable == {"u/alice/": (UUID,)}


def test_a_dataset_whose_object_went_while_it_was_listed_may_have_gone_too() -> None:
    before, after = look(IMPORTING, adopted()), look(IMPORTING)

    assert build_findings(before, after, Catalog({UUID: FROZEN})).importable == {}


GONE: dict[str, tuple[tuple[CatalogEntry, ...], bool]] = {
    "nothing is there": ((), True),
    "only a registration key is there": ((replace(FROZEN, state=EntryState.DANGLING),), True),
    "it lies under another prefix": ((replace(FROZEN, prefix="u/bob/"),), True),
    "it is there": ((FROZEN,), False),
    "it is a proto dataset now": ((replace(FROZEN, state=EntryState.PROTO),), False),
    "it cannot be read": ((replace(FROZEN, state=EntryState.UNREADABLE),), False),
    "its registration key cannot be read": (
        (replace(FROZEN, state=EntryState.UNREADABLE, prefix=""),),
        False,
    ),
    "its registration key is gone": ((replace(FROZEN, state=EntryState.UNREGISTERED),), False),
}


@pytest.mark.parametrize("case", GONE)
def test_an_imported_object_has_lost_its_dataset_if_rule_9(case: str) -> None:
    found, is_gone = GONE[case]
    seen = look(IMPORTING, imported())

    told = findings(*found, seen=seen)

    assert told.vanished == (("alice-found",) if is_gone else ())
    assert ("u/alice/" in find_marker_prefixes(seen, told)) is is_gone


def test_nothing_is_gone_from_a_bucket_that_could_not_be_listed_wholly_rule_9() -> None:
    assert findings(seen=look(IMPORTING, imported()), unlisted=("u/bob/",)).vanished == ()


def test_an_object_that_came_while_the_bucket_was_listed_has_lost_nothing() -> None:
    assert build_findings(look(), look(IMPORTING, imported()), Catalog({})).vanished == ()


def test_an_object_of_the_users_never_goes_rule_9() -> None:
    assert findings(seen=look(IMPORTING, adopted(), imported(tags=["mine"]))).vanished == ()


# ---- what is done about it ----------------------------------------------------------------------------


def plan(found: Findings, *objects: DtoolDataset, one: DtoolBucket = IMPORTING, **fields: Any) -> Any:
    catalog = fields.pop("catalog", Catalog({UUID: FROZEN}))
    listed = listing(catalog=catalog, found=found, **fields.pop("listed", {}))
    return plan_bucket(look(one, *objects, listed=listed, **fields))


def waiting(**fields: Any) -> Findings:
    """One dataset of alice's could be imported, and her marker is ours."""
    values = {"owners": {"u/alice/": OURS}, "importable": {"u/alice/": (UUID,)}, **fields}
    return Findings(prefixes=frozenset({"u/alice/", "u/bob/", "u/dtool-system/"}), **values)


def losing(**fields: Any) -> Findings:
    """An imported object of alice's has lost its dataset."""
    return waiting(importable={}, vanished=("alice-found",), **fields)


TAKE_OVER: dict[str, Any] = {
    "listing": {"import": "Frozen"},
    "takeOver": [{"namespace": "alice", "fromOwner": str(THEIRS)}],
}
HANDED_OVER = bucket(**TAKE_OVER)
READ_ONLY = bucket(listing={"import": "Frozen"}, accessMode="ReadOnly")
TERMINATING = tuple(
    replace(view, is_terminating=True) if view.name == "alice" else view for view in see.NAMESPACES
)
RECREATED = tuple(replace(view, uid="another") if view.name == "alice" else view for view in see.NAMESPACES)
WITHOUT = tuple(view for view in see.NAMESPACES if view.name != "alice")
NOT_ADMITTED = tuple(NamespaceView(view.name, view.uid) for view in see.NAMESPACES)

ROOT = f"u/alice/{UUID}/"
CLAIM = f"own u/alice/ as {OURS}"
OTHER = "00000001-0000-4000-8000-000000000000"
IMPORT = f"import alice/{FIRST_NAME}"
PRUNE = "prune alice/found, gone"

STEPS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "what is ours is imported": (plan(waiting()), (IMPORT,)),
    "without a marker the prefix is claimed first, rule 4": (
        plan(waiting(owners={"u/alice/": None})),
        (CLAIM,),
    ),
    "but once per listing": (
        plan(waiting(owners={"u/alice/": None}, tried=frozenset({"u/alice/.dtool-owner"}))),
        (),
    ),
    "nothing is claimed where frozen datasets of ours are missing: it may be another bucket": (
        plan(waiting(owners={"u/alice/": None}), was_frozen(), catalog=Catalog({})),
        (),
    ),
    "a missing marker counts as ours in a ReadOnly bucket, rule 4": (
        plan(waiting(owners={"u/alice/": None}), one=READ_ONLY),
        (IMPORT,),
    ),
    "nothing of somebody else's is imported, rule 4": (plan(waiting(owners={"u/alice/": THEIRS})), ()),
    "a prefix is handed over where takeOver names exactly its owner, rule 4": (
        plan(waiting(owners={"u/alice/": THEIRS}), one=HANDED_OVER),
        (f"{CLAIM}, not {THEIRS}",),
    ),
    "also where nothing is to be imported, rule 4": (
        plan(Findings(prefixes=waiting().prefixes, owners={"u/alice/": THEIRS}), one=HANDED_OVER),
        (f"{CLAIM}, not {THEIRS}",),
    ),
    "nothing is handed over of another owner's, rule 4": (
        plan(waiting(owners={"u/alice/": replace(THEIRS, namespace_uid="ns-3")}), one=HANDED_OVER),
        (),
    ),
    "nor twice after one listing": (
        plan(
            waiting(owners={"u/alice/": THEIRS}, tried=frozenset({"u/alice/.dtool-owner"})), one=HANDED_OVER
        ),
        (),
    ),
    "nor to a namespace that is being deleted": (
        plan(
            waiting(owners={"u/alice/": THEIRS}),
            one=HANDED_OVER,
            cluster=cluster(HANDED_OVER, namespaces=TERMINATING),
        ),
        (),
    ),
    "nor to one that is not admitted any more, rule 5": (
        plan(
            waiting(owners={"u/alice/": THEIRS}),
            one=HANDED_OVER,
            cluster=cluster(HANDED_OVER, namespaces=NOT_ADMITTED),
        ),
        (),
    ),
    "nor in a ReadOnly bucket": (
        plan(
            waiting(owners={"u/alice/": THEIRS}),
            one=bucket(**TAKE_OVER, accessMode="ReadOnly"),
        ),
        (),
    ),
    "nor of a namespace of the same name, rule 4": (
        plan(waiting(), cluster=cluster(IMPORTING, namespaces=RECREATED)),
        (),
    ),
    "nor where the marker could not be read": (plan(waiting(owners={})), ()),
    "nothing is imported into a namespace that is being deleted": (
        plan(waiting(), cluster=cluster(IMPORTING, namespaces=TERMINATING)),
        (),
    ),
    "nor into one that does not exist": (
        plan(waiting(), cluster=cluster(IMPORTING, namespaces=WITHOUT)),
        (),
    ),
    "nor into one that is not admitted any more, rule 5": (
        plan(waiting(), cluster=cluster(IMPORTING, namespaces=NOT_ADMITTED)),
        (),
    ),
    "nor into one that takes no objects": (plan(waiting(refused=frozenset({"alice"}))), ()),
    "nor what has been described since": (plan(waiting(), adopted()), ()),
    "nor what was tried since the listing": (plan(waiting(tried=frozenset({ROOT}))), ()),
    "nor more than importLimit allows": (
        plan(
            waiting(),
            imported(uuid=OTHER),
            one=bucket(listing={"import": "Frozen", "importLimit": 1}),
            catalog=Catalog({UUID: FROZEN, OTHER: replace(FROZEN, uuid=OTHER)}),
        ),
        (),
    ),
    "objects that only bear the label take nobody's room": (
        plan(
            waiting(),
            imported("forged", namespace="mallory", uuid=OTHER),
            one=bucket(listing={"import": "Frozen", "importLimit": 1}),
        ),
        (IMPORT,),
    ),
    "nor where it is not asked for any more": (plan(waiting(), one=bucket()), ()),
    "nor by a listing of another spec": (plan(waiting(), listed={"generation": 7}), ("list #1",)),
    "an imported object goes with its dataset": (plan(losing(), imported()), (PRUNE,)),
    "also where import is not asked for any more": (plan(losing(), imported(), one=bucket()), (PRUNE,)),
    "not without a marker, rule 4": (plan(losing(owners={"u/alice/": None}), imported()), ()),
    "not under somebody else's marker, rule 4": (plan(losing(owners={"u/alice/": THEIRS}), imported()), ()),
    "not where the marker could not be read": (plan(losing(owners={}), imported()), ()),
    "not where the namespace is not admitted any more, rule 5": (
        plan(losing(), imported(), cluster=cluster(IMPORTING, namespaces=NOT_ADMITTED)),
        (),
    ),
    "not twice after one listing": (plan(losing(tried=frozenset({"alice-found"})), imported()), ()),
    "not if it is being deleted": (plan(losing(), deleted(imported())), ()),
    "not if a user has edited it since": (plan(losing(), imported(tags=["mine"])), ()),
    "not from a ReadOnly bucket that shows nothing of what it held, and no marker": (
        plan(losing(owners={"u/alice/": None}), imported(), one=READ_ONLY, catalog=Catalog({})),
        (),
    ),
    "from a ReadOnly bucket that still has others of ours": (
        plan(
            losing(owners={"u/alice/": None}),
            imported(uuid="00000001-0000-4000-8000-000000000000"),
            imported("other"),
            one=READ_ONLY,
        ),
        (PRUNE,),
    ),
    "an imported object yields to a user's at once, without a marker": (
        plan(Findings(prefixes=waiting().prefixes), imported(), see.older(adopted(), "user")),
        ("prune alice/found, superseded",),
    ),
}


@pytest.mark.parametrize("case", STEPS)
def test_step_by_step(case: str) -> None:
    planned, expected = STEPS[case]

    assert tell(planned).do == expected
    assert not expected or tell(planned).look == "0s"


def test_nothing_is_done_after_a_listing_that_failed_rule_9() -> None:
    refused = see.refuse(see.Reason.THROTTLED)
    seen = look(IMPORTING, imported(), listed=replace(listing(refused), found=losing()))

    assert not any("prune" in done for done in tell(plan_bucket(seen)).do)


def test_a_namespace_that_was_admitted_since_has_the_bucket_listed_again_soon() -> None:
    found = replace(waiting(importable={}), prefixes=frozenset({"u/alice/", "u/bob/"}))

    assert tell(plan(found)).do == ("list #1",)


def test_only_so_many_objects_are_made_at_once_rule_17() -> None:
    uuids = tuple(f"{number:08d}-0000-4000-8000-000000000000" for number in range(100))
    catalog = Catalog({uuid: replace(FROZEN, uuid=uuid) for uuid in uuids})

    planned = plan(waiting(importable={"u/alice/": uuids}), catalog=catalog)

    assert len(planned.actions) == ACTIONS_AT_ONCE
    assert {action.uuid for action in planned.actions} == set(uuids[:ACTIONS_AT_ONCE])


def test_import_limit_bounds_what_is_made_and_the_rest_is_told_rule_9() -> None:
    uuids = tuple(f"{number:08d}-0000-4000-8000-000000000000" for number in range(5))
    catalog = Catalog({uuid: replace(FROZEN, uuid=uuid) for uuid in uuids})
    limited = bucket(listing={"import": "Frozen", "importLimit": 3})
    there = [imported(f"found-{number}", uuid=uuids[number]) for number in range(2)]
    found = waiting(importable={"u/alice/": uuids})

    first = plan(found, *there, one=limited, catalog=catalog)
    then = plan(found, *there, imported("found-2", uuid=uuids[2]), one=limited, catalog=catalog)

    assert [action.uuid for action in first.actions] == [uuids[2]]
    assert (then.actions, then.status.imported) == ((), 3)
    listed = next(c for c in then.status.conditions if c.type == "Listed")
    assert (listed.status, listed.message) == (
        "True",
        "importLimit 3 is reached: 2 frozen datasets have no DtoolDataset.",
    )


@pytest.mark.parametrize(
    ("found", "catalog", "says"),
    [
        (waiting(owners={"u/alice/": THEIRS}), {}, "1 prefixes belong to other owners"),
        (waiting(refused=frozenset({"alice"})), {}, "1 namespaces take no new DtoolDataset: alice"),
        (waiting(importable={}), {"unlisted": ("u/bob/",)}, "1 prefixes cannot be listed"),
    ],
)
def test_what_a_listing_leaves_undone_is_told(found: Findings, catalog: dict[str, Any], says: str) -> None:
    planned = plan(found, catalog=Catalog({UUID: FROZEN}, **catalog))

    listed = next(c for c in planned.status.conditions if c.type == "Listed")
    assert says in listed.message


def test_the_number_of_imported_objects_is_told_only_where_it_says_something() -> None:
    assert plan(waiting(importable={})).status.imported == 0
    assert plan(waiting(importable={}), one=bucket()).status.imported is None
    assert plan(waiting(importable={}), imported(), one=bucket()).status.imported == 1


def test_what_was_reported_is_not_reported_differently_at_the_next_look() -> None:
    seen = look(IMPORTING, imported(), listed=listing(found=waiting(importable={})))
    later = read_back(seen, plan_bucket(seen))

    assert plan_bucket(later).status == later.bucket.status
