"""Values nested so deeply that a parser gives up: one must not blind the operator to all other objects."""

import json

import pytest

from tests.support.eventually import eventually
from tests.support.fault_lab import FaultLab

DEPTH = 9_000
"""The API server takes 10,000 levels."""


def nest(opening: str, closing: str) -> str:
    return opening * DEPTH + "1" + closing * DEPTH


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")], ids=["lists", "objects"])
def test_a_deeply_nested_annotation_is_its_owners_trouble_alone(
    lab: FaultLab, opening: str, closing: str
) -> None:
    body = {
        "apiVersion": "dtool.dev/v1alpha1",
        "kind": "DtoolDataset",
        "metadata": {"name": "deep", "namespace": lab.alice},
        "spec": {"bucketRef": {"name": "lab", "namespace": "dtool-system"}, "annotations": {"deep": "VALUE"}},
    }
    manifest = json.dumps(body).replace('"VALUE"', nest(opening, closing))

    lab.control_plane.kubectl("create", "--filename=-", stdin=manifest)
    eventually(lambda: assert_invalid(lab), within=30)
    lab.operator.kill()
    lab.operator.start()
    lab.dataset("other")

    lab.wait_state("other", "Proto", within=40)
    lab.delete("dtooldataset", "deep")
    assert not lab.logged("reconcile_crashed")


def assert_invalid(lab: FaultLab) -> None:
    template = '{.status.conditions[?(@.type=="Ready")].reason}'
    reason = lab.control_plane.kubectl(
        "get", "dtooldataset", "deep", f"--namespace={lab.alice}", f"--output=jsonpath={template}"
    )
    assert reason == "InvalidSpec"
