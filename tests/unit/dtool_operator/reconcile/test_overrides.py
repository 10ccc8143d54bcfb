"""Prefix overrides through whole operators: when they come into force, and who is asked (rule 3)."""

from collections.abc import Mapping
from typing import Any

import pytest

from dtool_operator.names import BUCKET_PLURAL, DATASET_PLURAL
from dtool_operator.reconcile.bucket_look import OVERRIDES_ASKED
from dtool_s3.errors import AccessDenied
from dtool_s3.ownership import Owner, dump_owner, owner_key
from dtool_s3.store.faults import Fault
from tests.support.datasets import UUID
from tests.support.play import ADMIN_NAMESPACE, Play

SOURCE = {"uri": f"s3://instrument-data/{UUID}"}


async def override(play: Play, *overrides: tuple[str, str]) -> None:
    """Give namespaces these prefixes in the bucket object lab."""
    entries = [{"namespace": namespace, "prefix": prefix} for namespace, prefix in overrides]
    play.cluster.update_spec(BUCKET_PLURAL, ADMIN_NAMESPACE, "lab", prefixOverrides=entries)
    await play.settle()


def ready(play: Play) -> Mapping[str, Any]:
    return play.condition(ADMIN_NAMESPACE, "lab", "Ready", BUCKET_PLURAL)


def in_force(play: Play) -> list[tuple[str, str]]:
    status = play.status(ADMIN_NAMESPACE, "lab", BUCKET_PLURAL)
    return [(entry["namespace"], entry["prefix"]) for entry in status.get("prefixOverrides", [])]


async def mark(play: Play, prefix: str, namespace: str = "alice", *, uid: str | None = None) -> None:
    """Put the owner marker of a namespace of this cluster under a prefix."""
    uids = [
        play.cluster.get("namespaces", "", name)["metadata"]["uid"] for name in ("kube-system", namespace)
    ]
    owner = Owner(uids[0], uid or uids[1], namespace, prefix)
    await play.server.store("lab-data").put(owner_key(prefix), dump_owner(owner))


async def test_a_dataset_is_written_under_the_override_rule_3(play: Play) -> None:
    await override(play, ("alice", "u/olssont/"))
    await play.store_dataset()

    play.dataset("alice", "raw", source=SOURCE)
    await play.settle()

    assert play.status("alice", "raw")["state"] == "Frozen"
    assert in_force(play) == [("alice", "u/olssont/")]
    keys = play.server.keys("lab-data")
    assert "u/olssont/.dtool-owner" in keys
    assert not any(key.startswith("u/alice/") for key in keys)


CHANGES: dict[str, tuple[list[tuple[str, str]], list[tuple[str, str]], str]] = {
    "added": ([], [("alice", "new/")], "u/alice/"),
    "changed": ([("alice", "old/")], [("alice", "new/")], "old/"),
    "removed": ([("alice", "old/")], [], "old/"),
}


@pytest.mark.parametrize("case", CHANGES)
async def test_an_override_cannot_be_changed_while_the_present_prefix_has_its_marker_rule_3(
    play: Play, case: str
) -> None:
    before, after, present = CHANGES[case]
    await override(play, *before)
    await mark(play, present)

    await override(play, *after)

    assert (ready(play)["status"], ready(play)["reason"]) == ("False", "InvalidSpec")
    assert repr(present) in ready(play)["message"]
    assert in_force(play) == before
    await override(play, *before)
    assert ready(play)["status"] == "True"


@pytest.mark.parametrize("case", CHANGES)
async def test_it_is_changed_where_there_is_no_marker_or_somebody_elses_rule_3(play: Play, case: str) -> None:
    before, after, present = CHANGES[case]
    await override(play, *before)
    await mark(play, present, uid="somebody-else")

    await override(play, *after)

    assert ready(play)["status"] == "True"
    assert in_force(play) == after


async def test_a_change_is_refused_after_a_restart_too_rule_3(play: Play) -> None:
    await override(play, ("alice", "old/"))
    await mark(play, "old/")
    await play.stop()
    play.operator = play._new_operator()
    await _edit(play, ("alice", "new/"))

    await play.start_operator()
    await play.settle()

    assert ready(play)["reason"] == "InvalidSpec"


async def _edit(play: Play, *overrides: tuple[str, str]) -> None:
    entries = [{"namespace": namespace, "prefix": prefix} for namespace, prefix in overrides]
    play.cluster.update_spec(BUCKET_PLURAL, ADMIN_NAMESPACE, "lab", prefixOverrides=entries)


async def test_only_namespaces_that_change_are_asked_and_only_once_rule_3(play: Play) -> None:
    for name in ("bob", "carol"):
        play.cluster.create_namespace(name, {"dtool.dev/lab": "true"})
    await override(play, ("bob", "b/"))
    play.server.requests.clear()

    await override(play, ("bob", "b/"), ("carol", "c/"))

    asked = [r.key for r in play.server.requests if r.operation == "get" and r.key.endswith(".dtool-owner")]
    assert asked.count("u/carol/.dtool-owner") == 1
    assert "u/bob/.dtool-owner" not in asked


async def test_many_changes_are_asked_for_in_turns_and_all_come_into_force_rule_3(play: Play) -> None:
    wanted = [(f"team-{number:03d}", f"old/{number:03d}/") for number in range(2 * OVERRIDES_ASKED + 1)]

    await override(play, *wanted)

    assert ready(play)["status"] == "True"
    assert in_force(play) == wanted


async def test_a_marker_that_may_not_be_read_keeps_a_change_out_rule_3(play: Play) -> None:
    denied = AccessDenied("denied", code="AccessDenied")
    play.server.faults.append(Fault(key="u/alice/.dtool-owner", error=denied, times=None))

    await override(play, ("alice", "new/"))

    assert ready(play)["reason"] == "AccessDenied"
    assert in_force(play) == []
    play.server.faults.clear()
    await play.restart_operator()
    await play.settle()
    assert in_force(play) == [("alice", "new/")]


async def test_a_frozen_dataset_stays_as_it_is_while_a_change_is_refused_rule_3(play: Play) -> None:
    await play.store_dataset()
    play.dataset("alice", "raw", source=SOURCE)
    await play.settle()

    await override(play, ("alice", "new/"))

    assert ready(play)["reason"] == "InvalidSpec"
    assert play.condition("alice", "raw", "Frozen")["status"] == "True"
    play.cluster.delete(DATASET_PLURAL, "alice", "raw")
    await play.settle()
    assert f"u/alice/{UUID}/dtool" in play.server.keys("lab-data")
