"""This version acts on every example."""

from pathlib import Path

import pytest
import yaml

from dtool_operator.api.bucket import parse_bucket
from dtool_operator.api.dataset import parse_dataset
from dtool_operator.api.reasons import Reason
from dtool_operator.planning.bucket_spec import check_bucket_spec
from dtool_operator.planning.observed import ClusterView, Policy
from dtool_operator.planning.placement import check_spec

EXAMPLES = sorted((Path(__file__).parents[4] / "crds" / "examples").glob("*.yaml"))
POLICY = Policy(
    admin_namespaces=frozenset({"dtool-system"}), allowed_endpoints=frozenset({"https://s3.example.org"})
)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_acted_on(path: Path) -> None:
    body = next(one for one in yaml.safe_load_all(path.read_text()) if one["kind"].startswith("Dtool"))
    body["metadata"] |= {"uid": "u", "creationTimestamp": "2026-11-22T00:00:00Z"}
    body["metadata"].setdefault("namespace", "alice")

    if body["kind"] == "DtoolBucket":
        refusal = check_bucket_spec(parse_bucket(body), ClusterView("c", (), {}), POLICY)
    else:
        refusal = check_spec(parse_dataset(body).spec)

    assert refusal is None or refusal.reason is not Reason.NOT_SUPPORTED, refusal
