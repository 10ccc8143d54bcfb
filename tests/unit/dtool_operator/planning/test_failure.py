"""What is said when an action of a plan fails: of a frozen dataset's data nothing (rule 7); whole plans."""

from dataclasses import replace

import pytest

from dtool_operator.api.reasons import Reason
from dtool_operator.planning.dataset import plan_dataset
from dtool_operator.planning.failure import plan_failure
from dtool_operator.planning.observed import ObservedDataset
from dtool_operator.planning.plan import (
    CancelTransfer,
    CreateProto,
    DatasetAction,
    EnsureOwner,
    StartTransfer,
    SyncMetadata,
)
from dtool_s3.metadata import MetadataChange
from tests.support import observed as see
from tests.support.observed import HERE, adopted, dataset, seen, stored
from tests.support.told import READY, Told, damaged, not_ready, tell

SYNC = SyncMetadata(see.UUID, MetadataChange(put_tags=("a",)), is_frozen=True)
OWN = EnsureOwner(see.OWNER)
FROZEN = seen(see.was_frozen(), storage=HERE)
HURT = see.reported(
    see.was_frozen(), plan_dataset(seen(see.was_frozen(), storage=stored("frozen", registered=None)))
)
UNSYNCED = (
    "Ready False AccessDenied",
    "Reconciling True AccessDenied",
    "Frozen True Frozen",
    "Verified True ContentVerified",
    "MetadataSynced False AccessDenied",
)
PROTO = seen(dataset(source=None, tags=["a"]), storage=stored("proto", registered="u/alice/"))


def start(look: ObservedDataset) -> StartTransfer:
    """The start that a look would plan."""
    return StartTransfer(see.task_of(look))


CASES: dict[str, tuple[ObservedDataset, DatasetAction, Told]] = {
    "of a new object is said": (seen(), CancelTransfer(), Told((), "Pending", not_ready("AccessDenied"))),
    "of a proto's creation is said": (
        seen(dataset(source=None)),
        CreateProto(see.UUID, "raw", "alice", ""),
        Told((), "Pending", not_ready("AccessDenied")),
    ),
    "to start a verification leaves a frozen dataset Ready": (
        FROZEN,
        start(seen(adopted(), storage=HERE)),
        Told((), "Frozen", READY),
    ),
    "to start a verification leaves a damaged one Damaged": (
        replace(FROZEN, dataset=HURT),
        start(seen(adopted(), storage=HERE)),
        Told((), "Damaged", damaged("RegistrationHijacked")),
    ),
    "to write tags is said of the metadata": (FROZEN, SYNC, Told((), "Frozen", UNSYNCED)),
    "to own the prefix before is said of the metadata": (FROZEN, OWN, Told((), "Frozen", UNSYNCED)),
    "to write tags of a proto is said of the metadata": (
        PROTO,
        SYNC,
        Told(
            (),
            "Proto",
            (
                "Ready False AccessDenied",
                "Reconciling True AccessDenied",
                "Frozen False Proto",
                "Verified Unknown Proto",
                "MetadataSynced False AccessDenied",
            ),
        ),
    ),
    "to remove a dataset that goes is said": (
        replace(FROZEN, dataset=see.deleted(see.marked(see.was_frozen(), finalizer=True))),
        start(seen(adopted(), storage=HERE)),
        Told(
            (),
            "Frozen",
            ("Ready False AccessDenied", "Reconciling True AccessDenied", *READY[1:]),
        ),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_failure(case: str) -> None:
    look, action, expected = CASES[case]

    plan = plan_failure(look, see.refuse(Reason.ACCESS_DENIED), action)

    assert tell(plan) == expected


@pytest.mark.parametrize("case", CASES)
def test_a_failure_is_not_said_again_in_other_words(case: str) -> None:
    look, action, _ = CASES[case]
    refusal = see.refuse(Reason.ACCESS_DENIED)
    first = plan_failure(look, refusal, action)

    again = plan_failure(see.carried_out(look, first), refusal, action)

    assert again.status == first.status
