"""The operator is killed in the middle of a copy, and another one finishes it."""

from datetime import datetime
from typing import Any

from tests.support.datasets import UUID
from tests.support.eventually import eventually
from tests.support.lab import Lab

ITEMS = {f"run/{number:04}.dat": f"item {number}\n".encode() * 50 for number in range(500)}


def test_a_killed_operator_finishes_and_copies_nothing_twice(lab: Lab) -> None:
    lab.write(lab.instruments, items=ITEMS)
    prefix = f"u/{lab.alice}/{UUID}/data/"
    lab.dataset("raw", source={"uri": lab.uri(UUID)})
    eventually(lambda: _assert_under_way(lab.keys(lab.bucket, prefix)), within=60)

    lab.operator.kill()
    done = _times(lab.keys(lab.bucket, prefix))
    assert 0 < len(done) < len(ITEMS)
    lab.operator.start()
    status = lab.wait_state("raw", "Frozen", within=120)

    after = _times(lab.keys(lab.bucket, prefix))
    assert len(after) == status["items"] == len(ITEMS)
    assert {key: after[key] for key in done} == done
    assert list(lab.keys(lab.bucket, "dtool-")) == [f"dtool-{UUID}"]


def _assert_under_way(keys: dict[str, Any]) -> None:
    assert len(keys) >= 20


def _times(keys: dict[str, Any]) -> dict[str, datetime]:
    return {key: listed["LastModified"] for key, listed in keys.items()}
