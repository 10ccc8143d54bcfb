"""`kubectl dtool` on a real API server, called by kubectl itself, as users with the roles view and edit.

No operator runs here: statuses are written by the tests.
"""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from sandbox.readiness import wait_until_ready
from tests.support.eventually import eventually
from tests.support.installation import install_operator
from tests.support.plugin import Plugin, install_plugin

if TYPE_CHECKING:
    from sandbox.controlplane import ControlPlane

UUID = "1c10766c-4a0c-4a6e-9a52-1f3c2f1f9a01"
ROLES = ("view", "edit")
NOW = "2026-11-01T00:00:00Z"
FROZEN = {
    "state": "Frozen",
    "uuid": UUID,
    "name": "rnaseq",
    "items": 3,
    "sizeBytes": 4096,
    "size": "4.0Ki",
    "conditions": [
        {"type": type_, "status": "True", "reason": "Succeeded", "message": "", "lastTransitionTime": NOW}
        for type_ in ("Ready", "Frozen", "Verified")
    ],
}


@pytest.fixture(scope="module")
def installed(control_plane: ControlPlane) -> ControlPlane:
    """CRDs and roles are there, and aggregated."""
    install_operator(control_plane)
    wait_until_ready(
        lambda: all("dtool.dev" in control_plane.kubectl("describe", "clusterrole", role) for role in ROLES),
        what="aggregation of the users' roles",
        processes=control_plane.processes,
        within_seconds=30,
    )
    return control_plane


@pytest.fixture
def team(installed: ControlPlane, namespace: str) -> str:
    """A namespace with a user of each role, and nothing else they may see."""
    for role in ROLES:
        words = ("create", "rolebinding", role, f"--clusterrole={role}", f"--user={role}-{namespace}")
        installed.kubectl(*words, f"--namespace={namespace}")
    return namespace


@pytest.fixture
def plugin(installed: ControlPlane, tmp_path: Path) -> Plugin:
    """The plugin with the kubeconfig of the cluster's administrator, who may act as others."""
    return install_plugin(tmp_path, installed.admin_kubeconfig)


def as_user(role: str, team: str) -> tuple[str, ...]:
    return (f"--as={role}-{team}", f"--namespace={team}")


def create(control_plane: ControlPlane, namespace: str, name: str, spec: dict[str, Any]) -> None:
    metadata = {"name": name, "namespace": namespace, "labels": {"dtool.dev/uuid": UUID}}
    body = {"apiVersion": "dtool.dev/v1alpha1", "kind": "DtoolDataset", "metadata": metadata, "spec": spec}
    control_plane.kubectl("apply", "--filename=-", stdin=json.dumps(body))


def report(control_plane: ControlPlane, namespace: str, name: str, status: dict[str, Any]) -> None:
    """Write a status, as the operator would."""
    patch = json.dumps({"status": {"observedGeneration": 1, **status}})
    words = ("patch", "dtooldataset", name, f"--namespace={namespace}", "--subresource=status")
    control_plane.kubectl(*words, "--type=merge", f"--patch={patch}")


def create_bucket(control_plane: ControlPlane, namespace: str, **spec: Any) -> None:
    metadata = {"name": "lab", "namespace": namespace}
    full = {"bucket": "lab-data", "credentials": {"secretRef": {"name": "keys"}}, **spec}
    body = {"apiVersion": "dtool.dev/v1alpha1", "kind": "DtoolBucket", "metadata": metadata, "spec": full}
    control_plane.kubectl("apply", "--filename=-", stdin=json.dumps(body))
    ready = {"type": "Ready", "status": "True", "reason": "Succeeded", "message": "", "observedGeneration": 1}
    conditions = [{**ready, "lastTransitionTime": NOW}]
    patch = json.dumps({"status": {"observedGeneration": 1, "conditions": conditions}})
    words = ("patch", "dtoolbucket", "lab", f"--namespace={namespace}", "--subresource=status")
    control_plane.kubectl(*words, "--type=merge", f"--patch={patch}")


def test_a_viewer_lists_his_namespace_in_every_format(
    installed: ControlPlane, plugin: Plugin, team: str
) -> None:
    create(installed, team, "raw", {"bucketRef": {"name": "lab"}, "uuid": UUID, "tags": ["blue"]})
    create(installed, team, "other", {"bucketRef": {"name": "lab"}})
    report(installed, team, "raw", FROZEN)
    viewer = as_user("view", team)

    table = plugin.say("ls", *viewer).splitlines()
    document = json.loads(plugin.say("ls", "-o", "json", "--state=frozen", *viewer))

    assert table[0].split() == ["NAME", "STATE", "ITEMS", "SIZE", "PLACE", "VERIFIED", "AGE"]
    assert [line.split()[:2] for line in table[1:]] == [["other", "Pending"], ["raw", "Frozen"]]
    assert [one["name"] for one in document["datasets"]] == ["raw"]
    assert document["datasets"][0]["sizeBytes"] == 4096
    assert yaml.safe_load(plugin.say("ls", "-o", "yaml", "--tag=blue", *viewer)) == document
    assert plugin.say("ls", "-o", "name", *viewer).split() == [
        "dtooldataset.dtool.dev/other",
        "dtooldataset.dtool.dev/raw",
    ]
    assert "rnaseq" in plugin.say("ls", "-o", "wide", *viewer)


def test_a_uuid_is_found_in_every_namespace_or_in_the_only_one_that_may_be_seen(
    installed: ControlPlane, plugin: Plugin, team: str, make_namespace: Any
) -> None:
    elsewhere = make_namespace()
    for place in (team, elsewhere):
        create(installed, place, "raw", {"bucketRef": {"name": "lab"}, "uuid": UUID})

    found = json.loads(plugin.say("ls", UUID, "-o", "json"))["datasets"]
    config = plugin.kubectl("config", "view", "--raw", "-o", "json").stdout
    mine = plugin.run("ls", UUID, "-o", "json", f"--as=view-{team}", f"--namespace={team}")

    assert {one["namespace"] for one in found} >= {team, elsewhere}
    assert [one["namespace"] for one in json.loads(mine.stdout)["datasets"]] == [team]
    assert json.loads(config)["contexts"]


def test_what_the_user_may_not_do_is_one_line_with_what_to_do_next(
    installed: ControlPlane, plugin: Plugin, team: str
) -> None:
    create(installed, team, "raw", {"bucketRef": {"name": "lab"}, "uuid": UUID})
    viewer = as_user("view", team)

    refusals = [
        plugin.run("ls", "--all-namespaces", f"--as=view-{team}"),
        plugin.run("verify", "raw", *viewer),
        plugin.run("cp", f"s3://lab-data/{UUID}", "--to-bucket=lab", *viewer),
        plugin.run("import", UUID, "--bucket=lab", *viewer),
        plugin.run("status", "absent", *viewer),
        plugin.run("ls", "--context=absent"),
    ]

    for refused in refusals:
        assert (refused.returncode, refused.stdout) == (1, ""), refused
        assert len(refused.stderr.splitlines()) == 1, refused.stderr
        assert refused.stderr.startswith("kubectl-dtool: cannot "), refused.stderr
    assert all("ask for the role view" in refused.stderr for refused in refusals[:4])
    assert "not found; `kubectl dtool ls" in refusals[4].stderr


def test_an_editor_copies_once_however_often_he_says_so(
    installed: ControlPlane, plugin: Plugin, team: str
) -> None:
    editor = as_user("edit", team)
    words = ("cp", f"s3://instruments/{UUID}", "--to-bucket=dtool-system/lab", "--tag=blue", *editor)

    first, second = plugin.say(*words), plugin.say(*words)
    shown = yaml.safe_load(plugin.say(*words, "--dry-run"))

    assert first == second == "dtooldataset.dtool.dev/dataset-1c10766c\n"
    made = json.loads(installed.kubectl("get", "dtooldatasets", f"--namespace={team}", "--output=json"))
    (only,) = made["items"]
    assert only["spec"].items() >= shown["spec"].items()
    assert shown["metadata"] == {"name": "dataset-1c10766c", "namespace": team}


def test_a_name_that_is_taken_by_another_copy_is_told(
    installed: ControlPlane, plugin: Plugin, team: str
) -> None:
    editor = as_user("edit", team)
    plugin.say("cp", f"s3://instruments/{UUID}", "--to-bucket=lab", "--name=raw", *editor)

    refused = plugin.run("cp", f"s3://elsewhere/{UUID}", "--to-bucket=lab", "--name=raw", *editor)

    assert refused.returncode == 1
    assert "there already, with another source or place; choose another --name" in refused.stderr


def test_a_value_that_the_schema_refuses_is_told_with_its_field(plugin: Plugin, team: str) -> None:
    refused = plugin.run("cp", "dataset/raw", "--to-bucket=lab", "--tag=not a tag", *as_user("edit", team))

    assert refused.returncode == 1
    assert "spec.tags" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_a_verification_is_requested_anew_every_time(
    installed: ControlPlane, plugin: Plugin, team: str
) -> None:
    """Rule 21."""
    create(installed, team, "raw", {"bucketRef": {"name": "lab"}, "uuid": UUID})
    values = []
    for _ in range(2):
        told = json.loads(plugin.say("verify", "raw", "-o", "json", *as_user("edit", team)))
        body = json.loads(
            installed.kubectl("get", "dtooldataset", "raw", f"--namespace={team}", "--output=json")
        )
        values.append(body["metadata"]["annotations"]["dtool.dev/verifyRequestedAt"])
        assert told["requests"] == [{"namespace": team, "name": "raw", "requestedAt": values[-1]}]

    assert values[0] != values[1]


def test_a_watch_tells_every_change_and_ends_when_its_goal_is_met(
    installed: ControlPlane, plugin: Plugin, team: str
) -> None:
    create(installed, team, "raw", {"bucketRef": {"name": "lab"}, "uuid": UUID})
    report(installed, team, "raw", {"state": "Pending"})
    words = ["kubectl", "dtool", "status", "raw", "--for=frozen", "--timeout=60s", *as_user("view", team)]
    with subprocess.Popen(words, env=plugin.environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline()]
        progress = {"items": 1, "itemsTotal": 3, "bytes": 1024, "bytesTotal": 4096, "percent": "25%"}
        report(installed, team, "raw", {"state": "Copying", "progress": progress})
        lines.append(process.stdout.readline())
        report(installed, team, "raw", FROZEN)
        lines += process.stdout.read().splitlines()
        code = process.wait(20)

    assert code == 0
    told = [" ".join(line.split()[1:]) for line in lines]
    assert told == [
        f"{team}/raw Pending",
        f"{team}/raw Copying 25% 1/3 items 1.0 kB of 4.1 kB",
        f"{team}/raw Frozen 3 items 4.0Ki",
    ]


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ({"state": "Failed", "conditions": [{"type": "Stalled", "status": "True"}]}, 3),
        ({"state": "Suspended"}, 3),
        ({"state": "Pending"}, 4),
    ],
)
def test_a_wait_that_does_not_end_well_has_an_exit_code_of_its_own(
    installed: ControlPlane, plugin: Plugin, team: str, status: dict[str, Any], code: int
) -> None:
    create(installed, team, "raw", {"bucketRef": {"name": "lab"}, "uuid": UUID})
    filled = {"reason": "ContentDiffers", "message": "", "lastTransitionTime": NOW}
    conditions = [{**one, **filled} for one in status.get("conditions", [])]
    report(installed, team, "raw", {**status, "conditions": conditions})

    done = plugin.run("status", "raw", "--for=ready", "--timeout=2s", *as_user("view", team))

    assert done.returncode == code, done


def test_a_dataset_that_is_deleted_while_it_is_waited_for_ends_the_wait(
    installed: ControlPlane, plugin: Plugin, team: str
) -> None:
    create(installed, team, "raw", {"bucketRef": {"name": "lab"}, "uuid": UUID})
    words = ["kubectl", "dtool", "status", "--for=ready", "--timeout=60s", *as_user("view", team)]
    with subprocess.Popen(words, env=plugin.environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        installed.kubectl("delete", "dtooldataset", "raw", f"--namespace={team}")
        rest = process.stdout.read()
        code = process.wait(20)

    assert code == 3
    assert rest.split()[-1] == "deleted"


def test_at_a_terminal_there_are_bars_and_no_control_character_of_a_name(
    installed: ControlPlane, plugin: Plugin, team: str
) -> None:
    create(installed, team, "raw", {"bucketRef": {"name": "lab"}, "uuid": UUID})
    progress = {"items": 1, "itemsTotal": 4, "bytes": 1, "bytesTotal": 4, "percent": "25%"}
    evil = [
        {"type": "Ready", "status": "False", "reason": "Copying", "message": "", "lastTransitionTime": NOW}
    ]
    evil[0] |= {"reason": "Throttled", "message": "\x1b]0;owned\x07[red]x\u202e"}
    report(installed, team, "raw", {"state": "Copying", "progress": progress, "conditions": evil})
    leader, follower = pty.openpty()
    words = ["kubectl", "dtool", "status", "raw", "--watch", "--timeout=8s", *as_user("view", team)]
    environment = {**plugin.environment, "TERM": "xterm", "COLUMNS": "160"}

    with subprocess.Popen(words, env=environment, stdout=follower, stderr=follower) as process:
        os.close(follower)
        shown = b""
        while chunk := _read(leader):
            shown += chunk
        code = process.wait(20)
    os.close(leader)

    assert code == 0
    assert "━".encode() in shown
    assert b"25%" in shown
    assert b"\x1b]0;" not in shown
    assert "\u202e".encode() not in shown
    assert b"[red]x" in shown


def _read(leader: int) -> bytes:
    try:
        return os.read(leader, 65536)
    except OSError:  # Linux: the last writer is gone
        return b""


def test_kubectl_completes_commands_options_and_names(
    installed: ControlPlane, plugin: Plugin, team: str
) -> None:
    create(installed, team, "raw", {"bucketRef": {"name": "lab"}, "uuid": UUID})
    create_bucket(installed, team)

    def complete(*words: str) -> list[str]:
        done = plugin.kubectl("__complete", "dtool", *words)
        assert done.returncode == 0, done.stderr
        return [line.partition("\t")[0] for line in done.stdout.splitlines()]

    assert complete("st") == ["status", ":4"]
    assert complete("ls", "--all") == ["--all-namespaces", ":4"]
    assert complete("status", f"--namespace={team}", "r") == ["raw", ":4"]
    assert complete("status", "-n", team, "") == ["raw", ":4"]
    assert team in complete("ls", "-n", "test-")
    assert f"{team}/lab" in complete("cp", "dataset/raw", "--to-bucket", "test-")
    assert complete("ls", "--output=y") == ["--output=yaml", ":4"]
    assert complete("plan", "-f", "")[-1] == ":0"


def test_bash_completes_the_program_itself(plugin: Plugin) -> None:
    script = (
        "source <(kubectl-dtool completion bash); COMP_WORDS=(kubectl-dtool ls --all); COMP_CWORD=2; "
        'compopt() { :; }; _kubectl_dtool; echo "${COMPREPLY[@]}"'
    )

    done = subprocess.run(
        ["bash", "-c", script], env=plugin.environment, capture_output=True, text=True, check=True
    )

    assert done.stdout == "--all-namespaces\n"


def test_datasets_that_are_there_are_described_by_uuid_or_from_a_list(
    installed: ControlPlane, plugin: Plugin, team: str
) -> None:
    other = "2c10766c-4a0c-4a6e-9a52-1f3c2f1f9a02"
    editor = as_user("edit", team)

    named = plugin.say("import", UUID, "--bucket=dtool-system/lab", "--name=old", *editor)
    listed = plugin.say(
        "import", "-", "--bucket=dtool-system/lab", *editor, stdin=f"rnaseq\ts3://lab-data/{other}\n\n"
    )

    assert (named, listed) == ("dtooldataset.dtool.dev/old\n", "dtooldataset.dtool.dev/dataset-2c10766c\n")
    body = installed.kubectl("get", "dtooldataset", "old", f"--namespace={team}", "--output=json")
    ref = {"name": "lab", "namespace": "dtool-system"}
    assert json.loads(body)["spec"].items() >= {"uuid": UUID, "bucketRef": ref}.items()


def test_how_many_are_not_described_is_counted_and_all_is_an_administrators_word(
    installed: ControlPlane, plugin: Plugin, team: str
) -> None:
    create_bucket(installed, team)
    create(installed, team, "raw", {"bucketRef": {"name": "lab"}, "uuid": UUID})
    listed = {"namespaces": [{"namespace": team, "prefix": f"u/{team}/", "datasets": 3, "sizeBytes": 0}]}
    words = ("patch", "dtoolbucket", "lab", f"--namespace={team}", "--subresource=status", "--type=merge")
    installed.kubectl(*words, f"--patch={json.dumps({'status': listed})}")

    counted = json.loads(plugin.say("import", "--bucket=lab", "-o", "json", *as_user("view", team)))
    refused = plugin.run("import", "--all", "--bucket=lab", *as_user("edit", team))
    done = plugin.run("import", "--all", "--bucket=lab", f"--namespace={team}")

    assert (counted["found"], counted["described"], counted["import"]) == (3, 1, "Never")
    assert (refused.returncode, done.returncode) == (1, 0)
    body = json.loads(installed.kubectl("get", "dtoolbucket", "lab", f"--namespace={team}", "--output=json"))
    assert body["spec"]["listing"]["import"] == "Frozen"


def plan(plugin: Plugin, *words: str, code: int = 0) -> dict[str, Any]:
    done = plugin.run("plan", *words, "-o", "json")
    assert done.returncode == code, f"{done.stdout}\n{done.stderr}"
    (only,) = json.loads(done.stdout)["plans"]
    return dict(only)


def test_a_plan_says_what_would_be_asked_and_done_before_anything_is_applied(
    installed: ControlPlane, plugin: Plugin, team: str
) -> None:
    create_bucket(installed, team)
    manifest = plugin.say(
        "cp", f"s3://lab-data/{UUID}", "--to-bucket=lab", "--dry-run", *as_user("edit", team)
    )
    file = _write(plugin, "dataset.yaml", manifest)

    foreseen = plan(plugin, "-f", file, *as_user("edit", team))

    assert foreseen["decided"] == "ByStorage"
    assert foreseen["place"] == f"s3://lab-data/u/{team}/{UUID} (DtoolBucket {team}/lab)"
    assert [action["action"] for action in foreseen["actions"]] == [
        "MarkObject",
        "EnsureOwner",
        "StartTransfer",
    ]
    assert any("registration key" in question for question in foreseen["questions"])
    (ready,) = [c for c in foreseen["conditions"] if c["type"] == "Ready"]
    assert (ready["status"], ready["reason"]) == ("False", "Copying")
    made = json.loads(installed.kubectl("get", "dtooldatasets", f"--namespace={team}", "--output=json"))
    assert made["items"] == []


def test_a_plan_for_people_says_the_same(installed: ControlPlane, plugin: Plugin, team: str) -> None:
    create_bucket(installed, team)
    create(installed, team, "new", {"bucketRef": {"name": "lab"}})

    said = plugin.say("plan", "new", *as_user("view", team))

    assert "CreateProto: create the empty proto dataset 'new'" in said
    assert "S3 would be asked:" in said
    assert "Taken for granted:" in said


def test_a_plan_that_cannot_go_on_says_why_and_is_told_by_its_exit_code(
    installed: ControlPlane, plugin: Plugin, team: str
) -> None:
    create_bucket(installed, team)
    create(installed, team, "named", {"bucketRef": {"name": "lab"}, "uuid": UUID, "name": "other"})
    create(installed, team, "waits", {"bucketRef": {"name": "absent"}, "uuid": UUID})

    stalled = plan(plugin, "named", f"--namespace={team}", code=3)
    waiting = plan(plugin, "waits", f"--namespace={team}")

    assert {c["reason"] for c in stalled["conditions"] if c["type"] == "Stalled"} == {"InvalidSpec"}
    assert (stalled["decided"], stalled["questions"]) == ("ByCluster", [])
    assert {c["reason"] for c in waiting["conditions"] if c["type"] == "Ready"} == {"BucketNotFound"}


def test_what_a_user_may_not_see_is_not_called_absent(
    installed: ControlPlane, plugin: Plugin, team: str, make_namespace: Any
) -> None:
    elsewhere = make_namespace()
    create_bucket(installed, elsewhere)
    create(installed, team, "raw", {"bucketRef": {"name": "lab", "namespace": elsewhere}, "uuid": UUID})

    foreseen = plan(plugin, "raw", *as_user("view", team), code=3)

    assert foreseen["decided"] == "Undecided"
    assert f"dtoolbucket {elsewhere}/lab" in foreseen["hidden"]


def test_a_viewer_who_may_apply_nothing_plans_a_manifest_all_the_same(
    installed: ControlPlane, plugin: Plugin, team: str
) -> None:
    create_bucket(installed, team)
    manifest = plugin.say(
        "cp", f"s3://lab-data/{UUID}", "--to-bucket=lab", "--dry-run", *as_user("view", team)
    )
    file = _write(plugin, "dataset.yaml", manifest)

    done = plugin.run("plan", "-f", file, *as_user("view", team))

    assert done.returncode == 0, done.stderr
    assert "the API server did not check it" in done.stderr
    assert "StartTransfer" in done.stdout


@pytest.mark.parametrize(
    ("words", "action", "place"),
    [
        (("volume/results/run", "--to-bucket=lab"), "CreateProto", "s3://lab-data/u/TEAM/"),
        (("volume/results/run:Dataset", "--to-bucket=lab"), "StartTransfer", ""),
        ((f"s3://lab-data/{UUID}", "--to-volume=scratch:a/"), "StartTransfer", "volume scratch:a/"),
        (("objects/TEAM/lab/u/TEAM/run/", "--to-bucket=lab"), "StartTransfer", "s3://lab-data/u/TEAM/"),
    ],
)
def test_every_way_to_bring_data_is_planned(
    installed: ControlPlane, plugin: Plugin, team: str, words: tuple[str, ...], action: str, place: str
) -> None:
    create_bucket(installed, team)
    given = [word.replace("TEAM", team) for word in words]
    editor = as_user("edit", team)
    file = _write(plugin, "dataset.yaml", plugin.say("cp", *given, "--dry-run", *editor))

    foreseen = plan(plugin, "-f", file, *editor)

    assert action in [one["action"] for one in foreseen["actions"]]
    assert (foreseen["place"] or "").startswith(place.replace("TEAM", team))


def test_a_bucket_is_planned_too(installed: ControlPlane, plugin: Plugin, team: str) -> None:
    create_bucket(installed, team)

    tried = plan(plugin, "bucket/lab", f"--namespace={team}")
    installed.kubectl(
        "patch",
        "dtoolbucket",
        "lab",
        f"--namespace={team}",
        "--type=merge",
        '--patch={"spec":{"allowedNamespaces":{"from":"All"}}}',
    )
    reserved = plan(plugin, "bucket/lab", f"--namespace={team}", code=3)

    assert [action["action"] for action in tried["actions"]] == ["SelfTest"]
    assert {c["reason"] for c in reserved["conditions"]} >= {"ReservedForAdministrators"}


def _write(plugin: Plugin, name: str, text: str) -> str:
    path = Path(plugin.environment["HOME"]) / name
    path.write_text(text)
    return str(path)


def test_a_change_between_the_first_look_and_the_watch_is_not_lost(
    installed: ControlPlane, plugin: Plugin, team: str
) -> None:
    create(installed, team, "raw", {"bucketRef": {"name": "lab"}, "uuid": UUID})
    report(installed, team, "raw", {"state": "Pending"})
    # a kubectl that lets the change happen when its first look is over, before its watch begins
    programs = Path(plugin.environment["HOME"]) / "slow"
    programs.mkdir()
    status = json.dumps({"status": {**FROZEN, "observedGeneration": 1}})
    real = plugin.environment["PATH"].split(":")[1] + "/kubectl"
    change = f"patch dtooldataset raw --namespace={team} --subresource=status --type=merge --patch '{status}'"
    (programs / "kubectl").write_text(
        f'#!/bin/sh\ncase "$*" in *--watch*) {real} {change} >/dev/null;; esac\nexec {real} "$@"\n'
    )
    (programs / "kubectl").chmod(0o755)
    slow = Plugin({**plugin.environment, "PATH": f"{programs}:{plugin.environment['PATH']}"})

    done = slow.run("status", "raw", "--for=ready", "--timeout=20s", *as_user("view", team))

    assert done.returncode == 0, done


def test_a_watch_of_what_is_not_there_says_so(plugin: Plugin, team: str) -> None:
    done = plugin.run("status", "absent", "--watch", *as_user("view", team))

    assert done.returncode == 1
    assert "not found" in done.stderr


def test_a_stream_that_breaks_is_begun_again(installed: ControlPlane, plugin: Plugin, team: str) -> None:
    create(installed, team, "raw", {"bucketRef": {"name": "lab"}, "uuid": UUID})
    report(installed, team, "raw", {"state": "Pending"})
    words = ["kubectl", "dtool", "status", "raw", "--for=ready", "--timeout=60s", *as_user("view", team)]
    with subprocess.Popen(words, env=plugin.environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        child = eventually(lambda: _find_child(process.pid), within=10)
        os.kill(child, signal.SIGKILL)
        report(installed, team, "raw", FROZEN)
        rest = process.stdout.read()
        code = process.wait(20)

    assert code == 0
    assert rest.split()[-4:] == ["Frozen", "3", "items", "4.0Ki"]


def _find_child(process_id: int) -> int:
    """Return the kubectl that the plugin watches with."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            words = (path.parent / "cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if parent == process_id and b"--watch" in words:
            return int(path.parent.name)
    raise AssertionError("it does not watch yet")
