"""Stories of an upload by a Job without keys that make the operator see to Jobs; see `crash_stories`."""

from __future__ import annotations

from tests.support.crash_stories import Step, Story, frozen
from tests.support.fault_lab import FaultLab
from tests.support.uploads import check_held, check_no_job, check_uploaded, find_job, upload, uploaders


def _upload(lab: FaultLab) -> None:
    upload(lab)


def _upload_and_hold(lab: FaultLab) -> None:
    lab.hold_copies()
    upload(lab)


def _held(lab: FaultLab) -> None:
    check_held(lab)


def _restart(lab: FaultLab) -> None:
    lab.operator.start_again()


def _crashed(lab: FaultLab) -> None:
    assert lab.operator.has_crashed


def _let_go(lab: FaultLab) -> None:
    lab.let_go()


def _suspend_while_it_is_away(lab: FaultLab) -> None:
    lab.operator.kill()
    lab.patch("dtooldataset", "raw", {"spec": {"suspend": True}})
    lab.operator.start_again()


def _suspended(lab: FaultLab) -> None:
    status = lab.status("raw")
    assert status.get("state") == "Suspended", status
    assert "job" not in status
    check_no_job(lab)


def _resume(lab: FaultLab) -> None:
    lab.let_go()
    lab.patch("dtooldataset", "raw", {"spec": {"suspend": False}})


def _is_uploaded(lab: FaultLab) -> None:
    check_uploaded(lab, {})


def _is_uploaded_by_one_job(lab: FaultLab) -> None:
    check_uploaded(lab, {})
    assert len(uploaders(lab)) == 1
    job = find_job(lab)
    assert job is None or job["metadata"]["name"] == uploaders(lab)[0].job


STORIES = {
    "upload": Story(("ReleaseJob",), (Step(_upload, frozen("raw")),), _is_uploaded),
    "upload that is found again": Story(
        ("AdoptJob",),
        (Step(_upload_and_hold, _held), Step(_restart, _crashed), Step(_let_go, frozen("raw"))),
        _is_uploaded_by_one_job,
    ),
    "upload that nothing asks for any more": Story(
        ("RemoveJob",),
        (
            Step(_upload_and_hold, _held),
            Step(_suspend_while_it_is_away, _suspended),
            Step(_resume, frozen("raw")),
        ),
        _is_uploaded,
    ),
}
