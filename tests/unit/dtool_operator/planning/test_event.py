"""Which changes become Events: what a user would want to be told, once, and never a step of progress."""

import pytest

from dtool_operator.api.conditions import Condition, ConditionStatus, ConditionType
from dtool_operator.planning.event import announce

Conditions = tuple[Condition, ...]


def said(*texts: str) -> Conditions:
    """Conditions from `Type Status Reason`; the message repeats the reason."""
    parts = [text.split() for text in texts]
    return tuple(
        Condition(
            type=ConditionType(type_), status=ConditionStatus(status), reason=why, message=f"about {why}"
        )
        for type_, status, why in parts
    )


COPYING = said("Ready False Copying", "Reconciling True Copying", "Verified Unknown Copying")
READY = said("Ready True Succeeded", "Frozen True Frozen", "Verified True ContentVerified")
DAMAGED = said("Ready False ItemMissing", "Frozen True Frozen", "Verified False ItemMissing")
REFUSED = said("Ready False SourceNotFound", "Reconciling True SourceNotFound")
BUCKET = said("Ready True Succeeded", "PrefixesRespected True WithinPrefixes")
VIOLATED = said("Ready True Succeeded", "PrefixesRespected False OutsideAnyPrefix")

CHANGES: dict[str, tuple[Conditions, Conditions, list[str]]] = {
    "nothing": (READY, READY, []),
    "a new object that begins": ((), COPYING, ["Normal Copying"]),
    "a new object that is refused": ((), REFUSED, ["Warning SourceNotFound"]),
    "another reason": (REFUSED, said("Ready False AccessDenied"), ["Warning AccessDenied"]),
    "a stalled one": (REFUSED, said("Ready False InvalidManifest"), ["Warning InvalidManifest"]),
    "a refusal that is over": (REFUSED, COPYING, ["Normal Copying"]),
    "success": (COPYING, READY, ["Normal Succeeded"]),
    "phases": (COPYING, said("Ready False Verifying"), []),
    "the last phase": (said("Ready False Verifying"), said("Ready False Freezing"), []),
    "waiting for a slot": ((), said("Ready False Queued"), []),
    "the operator prepares it": ((), said("Ready False Progressing"), []),
    "not known yet": ((), said("Ready False Pending"), []),
    "a suspension": (READY, said("Ready False Suspended"), ["Normal Suspended"]),
    "damage, once": (READY, DAMAGED, ["Warning ItemMissing"]),
    "damage of another kind": (
        DAMAGED,
        said("Ready False DatasetMissing", "Verified False DatasetMissing"),
        ["Warning DatasetMissing"],
    ),
    "damage while it is suspended": (
        said("Ready False Suspended", "Verified True ContentVerified"),
        said("Ready False Suspended", "Verified False ItemMissing"),
        ["Warning ItemMissing"],
    ),
    "repair": (DAMAGED, READY, ["Normal Succeeded"]),
    "a violation": (BUCKET, VIOLATED, ["Warning OutsideAnyPrefix"]),
    "a violation that is over": (VIOLATED, BUCKET, []),
    "a violation that was known": (VIOLATED, VIOLATED, []),
    "a condition that is new": (READY[:1], VIOLATED, []),
    "a condition that goes": (DAMAGED, READY[:1], ["Normal Succeeded"]),
    "no conditions": (READY, (), []),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_users_are_told_of(change: str) -> None:
    old, new, expected = CHANGES[change]

    told = announce(old, new)

    assert [f"{'Warning' if one.is_warning else 'Normal'} {one.reason}" for one in told] == expected
    assert all(one.message == f"about {one.reason}" for one in told)


def test_an_event_without_a_message_says_what_changed() -> None:
    (ready,) = said("Ready True Succeeded")

    (told,) = announce((), (ready.model_copy(update={"message": ""}),))

    assert told.message == "Ready is True"
