"""DtoolBucket: defaults and what contradicts itself. The table of invalid specs is in the contract tests."""

from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from dtool_operator.api.bucket import AllowedNamespaces, DtoolBucketSpec, parse_bucket
from dtool_operator.api.choice import AccessMode, FromNamespaces, ImportMode, ReadAccess

BODY = {
    "metadata": {
        "name": "lab",
        "namespace": "dtool-system",
        "uid": "u",
        "creationTimestamp": "2026-01-01T00:00:00Z",
    },
    "spec": {"bucket": "lab-data"},
}


def test_a_bucket_is_closed_to_others_by_default() -> None:
    spec = parse_bucket(BODY).spec

    assert spec.allowed_namespaces == AllowedNamespaces(from_=FromNamespaces.SAME)
    assert (spec.read_access, spec.access_mode) == (ReadAccess.PREFIX, AccessMode.READ_WRITE)
    assert (spec.listing.import_, spec.listing.interval) == (ImportMode.NEVER, timedelta(minutes=10))
    assert spec.prefix_template == "u/{namespace}/"
    assert spec.limits.per_namespace.datasets is None


def test_a_parsed_bucket_says_which_object_it_is() -> None:
    bucket = parse_bucket(BODY)

    assert (bucket.namespace, bucket.name, bucket.uid) == ("dtool-system", "lab", "u")
    assert bucket.status.dump() == {}


@pytest.mark.parametrize(
    "spec",
    [
        {"prefixTemplate": "", "allowedNamespaces": {"from": "Same"}},
        {"prefixTemplate": "x/{namespace}/", "allowedNamespaces": {"from": "All"}},
        {"allowedNamespaces": {"from": "Selector", "selector": {"matchLabels": {"a": ""}}}},
        {"encryption": {"mode": "SSE-KMS", "kmsKeyId": "k"}},
        {"encryption": {"mode": "SSE-S3"}},
        {"prefixOverrides": [{"namespace": "a", "prefix": "a/"}, {"namespace": "b", "prefix": "b/"}]},
        {"endpoint": "http://127.0.0.1:8333"},
        {"endpoint": "https://[::1]:9000/"},
    ],
)
def test_what_the_contract_allows_is_allowed(spec: dict[str, Any]) -> None:
    DtoolBucketSpec.model_validate({"bucket": "lab-data", **spec})


@pytest.mark.parametrize("field", ["prefixOverrides", "takeOver"])
def test_a_namespace_named_twice_is_refused(field: str) -> None:
    entry = {"namespace": "a", "prefix": "a/", "fromOwner": "c/n"}

    with pytest.raises(ValidationError, match=f"{field} names a namespace twice"):
        DtoolBucketSpec.model_validate({"bucket": "lab-data", field: [entry, entry]})


@pytest.mark.parametrize(
    ("operator", "values"), [("In", ["a"]), ("NotIn", ["a"]), ("Exists", []), ("DoesNotExist", [])]
)
def test_requirements_of_kubernetes_selectors_are_read(operator: str, values: list[str]) -> None:
    requirement = {"key": "team", "operator": operator, "values": values}

    spec = DtoolBucketSpec.model_validate(
        {
            "bucket": "lab-data",
            "allowedNamespaces": {"from": "Selector", "selector": {"matchExpressions": [requirement]}},
        }
    )

    assert spec.allowed_namespaces.selector is not None
    assert spec.allowed_namespaces.selector.match_expressions[0].values == tuple(values)
