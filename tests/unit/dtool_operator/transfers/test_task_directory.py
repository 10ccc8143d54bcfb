"""The variables that a worker gets, as a table, and the files beside its task."""

import stat
from pathlib import Path

import pytest

from dtool_operator.planning.task import Location, Task, TaskKind
from dtool_operator.transfers.executor import TaskCredentials
from dtool_operator.transfers.task_directory import TaskDirectory, build_environment
from dtool_s3.settings import Credentials, Secret

KEYS = Credentials("AK", Secret("sk"))
INHERITED = {
    "PATH": "/bin",
    "LANG": "C.UTF-8",
    "SSL_CERT_FILE": "/ca.pem",
    "AWS_REGION": "eu-central-1",
    "AWS_ACCESS_KEY_ID": "OPERATOR",
    "AWS_SECRET_ACCESS_KEY": "operators-own",
    "AWS_WEB_IDENTITY_TOKEN_FILE": "/token",
    "AWS_PROFILE": "operator",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
    "KUBECONFIG": "/operator/kubeconfig",
    "KUBERNETES_SERVICE_HOST": "10.0.0.1",
    "DTOOL_S3_SECRET_ACCESS_KEY_lab": "users-own",
    "PYTHONPATH": "/elsewhere",
}
OF_ANY = {"PATH", "LANG", "SSL_CERT_FILE", "AWS_REGION"}
OF_AWS = {name for name in INHERITED if name.startswith("AWS_")}
HERE = Location(bucket="lab", prefix="u/alice/")


@pytest.mark.parametrize(
    ("credentials", "has_source", "expected"),
    [
        (TaskCredentials(KEYS, KEYS), True, OF_ANY),
        (TaskCredentials(KEYS, None), False, OF_ANY),
        (TaskCredentials(KEYS, None), True, OF_ANY | OF_AWS),
        (TaskCredentials(None, KEYS), True, OF_ANY | OF_AWS),
        (TaskCredentials(None, None), False, OF_ANY | OF_AWS),
    ],
    ids=["both-have-keys", "no-source", "source-is-ambient", "target-is-ambient", "all-ambient"],
)
def test_a_worker_gets_the_operators_identity_only_where_it_needs_it(
    credentials: TaskCredentials, *, has_source: bool, expected: set[str]
) -> None:
    task = Task(
        kind=TaskKind.COPY,
        key="k",
        namespace="alice",
        fingerprint="f",
        uuid="u",
        target=HERE,
        source=HERE if has_source else None,
        bucket_key="b",
    )

    environment = build_environment(INHERITED, task, credentials)

    assert set(environment) == expected


def _copy() -> Task:
    return Task(
        kind=TaskKind.COPY,
        key="k",
        namespace="alice",
        fingerprint="f",
        uuid="u",
        target=HERE,
        source=HERE,
        bucket_key="b",
    )


def test_certificates_lie_beside_the_task_and_each_side_points_to_its_own(tmp_path: Path) -> None:
    directory = TaskDirectory(tmp_path)

    directory.write(_copy(), TaskCredentials(KEYS, None, target_ca="the target's"), {"PATH": "/bin"})

    written = Task.model_validate_json(directory.task_file.read_bytes())
    assert written.target.ca_bundle_file == str(tmp_path / "target-ca.pem")
    assert (tmp_path / "target-ca.pem").read_text() == "the target's"
    assert written.source is not None
    assert (written.source.ca_bundle_file, written.source.credentials_file) == (None, None)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


def test_renewed_certificates_replace_their_file_in_one_step(tmp_path: Path) -> None:
    directory = TaskDirectory(tmp_path)
    directory.write(_copy(), TaskCredentials(KEYS, KEYS, source_ca="old"), {})
    file = tmp_path / "source-ca.pem"
    before = file.stat().st_ino

    directory.replace_credentials(TaskCredentials(None, None, source_ca="new"))

    assert (file.read_text(), file.stat().st_ino != before) == ("new", True)
    assert not (tmp_path / "target-ca.pem").exists()
