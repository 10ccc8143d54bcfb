"""`kubectl dtool policy`: what it reads, prints, refuses, and with which exit code."""

import json
import os
import re
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml

from dtool_operator.cli.main import main

BUCKET: dict[str, Any] = {
    "metadata": {
        "name": "lab",
        "namespace": "dtool-system",
        "uid": "u1",
        "generation": 1,
        "creationTimestamp": "2026-01-01T00:00:00Z",
    },
    "spec": {
        "bucket": "lab-data",
        "allowedNamespaces": {"from": "Selector", "selector": {"matchLabels": {"lab": "true"}}},
    },
    "status": {
        "observedGeneration": 1,
        "conditions": [
            {
                "type": "Ready",
                "status": "True",
                "reason": "Ready",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }
        ],
    },
}
NAMESPACE: dict[str, Any] = {"metadata": {"name": "alice", "labels": {"lab": "true"}}}
ASKED = ("policy", "lab", "--namespace", "alice", "--bucket-namespace", "dtool-system")


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kubectl that answers from files `RESOURCE-NAME.json` beside it, and writes down how it was called."""
    program = tmp_path / "kubectl"
    program.write_text(
        f'#!/bin/sh\ncd "{tmp_path}"\necho "$*" >> calls\n'
        'test -e "$2-$3.json" || { echo "Error from server (NotFound)" >&2; exit 1; }\ncat "$2-$3.json"\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    answer(tmp_path, BUCKET)
    (tmp_path / "namespaces-alice.json").write_text(json.dumps(NAMESPACE))
    return tmp_path


def answer(kubectl: Path, body: Any) -> None:
    (kubectl / "dtoolbuckets.dtool.dev-lab.json").write_text(json.dumps(body))


def changed(**spec: Any) -> dict[str, Any]:
    return BUCKET | {"spec": BUCKET["spec"] | spec}


def test_the_policy_is_printed_as_json_and_nothing_else(
    kubectl: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main([*ASKED, "-o", "json"])

    said = capsys.readouterr()
    assert (code, said.err) == (0, "")
    assert json.loads(said.out)["Version"] == "2012-10-17"


WRITES = "s3:PutObject,s3:DeleteObject,s3:AbortMultipartUpload,s3:ListMultipartUploadParts"
BUCKET_ARN = "arn:aws:s3:::lab-data"
MARKER, REGISTERED = f"{BUCKET_ARN}/u/alice/.dtool-owner", f"{BUCKET_ARN}/dtool-*"
OWN = f"{BUCKET_ARN}/u/alice/*,{REGISTERED}"
OWN_LISTING = "StringLike s3:prefix=u/alice/*,dtool*"


@pytest.mark.parametrize(
    ("arguments", "rows"),
    [
        (
            ("--strict",),
            [
                ["List", "Allow", "s3:ListBucket", BUCKET_ARN, OWN_LISTING],
                ["Read", "Allow", "s3:GetObject", OWN, "-"],
                ["Write", "Allow", WRITES, OWN, "-"],
                ["KeepOwnerMarker", "Deny", "s3:PutObject,s3:DeleteObject", MARKER, "-"],
                ["RegisterOnce", "Deny", "s3:PutObject", REGISTERED, "Null s3:if-none-match=true"],
                ["KeepRegistrations", "Deny", "s3:DeleteObject", REGISTERED, "-"],
            ],
        ),
        (
            ("--format", "seaweedfs"),
            [
                ["List", "Allow", "s3:ListBucket,s3:ListBucketMultipartUploads", BUCKET_ARN, OWN_LISTING],
                ["Read", "Allow", "s3:GetObject", OWN, "-"],
                ["Write", "Allow", WRITES, OWN, "-"],
                ["KeepOwnerMarker", "Deny", "s3:PutObject,s3:DeleteObject", MARKER, "-"],
            ],
        ),
        (
            ("--format", "seaweedfs-actions"),
            [
                ["-", "Allow", "Read", "lab-data/u/alice/*", "-"],
                ["-", "Allow", "Read", "lab-data/dtool-*", "-"],
                ["-", "Allow", "List", "lab-data/u/alice/*", "-"],
                ["-", "Allow", "List", "lab-data/dtool*", "-"],
                ["-", "Allow", "Write", "lab-data/u/alice/*", "-"],
                ["-", "Allow", "Write", "lab-data/dtool-*", "-"],
            ],
        ),
    ],
)
def test_a_table_has_a_row_for_each_statement_with_its_condition(
    kubectl: Path, arguments: tuple[str, ...], rows: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    answer(kubectl, changed(readAccess="Prefix"))

    assert main([*ASKED, *arguments, "-o", "table"]) == 0

    heading, *lines = capsys.readouterr().out.splitlines()
    assert heading.split() == ["SID", "EFFECT", "ACTIONS", "RESOURCES", "CONDITION"]
    assert [re.split(r" {2,}", line) for line in lines] == rows


def test_yaml_says_what_json_says(kubectl: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (main([*ASKED, "-o", "json"]), main([*ASKED, "-o", "yaml"])) == (0, 0)

    said = capsys.readouterr().out
    end = said.index("\n}\n") + 3
    assert json.loads(said[:end]) == yaml.safe_load(said[end:])


def test_the_users_context_and_kubeconfig_go_to_kubectl(kubectl: Path) -> None:
    main([*ASKED, "--context", "lab", "--kubeconfig", "/some/file"])

    calls = (kubectl / "calls").read_text().splitlines()
    assert calls[0].startswith("get dtoolbuckets.dtool.dev lab --namespace=dtool-system ")
    assert calls[1].startswith("get namespaces alice ")
    assert all(" --context=lab --kubeconfig=/some/file " in call for call in calls)


def test_the_bucket_is_looked_for_in_the_users_namespace_unless_told_otherwise(kubectl: Path) -> None:
    main(["policy", "lab", "-n", "alice"])

    assert " --namespace=alice " in (kubectl / "calls").read_text()


def test_the_namespace_is_not_read_where_its_labels_do_not_matter(kubectl: Path) -> None:
    answer(kubectl, changed(allowedNamespaces={"from": "All"}))

    assert main(ASKED) == 0

    assert "namespaces alice" not in (kubectl / "calls").read_text()


def test_a_bucket_that_does_not_admit_the_namespace_is_refused(
    kubectl: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (kubectl / "namespaces-alice.json").write_text(json.dumps({"metadata": {"name": "alice"}}))

    code = main(ASKED)

    said = capsys.readouterr()
    assert (code, said.out) == (1, "")
    assert "does not admit namespace alice" in said.err


def test_a_bucket_that_cannot_be_read_is_kubectls_to_explain(
    kubectl: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code = main(["policy", "missing", "-n", "alice"])

    said = capfd.readouterr()
    assert (code, said.out) == (1, "")
    assert said.err == (
        "kubectl-dtool: cannot read dtoolbuckets.dtool.dev missing in namespace alice: "
        "Error from server (NotFound); --bucket-namespace says where else its DtoolBucket is\n"
    )


@pytest.mark.parametrize("body", [[], {"kind": "List"}, "", None, {"metadata": 7}])
def test_an_answer_that_is_no_object_is_refused(
    kubectl: Path, body: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(kubectl, body)

    assert main(ASKED) == 1

    assert "gave no object" in capsys.readouterr().err


def test_a_bucket_that_is_not_valid_is_refused_with_its_field(
    kubectl: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(kubectl, changed(endpoint="file:///etc/passwd"))

    assert main(ASKED) == 1

    assert "spec.endpoint" in capsys.readouterr().err


def test_strict_is_refused_for_a_server_that_cannot_hold_it(
    kubectl: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main([*ASKED, "--strict", "--format", "minio"])

    said = capsys.readouterr()
    assert (code, said.out) == (1, "")
    assert "s3:if-none-match" in said.err


@pytest.mark.parametrize(
    ("body", "arguments", "note"),
    [
        (BUCKET | {"status": {}}, (), "has not found this DtoolBucket Ready"),
        (changed(accessMode="ReadOnly"), (), "lets nobody write"),
        (BUCKET, ("--format", "seaweedfs-actions"), "can overwrite the owner marker"),
    ],
)
def test_what_one_should_know_of_the_policy_goes_to_standard_error(
    kubectl: Path,
    body: Any,
    arguments: tuple[str, ...],
    note: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    answer(kubectl, body)

    assert main([*ASKED, *arguments]) == 0

    said = capsys.readouterr()
    json.loads(said.out)
    assert note in said.err


def test_without_kubectl_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")

    assert main(ASKED) == 1

    assert "kubectl is not in the search path" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["policy"], ["policy", "lab"], [*ASKED, "--format", "gcs"]])
def test_a_wrong_call_is_two(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)

    assert ended.value.code == 2
    capsys.readouterr()
