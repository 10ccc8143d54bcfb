"""A second operator over unchanged objects writes nothing to the API server."""

import json

from tests.support.datasets import UUID
from tests.support.eventually import eventually
from tests.support.lab import ADMIN_NAMESPACE, Lab


def test_a_second_operator_writes_nothing_to_unchanged_objects(lab: Lab) -> None:
    lab.write(lab.instruments)
    lab.dataset("raw", source={"uri": lab.uri(UUID)})
    lab.dataset("twin", uuid="00000000-0000-4000-8000-000000000000")
    lab.wait_state("raw", "Frozen")
    lab.wait_reason("dtooldataset", "twin", "DatasetMissing")
    for name in (lab.bucket, lab.instruments):
        lab.control_plane.kubectl(
            "annotate",
            "dtoolbucket",
            name,
            "--namespace",
            ADMIN_NAMESPACE,
            "dtool.dev/reconcileRequestedAt=1",
        )
    eventually(lambda: _assert_counted(lab), within=60)
    before = _versions(lab)

    lab.operator.stop()
    lab.operator.start()
    eventually(lambda: _assert_looked_again(lab), within=60)

    assert _versions(lab) == before


def _assert_counted(lab: Lab) -> None:
    counts = lab.get("dtoolbucket", lab.bucket, ADMIN_NAMESPACE)["status"]["datasets"]
    assert counts["frozen"] == 1
    assert lab.get("dtoolbucket", lab.instruments, ADMIN_NAMESPACE)["status"]["datasets"]["frozen"] == 1


def _assert_looked_again(lab: Lab) -> None:
    """The second operator has looked at every object, and at buckets once more after listing them."""
    looks = [json.loads(line) for line in lab.operator.log().splitlines() if '"reconciled"' in line]
    assert {look["name"] for look in looks} >= _versions(lab).keys()
    for name in (lab.bucket, lab.instruments):
        actions = [look["actions"] for look in looks if look["name"] == name]
        assert ["ListDatasets"] in actions
        assert actions[-1] == []


def _versions(lab: Lab) -> dict[str, str]:
    arguments = ("get", "dtoolbuckets,dtooldatasets", "--all-namespaces", "--output=json")
    items = json.loads(lab.control_plane.kubectl(*arguments))["items"]
    ours = (
        item["metadata"]
        for item in items
        if lab.suffix in item["metadata"]["namespace"] + item["metadata"]["name"]
    )
    return {metadata["name"]: metadata["resourceVersion"] for metadata in ours}
