"""The health check for Argo CD, run by a Lua interpreter over every report: Argo's conventions hold.

Healthy: as the spec asks. Progressing: may still become so by itself. Degraded: somebody has to act.
Suspended: a pause that somebody asked for. Argo CD opens `table` and a part of `os` beside Lua's basic
functions, and no other library.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lupa
import pytest
import yaml

from dtool_operator import names
from tests.support import observed as see
from tests.support.crd import with_defaults
from tests.support.kstatus import KStatus, compute_kstatus
from tests.support.reports import Report, list_reports, show

ROOT = Path(__file__).parents[2]
SCRIPT = (ROOT / "gitops" / "argocd" / "health.lua").read_text()
PATCH = ROOT / "gitops" / "argocd" / "argocd-cm.yaml"

Check = Callable[[dict[str, Any]], tuple[str, str]]


@pytest.fixture(scope="module")
def check() -> Check:
    """The script as Argo CD runs it: `obj` is the object, no library but `table`."""
    lua = lupa.LuaRuntime(unpack_returned_tuples=True, register_eval=False)
    for library in ("string", "math", "io", "debug", "package", "require", "python", "utf8", "coroutine"):
        lua.globals()[library] = None
    run = lua.eval(f"function(given) obj = given; return (function() {SCRIPT}\nend)() end")

    def judge(body: dict[str, Any]) -> tuple[str, str]:
        health = run(lua.table_from(body, recursive=True))
        assert set(health.keys()) == {"status", "message"}
        return health.status, health.message

    return judge


def expect(report: Report) -> str:
    """Say what Argo's words are for what a report means."""
    status, ready = report.body["status"], report.conditions["Ready"]
    if ready["reason"] == "Suspended" and ready["status"] == "False":
        return "Suspended"
    if status.get("state") == "Damaged":
        return "Degraded"
    words = {KStatus.CURRENT: "Healthy", KStatus.FAILED: "Degraded", KStatus.IN_PROGRESS: "Progressing"}
    return words[compute_kstatus(report.body)]


def test_every_report_has_the_health_that_argo_means(check: Check) -> None:
    reports = list_reports()

    differing = {
        f"{report.body['kind']}: {report.about}": (check(report.body), expect(report))
        for report in reports
        if check(report.body)[0] != expect(report)
    }

    assert differing == {}
    assert {check(report.body)[0] for report in reports} == {
        "Healthy",
        "Progressing",
        "Degraded",
        "Suspended",
    }


def test_the_message_says_why_where_something_is_missing(check: Check) -> None:
    for report in list_reports():
        status, message = check(report.body)
        ready = report.conditions["Ready"]

        assert ready.get("message", "") in message
        assert status in {"Healthy", "Suspended"} or message.startswith(ready["reason"])


@pytest.mark.parametrize("plural", [names.BUCKET_PLURAL, names.DATASET_PLURAL])
def test_an_object_that_nobody_has_looked_at_yet_is_progressing(check: Check, plural: str) -> None:
    created: dict[str, Any] = with_defaults(plural, {"metadata": {"generation": 1}, "spec": {}})

    assert check(created)[0] == "Progressing"
    assert check({"metadata": {"generation": 1}, "spec": {}})[0] == "Progressing"


def test_an_edited_object_is_progressing_until_the_edit_was_seen(check: Check) -> None:
    frozen = see.was_frozen()
    body = show(frozen, frozen.status)

    edited = {**body, "metadata": {**body["metadata"], "generation": 2}}

    assert (check(body)[0], check(edited)[0]) == ("Healthy", "Progressing")


def test_the_patch_for_argos_configuration_has_the_script_for_both_kinds() -> None:
    patch = yaml.safe_load(PATCH.read_text())

    key = f"resource.customizations.health.{names.GROUP}"
    assert patch["metadata"] == {"name": "argocd-cm", "namespace": "argocd"}
    assert patch["data"] == {f"{key}_{kind}": SCRIPT for kind in (names.BUCKET_KIND, names.DATASET_KIND)}
