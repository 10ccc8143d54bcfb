"""Short stories that together make the operator take every action of its plans, step by step.

A step is something that people do, and what is then waited for; it must come true however often the operator
dies and is started again in between. A story's end is checked when all is quiet.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from tests.support.datasets import UUID
from tests.support.fault_lab import ITEMS, FaultLab
from tests.support.lab import ADMIN_NAMESPACE, find_condition

Play = Callable[[FaultLab], None]
FEW = dict(list(ITEMS.items())[:6])


@dataclass(frozen=True, slots=True)
class Step:
    """What people do; and a check that raises AssertionError until its consequence is there."""

    do: Play
    wait_for: Play


@dataclass(frozen=True, slots=True)
class Story:
    """Steps that lead to all of `actions`; `check` looks at the end state.

    `prepare`: what is there before, made by an operator that lives.
    """

    actions: tuple[str, ...]
    steps: tuple[Step, ...]
    check: Play
    prepare: Play = lambda _: None


# ---- a copy ------------------------------------------------------------------------------------------


def _copy(lab: FaultLab) -> None:
    lab.write(lab.instruments, items=FEW)
    lab.dataset("raw", source={"uri": lab.uri(UUID)})


def _ask_for_a_look(lab: FaultLab) -> None:
    request = {"dtool.dev/reconcileRequestedAt": f"at-{len(lab.s3.requests)}"}
    for kind, name, namespace in (
        ("dtooldataset", "raw", lab.alice),
        ("dtoolbucket", lab.bucket, ADMIN_NAMESPACE),
    ):
        lab.patch(kind, name, {"metadata": {"annotations": request}}, namespace)


def _answered(lab: FaultLab) -> None:
    body = lab.get("dtooldataset", "raw")
    asked = body["metadata"]["annotations"]["dtool.dev/reconcileRequestedAt"]
    assert body["status"].get("lastHandledReconcileAt") == asked
    frozen("raw")(lab)


def _counted(lab: FaultLab) -> None:
    counts = lab.get("dtoolbucket", lab.bucket, ADMIN_NAMESPACE)["status"].get("datasets", {})
    assert counts.get("frozen") == 1, counts


def frozen(name: str) -> Play:
    """Wait until a dataset is Frozen and Ready, without a finalizer."""

    def check(lab: FaultLab) -> None:
        body = lab.get("dtooldataset", name)
        status = body.get("status", {})
        assert status.get("state") == "Frozen", status
        assert find_condition(status, "Ready").get("status") == "True", status
        assert not body["metadata"].get("finalizers"), body["metadata"]

    return check


def _is_copied_once(lab: FaultLab) -> None:
    _assert_one(lab, UUID)
    assert len(lab.data()) == len(FEW)
    assert max(lab.copies().values()) <= 2
    _counted(lab)


def _assert_one(lab: FaultLab, uuid: str) -> None:
    """One registration key, one directory, one marker."""
    keys = list(lab.lasting_keys())
    assert [key for key in keys if key.startswith("dtool-")] == [f"dtool-{uuid}"], keys
    assert {key.split("/")[2] for key in keys if key.startswith("u/")} == {".dtool-owner", uuid}, keys


# ---- a copy that is suspended, or gets other keys ----------------------------------------------------


def _copy_and_hold(lab: FaultLab) -> None:
    lab.write(lab.instruments, items=ITEMS)
    lab.hold_copies()
    lab.dataset("raw", source={"uri": lab.uri(UUID)})


def _held(lab: FaultLab) -> None:
    assert len(lab.data()) >= 10
    assert lab.status("raw").get("state") == "Copying"


def _suspend(lab: FaultLab) -> None:
    lab.patch("dtooldataset", "raw", {"spec": {"suspend": True}})


def _suspended(lab: FaultLab) -> None:
    assert lab.status("raw").get("state") == "Suspended"


def _resume(lab: FaultLab) -> None:
    lab.let_go()
    lab.patch("dtooldataset", "raw", {"spec": {"suspend": False}})


def _change_secret(lab: FaultLab) -> None:
    lab.patch("secret", lab.bucket, {"stringData": {"note": secrets.token_hex(4)}}, ADMIN_NAMESPACE)
    # after an edit of the bucket object the last look at S3 counts no more, nor the keys that were read
    lab.patch("dtoolbucket", lab.bucket, {"spec": {"acknowledgedPrefixes": ["other/"]}}, ADMIN_NAMESPACE)


def _refreshed(lab: FaultLab) -> None:
    # the worker of the operator that was killed has died with it: the next one has the new keys anyway
    assert lab.operator.has_crashed


def _let_go(lab: FaultLab) -> None:
    lab.let_go()


def _is_whole(lab: FaultLab) -> None:
    """Also of a copy that was killed, nothing is missing."""
    _assert_one(lab, UUID)
    assert len(lab.data()) == len(ITEMS)


# ---- a copy that must be left behind -----------------------------------------------------------------


def _lose_the_bucket(lab: FaultLab) -> None:
    lab.delete("dtoolbucket", lab.bucket, ADMIN_NAMESPACE, wait=False)
    lab.delete("dtooldataset", "raw", wait=False)


def _gone(lab: FaultLab) -> None:
    assert not lab.is_there("dtooldataset", "raw")


def _is_left(lab: FaultLab) -> None:
    _assert_one(lab, UUID)
    assert lab.logged("data_left_behind")


# ---- a proto dataset ---------------------------------------------------------------------------------

METADATA = {"readme": "---\ndescription: new\n", "tags": ["red", "2026"], "annotations": {"project": "atlas"}}


def _create(lab: FaultLab) -> None:
    lab.dataset("new", **METADATA)


def _is_proto(lab: FaultLab) -> None:
    status = lab.status("new")
    assert status.get("state") == "Proto", status
    assert find_condition(status, "Ready").get("status") == "True", status
    assert find_condition(status, "MetadataSynced").get("status") == "True", status


def _is_created_once(lab: FaultLab) -> None:
    uuid = lab.get("dtooldataset", "new")["metadata"]["uid"]
    _assert_one(lab, uuid)
    root = f"u/{lab.alice}/{uuid}"
    keys = lab.keys(lab.bucket, root)
    assert {f"{root}/tags/red", f"{root}/tags/2026", f"{root}/annotations/project.json"} <= set(keys)
    readme = lab.object_store.client().get_object(Bucket=lab.bucket, Key=f"{root}/README.yml")
    assert readme["Body"].read().decode() == METADATA["readme"]


# ---- imported objects --------------------------------------------------------------------------------


def _found_frozen(lab: FaultLab) -> None:
    lab.write(lab.bucket, prefix=f"u/{lab.alice}/")
    lab.patch("dtoolbucket", lab.bucket, {"spec": {"listing": {"import": "Frozen"}}}, ADMIN_NAMESPACE)


def _imported(lab: FaultLab) -> None:
    frozen(IMPORTED)(lab)


def _describe(lab: FaultLab) -> None:
    lab.dataset("mine", uuid=UUID)


def _yielded(lab: FaultLab) -> None:
    assert not lab.is_there("dtooldataset", IMPORTED)
    frozen("mine")(lab)


def _remove_data(lab: FaultLab) -> None:
    client = lab.object_store.client()
    for key in lab.keys(lab.bucket):
        if not key.endswith(".dtool-owner"):
            client.delete_object(Bucket=lab.bucket, Key=key)
    request = {"dtool.dev/reconcileRequestedAt": secrets.token_hex(4)}
    lab.patch("dtoolbucket", lab.bucket, {"metadata": {"annotations": request}}, ADMIN_NAMESPACE)


def _pruned(lab: FaultLab) -> None:
    assert not lab.is_there("dtooldataset", IMPORTED)


def _is_mine(lab: FaultLab) -> None:
    _assert_one(lab, UUID)


def _is_empty(lab: FaultLab) -> None:
    assert list(lab.lasting_keys()) == [f"u/{lab.alice}/.dtool-owner"]


IMPORTED = f"sample-{UUID[:8]}"

STORIES = {
    "copy": Story(
        ("MarkObject", "EnsureOwner", "StartTransfer", "SelfTest", "ListDatasets", "ForgetTransfer"),
        (Step(_copy, frozen("raw")), Step(_ask_for_a_look, _answered), Step(_ask_for_a_look, _counted)),
        _is_copied_once,
    ),
    "suspended copy": Story(
        ("CancelTransfer",),
        (Step(_copy_and_hold, _held), Step(_suspend, _suspended), Step(_resume, frozen("raw"))),
        _is_whole,
    ),
    "copy with other keys": Story(
        ("RefreshCredentials",),
        (Step(_copy_and_hold, _held), Step(_change_secret, _refreshed), Step(_let_go, frozen("raw"))),
        _is_whole,
    ),
    "copy left behind": Story(
        ("ReportLeftBehind",),
        (Step(_copy_and_hold, _held), Step(_lose_the_bucket, _gone)),
        _is_left,
    ),
    "proto": Story(("CreateProto", "SyncMetadata"), (Step(_create, _is_proto),), _is_created_once),
    "import that yields": Story(
        ("ImportDataset", "RemoveImported"),
        (Step(_found_frozen, _imported), Step(_describe, _yielded)),
        _is_mine,
    ),
    "import that is pruned": Story(
        ("PruneImported",),
        (Step(_found_frozen, _imported), Step(_remove_data, _pruned)),
        _is_empty,
    ),
}
