"""README, tags and annotations of a frozen dataset follow the spec; upstream's dtool reads them."""

import json
from pathlib import Path
from typing import Any

from tests.support.datasets import UUID, DatasetFixture
from tests.support.eventually import eventually
from tests.support.lab import Lab, find_condition

SYNCED = ("True", "Synced")


def test_metadata_follow_the_spec_of_a_frozen_dataset(lab: Lab, tmp_path: Path) -> None:
    lab.write(lab.instruments)
    lab.dataset("raw", source={"uri": lab.uri(UUID)}, readme="description: ours\n", tags=["green"])
    status = lab.wait_state("raw", "Frozen")
    lab.wait_ready("dtooldataset", "raw")  # README and tags are written after it was frozen
    upstream = lab.upstream(lab.bucket, tmp_path / "home", prefix=f"u/{lab.alice}/")
    upstream.run("tag", "set", status["uri"], "theirs")
    layout = DatasetFixture(prefix=f"u/{lab.alice}/").layout
    data = lab.keys(lab.bucket, layout.data_prefix)

    lab.edit("raw", readme="description: better\n", tags=["red"], annotations={"contact": {"name": "Alice"}})
    managed = {"tags": ["red"], "annotations": ["contact"]}
    assert wait_synced(lab, managed)["state"] == "Frozen"
    first = upstream.script("read", uri=status["uri"])
    lab.edit("raw", annotations={"contact": None}, tags=None)
    wait_synced(lab, None)
    second = upstream.script("read", uri=status["uri"])

    assert (first["readme"], second["readme"]) == ("description: better\n", "description: better\n")
    assert first["tags"] == ["blue", "red", "theirs"]
    assert second["tags"] == ["blue", "theirs"]
    assert first["annotations"] == {"project": "atlas", "contact": {"name": "Alice"}}
    assert second["annotations"] == {"project": "atlas"}
    kept = [key for key in lab.keys(lab.bucket, layout.readme_key) if key != layout.readme_key]
    assert {lab.read(lab.bucket, key) for key in kept} >= {b"description: ours\n"}
    assert lab.keys(lab.bucket, layout.data_prefix) == data


def test_drift_is_repaired_on_request(lab: Lab, tmp_path: Path) -> None:
    lab.write(lab.instruments)
    lab.dataset(
        "raw",
        source={"uri": lab.uri(UUID)},
        readme="description: ours\n",
        tags=["green"],
        annotations={"phase": [1, 2]},
    )
    status = lab.wait_state("raw", "Frozen")
    lab.wait_ready("dtooldataset", "raw")
    layout = DatasetFixture(prefix=f"u/{lab.alice}/").layout
    upstream = lab.upstream(lab.bucket, tmp_path / "home", prefix=f"u/{lab.alice}/")
    upstream.script("change", uri=status["uri"], readme="scribbled\n", tag="theirs", annotation="phase")
    upstream.run("tag", "delete", status["uri"], "green")
    assert json.loads(lab.read(lab.bucket, layout.annotation_key("phase"))) == {"by": "script"}

    value = lab.request("dtooldataset", "raw")

    lab.wait_handled("dtooldataset", "raw", value)
    lab.wait_condition("dtooldataset", "raw", "MetadataSynced", SYNCED)
    read = upstream.script("read", uri=status["uri"])
    assert read["readme"] == "description: ours\n"
    assert read["tags"] == ["blue", "green", "theirs"]
    assert read["annotations"] == {"project": "atlas", "phase": [1, 2]}
    kept = [lab.read(lab.bucket, key) for key in lab.keys(lab.bucket, f"{layout.readme_key}-")]
    assert b"scribbled\n" in kept


def wait_synced(lab: Lab, managed: dict[str, Any] | None) -> dict[str, Any]:
    """Wait until the status counts exactly these as the operator's own; return it."""

    def check() -> dict[str, Any]:
        body = lab.get("dtooldataset", "raw")
        status: dict[str, Any] = body["status"]
        synced = find_condition(status, "MetadataSynced")
        assert synced["observedGeneration"] == body["metadata"]["generation"], synced
        assert (synced["status"], synced["reason"], status.get("managed")) == (*SYNCED, managed), status
        return status

    return eventually(check, within=40)
