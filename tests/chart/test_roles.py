"""The chart grants what `dtool-operator check` asks for, and no more, whatever is switched on."""

from typing import Any

import pytest
import yaml

from dtool_operator.commands.rights import Right, list_rights
from tests.contract.test_rights import flatten
from tests.support.chart import CHART, NAMESPACE, Object, find, render

OPERATOR = ("ClusterRole", "Role")


def granted(objects: list[Object], account: str, namespace: str) -> list[Right]:
    """List the rights that bindings give to a ServiceAccount."""
    rights = []
    subject = {"kind": "ServiceAccount", "name": account, "namespace": namespace}
    for binding in objects:
        if binding["kind"] in ("RoleBinding", "ClusterRoleBinding") and subject in binding["subjects"]:
            role = find_role(objects, binding)
            where = binding["metadata"].get("namespace", "")
            rights += [right for rule in role["rules"] for right in flatten(rule, where)]
    return rights


def find_role(objects: list[Object], binding: Object) -> Object:
    """Find the role of a binding; a Role's namespace is the binding's."""
    ref, where = binding["roleRef"], binding["metadata"].get("namespace")
    (role,) = (
        one
        for one in objects
        if (one["kind"], one["metadata"]["name"]) == (ref["kind"], ref["name"])
        and (ref["kind"] == "ClusterRole" or one["metadata"]["namespace"] == where)
    )
    return role


@pytest.mark.parametrize(
    ("values", "jobs", "signing"),
    [
        ({}, True, True),
        ({"signing": {"enabled": False}}, True, False),
        ({"workers": {"enabled": False}}, False, False),
        ({"fullnameOverride": "other"}, True, True),
        ({"leaderElection": {"leaseName": "lease"}}, True, True),
    ],
)
def test_the_operator_is_granted_what_it_asks_for_and_no_more(
    values: dict[str, Any], jobs: bool, signing: bool
) -> None:
    objects = render(values, namespace="storage")
    name = str(values.get("fullnameOverride", "dtool-operator"))
    lease = values.get("leaderElection", {}).get("leaseName", name)

    rights = granted(objects, name, "storage")

    assert len(rights) == len(set(rights)), "a right is granted twice"
    assert set(rights) == set(list_rights("storage", lease, jobs=jobs, signing=signing))


def test_named_namespaces_change_no_right() -> None:
    """Roles in them would go before the finalizers when such a namespace is deleted."""
    assert granted(render({"watchNamespaces": ["alice"]}), "dtool-operator", NAMESPACE) == granted(
        render(), "dtool-operator", NAMESPACE
    )


def test_what_teams_bind_is_bound_nowhere() -> None:
    objects = render()

    bound = {one["roleRef"]["name"] for one in objects if "Binding" in one["kind"]}

    assert bound == {"dtool-operator"}


def test_the_role_for_jobs_gives_no_secret_and_no_pod() -> None:
    rules = find(render(), "ClusterRole", "dtool-operator-job-runner")["rules"]

    rights = {str(right) for rule in rules for right in flatten(rule, "")}

    assert rights == {
        *(f"{verb} jobs.batch" for verb in ("create", "get", "patch", "delete")),
        *("get pods", "list pods", "get pods/log", "list events"),
    }


def test_nobody_is_given_a_status_or_a_wildcard() -> None:
    for role in (one for one in render() if one["kind"] in OPERATOR):
        rights = [right for rule in role["rules"] for right in flatten(rule, "")]
        assert "*" not in {part for right in rights for part in (right.verb, right.group, right.resource)}
        if role["metadata"]["name"] != "dtool-operator":
            assert "status" not in {right.subresource for right in rights}


def test_the_file_for_installations_without_helm_names_everything() -> None:
    plain = [
        body for path in (CHART / "rbac").glob("*.yaml") for body in yaml.safe_load_all(path.read_text())
    ]

    rendered = [one for one in render() if "Role" in one["kind"] or one["kind"] == "ServiceAccount"]

    assert sorted((one["kind"], one["metadata"]["name"]) for one in plain) == sorted(
        (one["kind"], one["metadata"]["name"]) for one in rendered
    )
