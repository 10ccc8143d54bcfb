"""The variables that a worker gets, as a table."""

import pytest

from dtool_operator.planning.task import Location, Task, TaskKind
from dtool_operator.transfers.executor import TaskCredentials
from dtool_operator.transfers.task_directory import build_environment
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
