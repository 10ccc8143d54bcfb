"""How an object is shown, whatever its status says, and when a wait for it is over."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtool_operator.cli.display import describe
from dtool_operator.cli.verify import judge_verification
from dtool_operator.cli.view import Goal, Outcome, format_age, read_view

UUID = "1c10766c-4a0c-4a6e-9a52-1f3c2f1f9a01"


def body(*, spec: Any = None, **status: Any) -> dict[str, Any]:
    metadata = {
        "name": "raw",
        "namespace": "alice",
        "generation": 2,
        "creationTimestamp": "2026-11-01T00:00:00Z",
    }
    return {
        "metadata": metadata,
        "spec": spec or {"bucketRef": {"name": "lab"}},
        "status": {"observedGeneration": 2, **status},
    }


def condition(type_: str, status: str, reason: str = "Why") -> dict[str, str]:
    return {"type": type_, "status": status, "reason": reason, "message": "because"}


def test_the_document_has_every_key_also_where_nothing_is_known() -> None:
    assert read_view(body()).document() == {
        "namespace": "alice",
        "name": "raw",
        "uuid": None,
        "datasetName": None,
        "state": "Pending",
        "items": None,
        "sizeBytes": None,
        "size": None,
        "place": "bucket alice/lab",
        "uri": None,
        "ready": None,
        "reason": None,
        "message": None,
        "verified": None,
        "verifiedMethod": None,
        "frozenAt": None,
        "created": "2026-11-01T00:00:00Z",
        "tags": [],
        "progress": None,
        "imported": False,
    }


def test_a_volume_is_shown_as_one_names_it() -> None:
    spec = {"volume": {"claimName": "scratch", "path": "a/"}}

    assert read_view(body(spec=spec)).place == "volume scratch:a/"


def test_tags_of_the_spec_and_those_set_by_the_operator_are_shown_once() -> None:
    spec = {"bucketRef": {"name": "lab"}, "tags": ["b", "a"]}

    assert read_view(body(spec=spec, managed={"tags": ["a", "c"]})).tags == ("b", "a", "c")


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
_KEYS = ["conditions", "progress", "verified", "uuid", "state", "items", "managed", "size", "name"]


@given(st.dictionaries(st.sampled_from(_KEYS), _ANY))
def test_no_status_is_too_strange_to_be_shown(status: dict[str, Any]) -> None:
    view = read_view(body(**status))

    assert describe(view).isprintable()
    assert view.document()["name"] == "raw"
    assert view.judge(Goal.READY) in Outcome


@pytest.mark.parametrize(
    ("status", "goal", "outcome"),
    [
        ({}, Goal.READY, Outcome.OPEN),
        ({"conditions": [condition("Ready", "True")]}, Goal.READY, Outcome.MET),
        ({"conditions": [condition("Ready", "True")]}, Goal.VERIFIED, Outcome.OPEN),
        ({"conditions": [condition("Ready", "False")]}, Goal.READY, Outcome.OPEN),
        ({"conditions": [condition("Stalled", "True")]}, Goal.READY, Outcome.FAILED),
        ({"state": "Damaged", "conditions": [condition("Frozen", "True")]}, Goal.READY, Outcome.FAILED),
        ({"state": "Damaged", "conditions": [condition("Frozen", "True")]}, Goal.FROZEN, Outcome.MET),
        ({"state": "Proto", "conditions": [condition("Ready", "True")]}, Goal.READY, Outcome.MET),
        ({"state": "Proto", "conditions": [condition("Ready", "True")]}, Goal.FROZEN, Outcome.FAILED),
        ({"state": "Suspended"}, Goal.READY, Outcome.FAILED),
        ({"observedGeneration": 1, "conditions": [condition("Ready", "True")]}, Goal.READY, Outcome.OPEN),
        ({"observedGeneration": 1, "conditions": [condition("Stalled", "True")]}, Goal.READY, Outcome.OPEN),
    ],
)
def test_a_wait_goes_by_what_is_said_of_the_present_spec(status: Any, goal: Goal, outcome: Outcome) -> None:
    assert read_view(body(**status)).judge(goal) is outcome


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        ({"lastHandledVerifyAt": "old"}, Outcome.OPEN),
        ({"lastHandledVerifyAt": "now", "conditions": [condition("Verified", "True")]}, Outcome.MET),
        ({"lastHandledVerifyAt": "now", "conditions": [condition("Verified", "Unknown")]}, Outcome.MET),
        ({"lastHandledVerifyAt": "now", "conditions": [condition("Verified", "False")]}, Outcome.FAILED),
        ({"lastHandledVerifyAt": "old", "conditions": [condition("Verified", "False")]}, Outcome.OPEN),
        ({"state": "Proto"}, Outcome.FAILED),
    ],
)
def test_a_verification_counts_once_it_answers_the_request(status: Any, outcome: Outcome) -> None:
    """Rule 21."""
    assert judge_verification(read_view(body(**status)), "now") is outcome


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0s"), (119, "119s"), (120, "2m"), (7199, "119m"), (7200, "2h"), (172800, "2d")],
)
def test_ages_are_shown_as_kubectl_shows_them(seconds: int, shown: str) -> None:
    assert format_age("2026-11-01T00:00:00Z", datetime.fromtimestamp(1793491200 + seconds, UTC)) == shown
