"""The specs that the API server refuses (tests/integration/test_crds.py), held against the models."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from dtool_operator.api.bucket import parse_bucket
from dtool_operator.api.dataset import parse_dataset
from dtool_operator.api.parsing import InvalidObject

INVALID = yaml.safe_load((Path(__file__).parents[3] / "data/api/invalid.yaml").read_text())
PARSERS = {"DtoolBucket": parse_bucket, "DtoolDataset": parse_dataset}


@pytest.mark.parametrize(
    "case", [case for case in INVALID if not case.get("server_only")], ids=lambda case: case["title"]
)
def test_what_the_api_server_refuses_the_operator_refuses_too(case: dict[str, Any]) -> None:
    metadata = {"name": case.get("name", "x"), "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"}

    with pytest.raises(InvalidObject, match=r"^spec"):
        PARSERS[case["kind"]]({"metadata": metadata, "spec": case["spec"]})
