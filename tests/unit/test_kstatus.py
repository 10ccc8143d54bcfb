"""Rule 20: what the operator reports means to kstatus what it shall, so that Flux and others can wait for it.

The rules of kstatus are in tests/support/kstatus.py; here every status that the planner's tables and verdicts
give is held to them.
"""

from typing import Any, get_args

import pytest

from dtool_operator import names
from dtool_operator.api.reasons import Reason
from dtool_operator.planning.verdict import Verdict
from tests.support import observed as see
from tests.support.crd import with_defaults
from tests.support.kstatus import KStatus, compute_kstatus
from tests.support.reports import Report, list_reports, list_verdicts, show

#: Rule 20, word for word: no change outside the object can help.
STALLED = {
    "InvalidSpec",
    "UnsafePath",
    "ContentDiffers",
    "AlreadyInBucket",
    "InvalidManifest",
    "ReservedForAdministrators",
    "NotSupported",
}


def expect(report: Report) -> KStatus:
    """Say what rule 20 asks for."""
    ready = report.conditions["Ready"]
    if ready["status"] == "True":
        return KStatus.CURRENT
    is_final = ready["reason"] in STALLED and report.body["status"].get("state") != "Damaged"
    return KStatus.FAILED if is_final else KStatus.IN_PROGRESS


def name_of(report: Report) -> str:
    return f"{report.body['kind']}: {report.about}"


def test_every_report_means_to_kstatus_what_rule_20_says() -> None:
    reports = list_reports()

    differing = {
        name_of(report): (compute_kstatus(report.body), expect(report))
        for report in reports
        if compute_kstatus(report.body) is not expect(report)
    }

    assert differing == {}
    assert len(reports) > 1000
    assert {compute_kstatus(report.body) for report in reports} == set(KStatus) - {KStatus.TERMINATING}


def test_rule_20_a_dataset_is_failed_exactly_while_it_is_stalled() -> None:
    datasets = [report for report in list_reports() if report.body["kind"] == names.DATASET_KIND]

    differing = {
        name_of(report)
        for report in datasets
        if ("Stalled" in report.conditions) is not (report.body["status"]["state"] == "Failed")
    }

    assert differing == set()


def test_every_verdict_is_among_the_reports() -> None:
    """The table of verdicts in tests/support/reports.py follows the planner."""
    assert {type(verdict) for _, verdict in list_verdicts(is_known=True)} == set(get_args(Verdict))


def test_every_reason_is_among_the_reports() -> None:
    told = {report.conditions["Ready"]["reason"] for report in list_reports()}

    assert told == {str(reason) for reason in Reason}


@pytest.mark.parametrize(
    ("about", "state", "expected"),
    [
        ("frozen, then kept", "Frozen", KStatus.CURRENT),
        ("new, then proto", "Proto", KStatus.CURRENT),
        ("new, then working: Copying", "Copying", KStatus.IN_PROGRESS),
        ("new, then refused: BucketNotFound", "Pending", KStatus.IN_PROGRESS),
        ("frozen, then refused: BucketUnreachable", "Frozen", KStatus.IN_PROGRESS),
        ("new, then suspended", "Suspended", KStatus.IN_PROGRESS),
        ("frozen, then damaged: ContentDiffers", "Damaged", KStatus.IN_PROGRESS),
        ("new, then refused: ContentDiffers", "Failed", KStatus.FAILED),
        ("new, then invalid", "Failed", KStatus.FAILED),
    ],
)
def test_what_people_and_kstatus_see_belongs_together(about: str, state: str, expected: KStatus) -> None:
    report = next(one for one in list_reports() if one.about == about)

    assert report.body["status"]["state"] == state
    assert compute_kstatus(report.body) is expected


def test_an_edited_object_is_in_progress_until_the_edit_was_seen() -> None:
    frozen = see.was_frozen()
    body = show(frozen, frozen.status)

    edited = {**body, "metadata": {**body["metadata"], "generation": 2}}

    assert (compute_kstatus(body), compute_kstatus(edited)) == (KStatus.CURRENT, KStatus.IN_PROGRESS)


def test_an_object_that_is_being_deleted_is_terminating() -> None:
    body = show(see.was_frozen(), see.was_frozen().status)
    metadata = {**body["metadata"], "deletionTimestamp": "2026-11-01T00:00:00Z"}

    assert compute_kstatus({**body, "metadata": metadata}) is KStatus.TERMINATING


@pytest.mark.parametrize("plural", [names.BUCKET_PLURAL, names.DATASET_PLURAL])
def test_an_object_that_nobody_has_looked_at_yet_is_in_progress(plural: str) -> None:
    """Without the CRD's default status kstatus would call it Current, operator or not."""
    created: dict[str, Any] = with_defaults(plural, {"metadata": {"generation": 1}, "spec": {}})

    assert compute_kstatus(created) is KStatus.IN_PROGRESS
    assert compute_kstatus({"metadata": {"generation": 1}, "spec": {}}) is KStatus.CURRENT
