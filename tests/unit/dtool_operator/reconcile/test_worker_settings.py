"""The files with what an administrator says of workers' Pods, and what a mistake in them is answered with."""

import ssl
from pathlib import Path

import pytest

from dtool_operator.planning.worker_pod import WorkerPod
from dtool_operator.reconcile.worker_settings import read_worker_settings
from dtool_operator.settings import InvalidSetting, Settings, read_settings
from tests.support.certificates import sign_certificate


def settings(**variables: Path | str) -> Settings:
    given = {"WORKER_IMAGE": "localhost/dtool:1"} | {name: str(value) for name, value in variables.items()}
    return read_settings({f"DTOOL_OPERATOR_{name}": value for name, value in given.items()})


def test_without_files_pods_have_the_defaults() -> None:
    worker = read_worker_settings(settings())

    assert worker is not None
    assert worker.pod == WorkerPod()
    assert worker.trusted_ca is None


def test_without_an_image_there_are_no_jobs() -> None:
    assert read_worker_settings(read_settings({})) is None


def test_files_are_read(tmp_path: Path) -> None:
    pem = sign_certificate("127.0.0.1")[0].decode()
    (tmp_path / "ca.pem").write_text(f"# Größe egal\n{pem}")
    (tmp_path / "pod.yaml").write_text("priorityClassName: low")

    worker = read_worker_settings(
        settings(WORKER_POD_FILE=tmp_path / "pod.yaml", WORKER_CA_FILE=tmp_path / "ca.pem")
    )

    assert worker is not None
    assert worker.pod.priority_class_name == "low"
    assert worker.trusted_ca is not None
    assert ssl.PEM_cert_to_DER_cert(pem)
    assert pem in worker.trusted_ca


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("WORKER_POD_FILE", None, "cannot be read: No such file"),
        ("WORKER_POD_FILE", b"\xff", "utf-8"),
        ("WORKER_POD_FILE", b"nodeselector: {}", "nodeselector"),
        ("WORKER_CA_FILE", None, "cannot be read: No such file"),
        ("WORKER_CA_FILE", b"\xff", "utf-8"),
        ("WORKER_CA_FILE", b"", "is missing or empty"),
        ("WORKER_CA_FILE", b"no PEM", "holds no certificates in PEM"),
        ("WORKER_CA_FILE", b"#" * 400_001, "is longer than 400000 characters"),
    ],
)
def test_a_file_that_means_nothing_is_named_with_its_variable(
    tmp_path: Path, name: str, content: bytes | None, complaint: str
) -> None:
    file = tmp_path / "file"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(InvalidSetting, match=f"DTOOL_OPERATOR_{name}: {file}: .*{complaint}"):
        read_worker_settings(settings(**{name: file}))
