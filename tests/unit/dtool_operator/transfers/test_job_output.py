"""What a Pod's log may claim, and how a worker in a Pod reads its task and writes its log."""

import io
from pathlib import Path

import pytest

from dtool_operator.planning.task import (
    DatasetFacts,
    ErrorLine,
    Location,
    MismatchLine,
    ProgressLine,
    ResultLine,
    SourceFacts,
    Task,
    TaskKind,
)
from dtool_operator.transfers.job_output import add_progress, read_claims
from dtool_operator.transfers.worker import _SparseLineWriter, read_pod_task
from tests.support.datasets import UUID


def progress(items: int) -> ProgressLine:
    return ProgressLine(phase="Copying", items=items, items_total=9, bytes=0, bytes_total=0)


def facts(**changes: object) -> DatasetFacts:
    given: dict[str, object] = dict.fromkeys(
        ("items", "size_bytes", "etag_md5", "read", "same_as_source", "unproven"), 0
    )
    given |= {"name": "x", "creator_username": "x", "created_at": None, "frozen_at": None}
    return DatasetFacts.model_validate(given | changes)


def test_the_last_line_of_each_kind_counts_and_noise_does_not() -> None:
    lines = ["noise", progress(1).model_dump_json(), "{}", progress(2).model_dump_json(), '{"type": "other"}']

    assert read_claims("\n".join(lines)).progress == progress(2)
    assert read_claims("").outcome is None


@pytest.mark.parametrize("number", [-1, 2**60])
def test_numbers_that_no_status_takes_are_not_believed(number: int) -> None:
    assert read_claims(progress(number).model_dump_json()).progress is None
    assert read_claims(ResultLine(facts=facts(items=number)).model_dump_json()).outcome is None


def test_texts_are_sanitized_and_lists_cut() -> None:
    mismatches = tuple(MismatchLine(relpath=str(n), expected="a", found="b") for n in range(50))
    line = ErrorLine(
        reason="X" * 500, message="bad\x1b\n" * 5000, retryable=True, facts=facts(mismatches=mismatches)
    )

    outcome = read_claims(line.model_dump_json()).outcome

    assert isinstance(outcome, ErrorLine)
    assert len(outcome.reason) <= 60
    assert outcome.message.isprintable()
    assert len(outcome.message) <= 2000
    assert outcome.facts is not None
    assert len(outcome.facts.mismatches) == 20


def source(**changes: object) -> ResultLine:
    given: dict[str, object] = {
        "uuid": UUID,
        "name": "raw",
        "creator_username": "olssont",
        "created_at": 1.5,
        "frozen_at": 2.5,
        "items": 3,
        "size_bytes": 30,
        "manifest_sha256": "0f" * 32,
        "content_sha256": "0c" * 32,
    }
    return ResultLine(source=SourceFacts.model_validate(given | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"uuid": f"{UUID}/../../u/bob"},
        {"uuid": UUID.upper()},
        {"uuid": ""},
        {"name": "../bob"},
        {"name": "x" * 100},
        {"creator_username": "x\n"},
        {"creator_username": "x" * 1000},
        {"manifest_sha256": "x"},
        {"content_sha256": "x"},
        {"items": -1},
    ],
    ids=str,
)
def test_what_no_dataset_can_be_is_not_believed_to_be_one(changes: dict[str, object]) -> None:
    assert read_claims(source().model_dump_json()).outcome == source()
    assert read_claims(source(**changes).model_dump_json()).outcome is None


def test_progress_of_none_is_none() -> None:
    assert add_progress([]) is None


def test_a_pods_log_has_progress_every_two_seconds_and_the_last_before_the_end() -> None:
    times = iter([0.0, 0.0, 0.5, 1.0, 2.5, 2.5, 3.0, 3.0])
    output = io.StringIO()
    writer = _SparseLineWriter(output, clock=lambda: next(times))

    for items in (1, 2, 3, 4, 5):
        writer.emit(progress(items))
    writer.emit(ResultLine())

    claims = [read_claims(line) for line in output.getvalue().splitlines()]
    assert [one.progress.items for one in claims if one.progress] == [1, 4, 5]
    assert claims[-1].outcome == ResultLine()


def test_a_worker_reads_its_task_and_certificates_from_the_environment(tmp_path: Path) -> None:
    ca_file = tmp_path / "target-ca.pem"
    task = Task(
        kind=TaskKind.VERIFY,
        key="k",
        namespace="alice",
        fingerprint="f",
        uuid="u",
        target=Location(bucket="b", prefix="", ca_bundle_file=str(ca_file)),
        bucket_key="x/y",
    )
    document = task.model_dump_json()
    environment = {
        "DTOOL_TASK": document[:20],
        "DTOOL_TASK_1": document[20:],
        "DTOOL_TARGET_CA": "PEM",
        "DTOOL_SOURCE_CA": "unused",
    }

    assert read_pod_task(environment) == task
    assert ca_file.read_text() == "PEM"


def test_a_worker_without_a_task_says_so() -> None:
    with pytest.raises(ValueError, match="DTOOL_TASK"):
        read_pod_task({})
