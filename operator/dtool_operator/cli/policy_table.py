"""An S3 policy as rows of a table, for people; pure. Leaves out no condition: it would say something else."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

HEADINGS: Final = ("SID", "EFFECT", "ACTIONS", "RESOURCES", "CONDITION")


def list_rows(document: Mapping[str, Any]) -> list[list[str]]:
    """Return a row for each statement; in SeaweedFS's older form one for each action of an identity."""
    policies = [json.loads(one["content"]) for one in document.get("policies", ())]
    statements = [one for policy in (policies or [document]) for one in policy.get("Statement", ())]
    actions = [one for identity in document.get("identities", ()) for one in identity["actions"]]
    return [*map(_describe_statement, statements), *map(_describe_action, actions)]


def _describe_statement(statement: Mapping[str, Any]) -> list[str]:
    conditions = [
        f"{test} {key}={_join(values)}"
        for test, keys in statement.get("Condition", {}).items()
        for key, values in keys.items()
    ]
    actions, resources = _join(statement["Action"]), _join(statement["Resource"])
    return [statement["Sid"], statement["Effect"], actions, resources, " ".join(conditions)]


def _describe_action(action: str) -> list[str]:
    name, _, resource = action.partition(":")
    return ["", "Allow", name, resource, ""]


def _join(values: str | Sequence[str]) -> str:
    return values if isinstance(values, str) else ",".join(values)
