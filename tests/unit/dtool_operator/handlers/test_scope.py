"""Where namespaces are named, the rest of the cluster is as if it were not there."""

from collections.abc import Mapping
from typing import Any

import pytest

from dtool_operator.handlers.scope import ScopedSink
from dtool_operator.names import BUCKET_PLURAL, DATASET_PLURAL

WATCHED = frozenset({"alice", "dtool-system"})


class Recorder:
    """A sink that remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def object_changed(self, plural: str, body: Mapping[str, Any]) -> None:
        self.told.append(f"changed {plural} {body['metadata']['name']}")

    def object_deleted(self, plural: str, body: Mapping[str, Any]) -> None:
        self.told.append(f"deleted {plural} {body['metadata']['name']}")

    def watch_synced(self) -> None:
        self.told.append("synced")


def tell(namespaces: frozenset[str], plural: str, metadata: dict[str, str]) -> list[str]:
    recorder = Recorder()
    sink = ScopedSink(recorder, namespaces)
    sink.object_changed(plural, {"metadata": metadata})
    sink.object_deleted(plural, {"metadata": metadata})
    sink.watch_synced()
    return recorder.told


@pytest.mark.parametrize("plural", [BUCKET_PLURAL, DATASET_PLURAL])
@pytest.mark.parametrize("namespace", ["alice", "bob"])
def test_objects_of_watched_namespaces_pass(plural: str, namespace: str) -> None:
    told = tell(WATCHED, plural, {"namespace": namespace, "name": "alice"})

    passed = [f"changed {plural} alice", f"deleted {plural} alice"] if namespace == "alice" else []
    assert told == [*passed, "synced"]


@pytest.mark.parametrize("name", ["alice", "bob"])
def test_namespaces_pass_by_their_own_name(name: str) -> None:
    told = tell(WATCHED, "namespaces", {"name": name})

    assert told == [
        *(["changed namespaces alice", "deleted namespaces alice"] if name == "alice" else []),
        "synced",
    ]


def test_everything_passes_where_no_namespace_is_named() -> None:
    assert tell(frozenset(), DATASET_PLURAL, {"namespace": "bob", "name": "x"}) == [
        f"changed {DATASET_PLURAL} x",
        f"deleted {DATASET_PLURAL} x",
        "synced",
    ]
