"""Further stories for `crash_stories`: work that is no copy, on what was there before the operator dies."""

from __future__ import annotations

import hashlib

from dtool_s3.layout import DatasetLayout, item_identifier, item_metadata
from tests.support.crash_stories import Step, Story, frozen
from tests.support.datasets import ITEMS, UUID
from tests.support.eventually import eventually
from tests.support.fault_lab import FaultLab
from tests.support.lab import find_condition

FILLED = {"a.txt": b"alpha", "sub/b.csv": b"1,2\n"}
WORK = ("MarkObject", "StartTransfer", "ForgetTransfer")


def _own_root(lab: FaultLab) -> DatasetLayout:
    uuid = lab.get("dtooldataset", "raw")["metadata"]["uid"]
    return DatasetLayout(f"u/{lab.alice}/", uuid)


def _fill(lab: FaultLab) -> None:
    """Have a proto dataset that others have filled."""
    lab.dataset("raw")
    eventually(lambda: _is_proto(lab), within=40)
    layout = _own_root(lab)
    for relpath, body in FILLED.items():
        digest = hashlib.md5(body, usedforsecurity=False).hexdigest()
        lab.object_store.client().put_object(
            Bucket=lab.bucket,
            Key=layout.item_key(item_identifier(relpath)),
            Body=body,
            Metadata=item_metadata(relpath, digest),
        )


def _is_proto(lab: FaultLab) -> None:
    assert lab.status("raw").get("state") == "Proto", lab.status("raw")


def _freeze(lab: FaultLab) -> None:
    lab.edit("raw", freeze=True)


def _is_frozen_once(lab: FaultLab) -> None:
    layout, status = _own_root(lab), lab.status("raw")
    assert status["items"] == len(FILLED)
    assert find_condition(status, "Verified")["status"] == "True"
    assert len(lab.keys(lab.bucket, layout.data_prefix)) == len(FILLED)
    assert list(lab.keys(lab.bucket, "dtool-")) == [layout.registration_key]


def _ingest(lab: FaultLab) -> None:
    for relpath, body in FILLED.items():
        lab.object_store.client().put_object(Bucket=lab.instruments, Key=f"run-17/{relpath}", Body=body)
    objects = {"bucketRef": lab.ref(lab.instruments), "prefix": "run-17/"}
    lab.dataset("raw", source={"objects": objects})


def _adopt(lab: FaultLab) -> None:
    lab.write(lab.bucket, prefix=f"u/{lab.alice}/")
    lab.dataset("raw", uuid=UUID)
    eventually(lambda: frozen("raw")(lab), within=40)


def _adopt_for_good(lab: FaultLab) -> None:
    lab.write(lab.bucket, prefix=f"u/{lab.alice}/")
    lab.dataset("raw", uuid=UUID, deletionPolicy="Delete")
    lab.wait_state("raw", "Frozen")


def _ask_for_a_verification(lab: FaultLab) -> None:
    lab.request("dtooldataset", "raw", what="verify")


def _is_verified(lab: FaultLab) -> None:
    body = lab.get("dtooldataset", "raw")
    asked = body["metadata"]["annotations"]["dtool.dev/verifyRequestedAt"]
    assert body["status"].get("lastHandledVerifyAt") == asked, body["status"]
    frozen("raw")(lab)


def _is_untouched(lab: FaultLab) -> None:
    assert len(lab.data()) == len(ITEMS)
    assert not lab.writes()


def _delete(lab: FaultLab) -> None:
    lab.delete("dtooldataset", "raw", wait=False)


def _gone(lab: FaultLab) -> None:
    assert not lab.is_there("dtooldataset", "raw")


def _is_removed(lab: FaultLab) -> None:
    assert list(lab.lasting_keys()) == [f"u/{lab.alice}/.dtool-owner"]


STORIES = {
    "freezing in place": Story(WORK, (Step(_freeze, frozen("raw")),), _is_frozen_once, _fill),
    "dataset of plain objects": Story(WORK, (Step(_ingest, frozen("raw")),), _is_frozen_once),
    "requested verification": Story(
        WORK[1:], (Step(_ask_for_a_verification, _is_verified),), _is_untouched, _adopt
    ),
    "removal": Story(("MarkObject", "StartTransfer"), (Step(_delete, _gone),), _is_removed, _adopt_for_good),
}
