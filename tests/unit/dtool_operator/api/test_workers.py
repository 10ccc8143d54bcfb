"""What a bucket object says of the Pods that work for it, and what a status says of Jobs and sources."""

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from dtool_operator.api.work_status import InspectedSource, JobReference
from dtool_operator.api.workers import Workers

UUID = "1c10766c-c4a8-4a5d-9f7a-7e1d0a55b2f1"


def test_absent_fields_are_left_to_the_operators_settings() -> None:
    workers = Workers()

    assert (workers.node_selector, workers.tolerations, workers.priority_class_name) == ({}, (), None)
    assert (workers.resources.requests, workers.resources.limits) == ({}, {})


@pytest.mark.parametrize("amount", ["2Gi", "500m", "1", "1.5", "0.5Ti"])
def test_an_amount_is_written_as_kubernetes_does(amount: str) -> None:
    workers = Workers.model_validate({"resources": {"requests": {"memory": amount}}})

    assert workers.resources.requests == {"memory": amount}


@pytest.mark.parametrize(
    "body",
    [
        {"resources": {"requests": {"memory": "much"}}},
        {"resources": {"limits": {"memory": "-1Gi"}}},
        {"resources": {"limits": {str(i): "1" for i in range(4)}}},
        {"tolerations": [{"operator": "Sometimes"}]},
        {"tolerations": [{"tolerationSeconds": -1}]},
        {"nodeSelector": {"": "x"}},
    ],
)
def test_anything_else_is_refused(body: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Workers.model_validate(body)


def test_times_of_a_source_keep_their_microseconds_in_utc() -> None:
    body = {
        "uuid": UUID,
        "name": "a",
        "creatorUsername": "b",
        "createdAt": "2026-11-01T14:00:00.123456+02:00",
    }

    found = InspectedSource.model_validate(body)

    assert found.created_at == datetime(2026, 11, 1, 12, 0, 0, 123456, tzinfo=UTC)
    assert InspectedSource.model_validate(found.dump()) == found


def test_a_job_is_known_by_its_uid() -> None:
    with pytest.raises(ValidationError):
        JobReference.model_validate({"namespace": "alice", "name": "a", "uid": ""})
