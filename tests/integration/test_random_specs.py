"""The generator of random specs and the real API server agree on what is valid."""

import json
import random

import pytest

from dtool_operator import names
from sandbox.controlplane import ControlPlane
from tests.support.installation import install_operator
from tests.support.random_specs import SpecMaker

SPECS = 150
KINDS = {names.BUCKET_PLURAL: names.BUCKET_KIND, names.DATASET_PLURAL: names.DATASET_KIND}


@pytest.mark.parametrize("plural", KINDS)
def test_the_api_server_takes_every_spec_that_is_generated_as_valid(
    control_plane: ControlPlane, namespace: str, plural: str
) -> None:
    install_operator(control_plane)
    maker = SpecMaker(random.Random(7))  # noqa: S311 - it is to be repeated
    objects = [
        {
            "apiVersion": names.API_VERSION,
            "kind": KINDS[plural],
            "metadata": {"name": f"random-{number}", "namespace": namespace},
            "spec": maker.make_valid(plural),
        }
        for number in range(SPECS)
    ]
    manifest = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})

    # The server checks as if it stored them; stored, they would be work for other tests' operators.
    # kubectl's own check of a List refuses null, which the schema allows in annotations.
    answer = control_plane.kubectl(
        "create", "--dry-run=server", "--validate=ignore", "--filename=-", "--output=name", stdin=manifest
    )

    assert len(answer.split()) == SPECS
