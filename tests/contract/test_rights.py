"""`dtool-operator check` asks for the rights that the chart grants, all and no others."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from dtool_operator.commands.rights import Right, list_rights

RULES = Path(__file__).parents[2] / "charts" / "dtool-operator" / "rbac" / "operator.yaml"


def read_rights() -> Iterator[Right]:
    """Flatten the roles of the operator's ServiceAccount."""
    for body in yaml.safe_load_all(RULES.read_text()):
        if body["kind"] in ("Role", "ClusterRole"):
            for rule in body["rules"]:
                yield from flatten(rule, body["metadata"].get("namespace", ""))


def flatten(rule: dict[str, Any], namespace: str) -> Iterator[Right]:
    """Yield one right for each verb on each resource of a rule."""
    for group in rule["apiGroups"]:
        for full in rule["resources"]:
            resource, _, subresource = full.partition("/")
            for verb in rule["verbs"]:
                for name in rule.get("resourceNames", [""]):
                    yield Right(verb, group, resource, subresource, namespace, name)


def test_the_table_of_rights_is_that_of_the_charts_roles() -> None:
    granted = list(read_rights())
    known = list_rights("dtool-system", "dtool-operator", jobs=True, signing=True)

    assert sorted(map(str, known)) == sorted(map(str, granted))
    assert set(known) == set(granted)


def test_without_jobs_no_right_on_them_is_asked_for() -> None:
    all_rights = set(list_rights("a", "b", jobs=True, signing=True))

    fewer = set(list_rights("a", "b"))

    assert fewer < all_rights
    assert {right.resource for right in all_rights - fewer} == {
        *("jobs", "pods", "events", "secrets", "tokenreviews")
    }
    assert {str(right) for right in fewer if right.resource == "secrets"} == {"get secrets in namespace a"}
