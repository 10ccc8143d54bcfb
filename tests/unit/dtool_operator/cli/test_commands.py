"""The command line: wrong calls, what is printed in each format, what is loaded for it."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from dtool_operator.cli.arguments import POLICY_FORMATS
from dtool_operator.cli.completion import complete
from dtool_operator.cli.main import main
from dtool_operator.cli.parser import parse_seconds
from dtool_operator.planning.s3_policy import PolicyFormat

if TYPE_CHECKING:
    from tests.unit.dtool_operator.cli.conftest import FakeKubectl

ROOT = Path(__file__).parents[4]
UUID = "1c10766c-4a0c-4a6e-9a52-1f3c2f1f9a01"
RESOURCE = "get dtooldatasets.dtool.dev"


def dataset(name: str, /, **status: Any) -> dict[str, Any]:
    metadata = {
        "name": name,
        "namespace": "alice",
        "generation": 1,
        "creationTimestamp": "2026-11-01T00:00:00Z",
    }
    metadata["labels"] = {"dtool.dev/uuid": UUID}
    spec = {"bucketRef": {"name": "lab", "namespace": "dtool-system"}}
    return {"metadata": metadata, "spec": spec, "status": {"observedGeneration": 1, **status}}


BUCKET: dict[str, Any] = {
    "metadata": {
        "name": "lab",
        "namespace": "alice",
        "uid": UUID,
        "generation": 1,
        "creationTimestamp": "2026-11-01T00:00:00Z",
    },
    "spec": {"bucket": "lab-data"},
    "status": {"namespaces": [{"namespace": "alice", "prefix": "u/alice/", "datasets": 3, "sizeBytes": 0}]},
}


def show(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 0
    return capsys.readouterr().out


def call(arguments: str) -> object:
    """Return the exit code: argparse ends the process itself."""
    try:
        return main(arguments.split())
    except SystemExit as ended:
        return ended.code


@pytest.mark.parametrize(
    "arguments",
    [
        "",
        "lss",
        "ls -o xml",
        "ls -n a -A",
        "status --for done",
        "status --timeout 5",
        "status a -A",
        "cp",
        f"cp s3://b/{UUID}",
        f"cp s3://b/{UUID} --to-bucket b --to-volume v",
        f"cp s3://b/{UUID} --to-bucket b --dataset-name x --dry-run",
        "cp volume/c/a --to-bucket b --new-identity --dry-run",
        "cp raw --to-bucket b",
        "cp dataset/a --to-volume v --tag x --dry-run",
        "cp volume/c/a --to-volume v --dry-run",
        "verify",
        "verify a --timeout 0s",
        "plan",
        "plan a -f b",
        "plan volume/a -n alice",
        "import --bucket b --all --name x",
        "import not-a-uuid --bucket b",
        f"import {UUID} 2{UUID[1:]} --name x --bucket b",
        "ls no-uuid",
        "completion tcsh",
    ],
)
def test_a_wrong_call_is_two_and_one_line(arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = call(arguments)

    said = capsys.readouterr()
    assert (code, said.out) == (2, "")
    assert said.err.startswith("kubectl-dtool: ")
    assert len(said.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("ls -o xml", "argument -o/--output: 'xml' is none of table, wide, json, yaml, name"),
        ("status -o wide", "argument -o/--output: 'wide' is none of table, json, yaml"),
        ("verify a -o name", "argument -o/--output: 'name' is none of table, json, yaml"),
        ("plan a -o text", "argument -o/--output: 'text' is none of table, json, yaml"),
        ("cp s -o wide --to-bucket b", "argument -o/--output: 'wide' is none of name, table, json, yaml"),
        ("import -o wide --bucket b", "argument -o/--output: 'wide' is none of name, table, json, yaml"),
        ("policy b -n a -o name", "argument -o/--output: 'name' is none of json, yaml, table"),
        ("status --for done", "argument --for: 'done' is none of ready, frozen, verified"),
    ],
)
def test_a_value_that_is_refused_is_told_with_those_that_are_taken(
    arguments: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(arguments) == 2

    assert capsys.readouterr().err.startswith(f"kubectl-dtool: {said}; see `kubectl dtool ")


@pytest.mark.parametrize("form", ["json", "yaml", "table"])
@pytest.mark.parametrize(
    "arguments",
    [
        "ls",
        "status",
        "cp dataset/a --to-bucket lab",
        "cp dataset/a --to-bucket lab --dry-run",
        "verify a",
        "plan a",
        f"import {UUID} --bucket lab",
        f"import {UUID} --bucket lab --dry-run",
        "import --bucket lab",
        "import --bucket lab --all",
        "import --bucket lab --all --dry-run",
        "policy lab",
    ],
)
def test_every_command_prints_every_format(
    arguments: str, form: str, fake: FakeKubectl, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = dataset("a") | {"apiVersion": "dtool.dev/v1alpha1", "kind": "DtoolDataset"}
    raw["metadata"]["uid"] = UUID
    fake.answer(RESOURCE, raw | {"items": [raw]})
    fake.answer("apply --server-side", raw)
    fake.answer("annotate dtooldatasets.dtool.dev", {})
    fake.answer("patch dtoolbuckets.dtool.dev", {})
    for what in ("dtoolbuckets.dtool.dev", "namespaces"):
        fake.answer(f"get {what}", BUCKET | {"items": []})

    code = call(f"{arguments} -n alice -o {form}")

    said = capsys.readouterr().out
    assert code == 0
    match form:
        case "json":
            assert isinstance(json.loads(said), dict)
        case "yaml":
            assert isinstance(yaml.safe_load(said), dict)
            assert not said.startswith("{")
        case _:
            assert said
            assert not said.startswith(("{", "apiVersion"))


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (
            "cp dataset/b/a --to-bucket lab",
            ["NAMESPACE   NAME   RESULT", "alice       raw    applied"],
        ),
        (
            "cp dataset/b/a --to-bucket lab --dry-run",
            ["NAMESPACE   NAME   RESULT", "alice       a      applied (dry run)"],
        ),
        (
            f"import {UUID} 2{UUID[1:]} --bucket lab",
            ["NAMESPACE   NAME   RESULT", "alice       raw    applied", "alice       raw    applied"],
        ),
        (
            f"import {UUID} 2{UUID[1:]} --bucket lab --dry-run",
            [
                "NAMESPACE   NAME               RESULT",
                "alice       dataset-1c10766c   applied (dry run)",
                "alice       dataset-2c10766c   applied (dry run)",
            ],
        ),
        (
            "import --bucket dtool-system/lab",
            [
                "NAMESPACE   BUCKET             FOUND   DESCRIBED   IMPORT",
                "alice       dtool-system/lab   3       0           Never",
            ],
        ),
        (
            "import --bucket dtool-system/lab --all",
            ["NAMESPACE      NAME   RESULT", "dtool-system   lab    listing.import: Frozen"],
        ),
        (
            "import --bucket lab --all --dry-run",
            ["NAMESPACE   NAME   RESULT", "alice       lab    listing.import: Frozen (dry run)"],
        ),
    ],
)
def test_what_happened_is_a_table_where_one_asks_for_it(
    arguments: str, lines: list[str], fake: FakeKubectl, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.answer(RESOURCE, {"items": []})
    fake.answer("apply --server-side", dataset("raw"))
    fake.answer("patch dtoolbuckets.dtool.dev", {})
    fake.answer("get dtoolbuckets.dtool.dev", BUCKET)
    changes = {"apply", "patch"} if "--dry-run" not in arguments else set()

    said = show(capsys, *arguments.split(), "-n", "alice", "-o", "table")

    assert said.splitlines() == lines
    assert {word for call in fake.calls if (word := call.split()[0]) in {"apply", "patch"}} <= changes


def test_a_table_names_the_namespace_of_the_context_where_the_manifest_names_none(
    fake: FakeKubectl, capsys: pytest.CaptureFixture[str]
) -> None:
    (fake.directory / "config-view.json").write_text("bob")

    said = show(capsys, "cp", "dataset/a", "--to-bucket=lab", "--dry-run", "-o", "table")

    assert said.splitlines()[1].split()[:2] == ["bob", "a"]


def test_json_and_yaml_are_the_same_document(fake: FakeKubectl, capsys: pytest.CaptureFixture[str]) -> None:
    fake.answer(RESOURCE, {"items": [dataset("b"), dataset("a", state="Frozen", items=3)]})

    as_json = json.loads(show(capsys, "ls", "-o", "json"))
    as_yaml = yaml.safe_load(show(capsys, "ls", "-o", "yaml"))

    assert as_json == as_yaml
    assert [(one["name"], one["state"], one["items"]) for one in as_json["datasets"]] == [
        ("a", "Frozen", 3),
        ("b", "Pending", None),
    ]


@pytest.mark.parametrize("form", ["table", "wide", "json", "yaml"])
def test_nothing_that_a_status_says_moves_the_cursor(
    form: str, fake: FakeKubectl, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = "\x1b[2J\x9b31m\u202e\r\n"
    fake.answer(RESOURCE, {"items": [dataset("a", state=evil, name=evil, uri=evil, size=evil)]})

    said = show(capsys, "ls", "-o", form)

    assert said
    assert not set("\x1b\x9b\u202e\r") & set(said)
    assert len(said.splitlines()) == 2 or form in {"json", "yaml"}


def test_columns_stand_below_each_other_in_every_script(
    fake: FakeKubectl, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.answer(RESOURCE, {"items": [dataset("a", state="凍結"), dataset("b", state="Frozen")]})

    heading, first, second = show(capsys, "ls").splitlines()

    assert heading.index("ITEMS") == second.index("-", len("b   Frozen")) == first.index("-") + 2


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ("--state frozen", ["a"]),
        ("--state Frozen --state pending", ["a", "b"]),
        ("--bucket lab", ["a", "b"]),
        ("--bucket dtool-system/lab", ["a", "b"]),
        ("--bucket other/lab", []),
        ("--name b*", ["b"]),
        ("--name rna*", ["a"]),
        ("--tag blue", ["a"]),
        ("--tag blue --tag red", []),
        ("--imported", []),
    ],
)
def test_every_filter_leaves_what_is_asked_for(
    arguments: str, names: list[str], fake: FakeKubectl, capsys: pytest.CaptureFixture[str]
) -> None:
    frozen = dataset("a", state="Frozen", name="rnaseq", managed={"tags": ["blue"]})
    fake.answer(RESOURCE, {"items": [frozen, dataset("b")]})

    found = show(capsys, "ls", "-o", "name", *arguments.split()).split()

    assert found == [f"dtooldataset.dtool.dev/{name}" for name in names]


def test_a_label_is_not_believed_where_the_status_says_otherwise(
    fake: FakeKubectl, capsys: pytest.CaptureFixture[str]
) -> None:
    other = "2c10766c-4a0c-4a6e-9a52-1f3c2f1f9a01"
    fake.answer(RESOURCE, {"items": [dataset("a", uuid=UUID), dataset("forged", uuid=other)]})

    found = show(capsys, "ls", UUID, "-o", "name").split()

    assert found == ["dtooldataset.dtool.dev/a"]
    assert "--selector=dtool.dev/uuid=" in fake.calls[0]


def test_options_that_choose_a_cluster_and_a_user_go_to_kubectl(
    fake: FakeKubectl, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.answer(RESOURCE, {"items": []})

    show(capsys, "ls", "-n", "a", "--context=c", "--kubeconfig=k", "--cluster=d", "--user=u", "--as=x")

    assert "--namespace=a --context=c --kubeconfig=k --cluster=d --user=u --as=x" in fake.calls[0]


@pytest.mark.parametrize("answer", [[], {"items": 3}, {"kind": "Status"}, "x"])
def test_an_answer_that_is_no_list_is_an_error(
    answer: Any, fake: FakeKubectl, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.answer(RESOURCE, answer)

    assert main(["ls"]) == 1

    assert "gave no list" in capsys.readouterr().err


def test_the_manifest_of_a_derived_dataset(capsys: pytest.CaptureFixture[str]) -> None:
    words = "cp dataset/bob/raw --to-bucket ns/lab -n alice --new-identity --dataset-name d --tag a --tag b"

    said = show(capsys, *words.split(), "--dry-run", "-o", "json")

    assert json.loads(said) == {
        "apiVersion": "dtool.dev/v1alpha1",
        "kind": "DtoolDataset",
        "metadata": {"name": "raw", "namespace": "alice"},
        "spec": {
            "bucketRef": {"name": "lab", "namespace": "ns"},
            "source": {"dataset": {"name": "raw", "namespace": "bob"}},
            "identity": "New",
            "name": "d",
            "tags": ["a", "b"],
        },
    }


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("10m", 600), ("2h", 7200)])
def test_times_are_written_as_kubectl_takes_them(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("words", [("--help",), ("ls",), ("status", "--for", "ready"), ("cp", "x")])
def test_a_command_that_must_start_fast_loads_nothing_heavy(words: tuple[str, ...]) -> None:
    program = (
        "import sys, contextlib\nfrom dtool_operator.cli.main import main\n"
        f"with contextlib.suppress(SystemExit): main({list(words)!r})\n"
        "sys.stdout.write('\\n' + ' '.join(sys.modules))"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], env={"PATH": ""}, capture_output=True, text=True, check=True
    )

    loaded = {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}
    assert "argparse" in loaded
    assert not loaded & {
        "pydantic",
        "kopf",
        "kubernetes",
        "aiohttp",
        "boto3",
        "botocore",
        "obstore",
        "rich",
        "yaml",
    }


def test_no_command_loads_kopf_or_a_client_of_kubernetes() -> None:
    modules = [
        f"dtool_operator.cli.{path.stem}" for path in (ROOT / "operator/dtool_operator/cli").glob("*.py")
    ]
    program = f"import sys, {', '.join(modules)}; print(*sys.modules)"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {"kopf", "kubernetes", "aiohttp", "boto3", "obstore"}


def test_the_formats_of_policies_are_those_of_the_planner() -> None:
    assert list(POLICY_FORMATS) == [form.value for form in PolicyFormat]


def test_the_page_has_the_options_and_exit_codes_of_the_code() -> None:
    spec = importlib.util.spec_from_file_location("generate_plugin", ROOT / "docs/generate_plugin.py")
    assert spec is not None
    assert spec.loader is not None
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    page = (ROOT / "docs/kubectl-dtool.md").read_text()

    assert generator.write_page(page) == page, "run `python docs/generate_plugin.py`"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["x"], []),
        (["co"], ["completion"]),
        (["status", "--f"], ["--for"]),
        (["status", "--for", "v"], ["verified"]),
        (["ls", "--state", "Fr"], ["Freezing", "Frozen"]),
        (["completion", ""], ["bash", "zsh", "fish"]),
        (["cp", "vol"], ["volume/"]),
        (["policy", "--format", "sea"], ["seaweedfs", "seaweedfs-actions"]),
    ],
)
def test_words_that_need_no_cluster_are_completed_without_one(words: list[str], expected: list[str]) -> None:
    choices, directive = complete(words)

    assert [choice.partition("\t")[0] for choice in choices] == expected
    assert directive in {":4", ":6"}


def test_names_are_asked_of_the_cluster_that_the_line_names(fake: FakeKubectl) -> None:
    complete(["ls", "--context", "lab", "-n", "al", "--bucket", ""])
    complete(["verify", "-n", "alice", "--context=lab", ""])

    assert fake.calls[0].startswith("get dtoolbuckets.dtool.dev --all-namespaces ")
    assert "--context=lab" in fake.calls[0]
    assert "--namespace" not in fake.calls[0]
    assert fake.calls[1].startswith("get dtooldatasets.dtool.dev ")
    assert "--namespace=alice" in fake.calls[1]
