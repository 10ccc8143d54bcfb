"""A second operator over unchanged objects writes nothing to the API server."""

import json
from datetime import UTC, datetime

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
        value = lab.request("dtoolbucket", name, namespace=ADMIN_NAMESPACE)
        lab.wait_handled("dtoolbucket", name, value, namespace=ADMIN_NAMESPACE)
    eventually(lambda: _assert_counted(lab), within=60)
    before = _versions(lab)

    lab.operator.stop()
    restarted_at = datetime.now(UTC)
    lab.operator.start()
    eventually(lambda: _assert_looked_again(lab, restarted_at), within=60)

    assert _versions(lab) == before


def _assert_counted(lab: Lab) -> None:
    for name in (lab.bucket, lab.instruments):
        counts = lab.get("dtoolbucket", name, ADMIN_NAMESPACE)["status"].get("datasets", {})
        assert counts.get("frozen") == 1, (name, counts)


def _assert_looked_again(lab: Lab, restarted_at: datetime) -> None:
    """The second operator has looked at every object, and at buckets once more after listing them."""
    actions: dict[tuple[str, str], list[list[str]]] = {}
    for look in lab.logged("reconciled", since=restarted_at):
        actions.setdefault((look["namespace"], look["name"]), []).append(look["actions"])
    assert actions.keys() >= _versions(lab).keys()
    for name in (lab.bucket, lab.instruments):
        taken = actions[ADMIN_NAMESPACE, name]
        assert ["ListDatasets"] in taken
        assert taken[-1] == []


def _versions(lab: Lab) -> dict[tuple[str, str], str]:
    arguments = ("get", "dtoolbuckets,dtooldatasets", "--all-namespaces", "--output=json")
    items = json.loads(lab.control_plane.kubectl(*arguments))["items"]
    ours = (
        item["metadata"]
        for item in items
        if lab.suffix in item["metadata"]["namespace"] + item["metadata"]["name"]
    )
    return {(one["namespace"], one["name"]): one["resourceVersion"] for one in ours}
