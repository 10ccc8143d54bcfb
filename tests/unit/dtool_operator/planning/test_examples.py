"""The examples say truly whether this version acts on them."""

from pathlib import Path

import pytest
import yaml

from dtool_operator.api.bucket import parse_bucket
from dtool_operator.api.dataset import parse_dataset
from dtool_operator.api.reasons import Reason
from dtool_operator.planning.bucket_spec import check_bucket_spec
from dtool_operator.planning.observed import ClusterView, Policy
from dtool_operator.planning.placement import find_unsupported

EXAMPLES = sorted((Path(__file__).parents[4] / "crds" / "examples").glob("*.yaml"))
REMARK = "# Not in this version yet: the operator answers NotSupported."
POLICY = Policy(
    admin_namespaces=frozenset({"dtool-system"}), allowed_endpoints=frozenset({"https://s3.example.org"})
)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_says_whether_this_version_acts_on_it(path: Path) -> None:
    body = next(one for one in yaml.safe_load_all(path.read_text()) if one["kind"].startswith("Dtool"))
    body["metadata"] |= {"uid": "u", "creationTimestamp": "2026-11-22T00:00:00Z"}
    body["metadata"].setdefault("namespace", "alice")

    if body["kind"] == "DtoolBucket":
        refusal = check_bucket_spec(parse_bucket(body), ClusterView("c", (), {}), POLICY)
    else:
        refusal = find_unsupported(parse_dataset(body).spec)

    is_refused = refusal is not None and refusal.reason is Reason.NOT_SUPPORTED
    assert is_refused == (REMARK in path.read_text()), refusal
