"""A researcher applies a dataset; upstream's own dtool reads what arrived."""

from pathlib import Path

from tests.support.datasets import ITEMS, UUID
from tests.support.lab import Lab, find_condition
from tests.support.upstream import Dtool, bucket_environment, ensure_upstream


def test_upstream_dtool_reads_what_the_operator_wrote(lab: Lab, tmp_path: Path) -> None:
    lab.write(lab.instruments, readme="---\ndescription: a sample\n")
    lab.dataset("raw", source={"uri": lab.uri(UUID)})
    status = lab.wait_state("raw", "Frozen")
    keys = lab.object_store.identity("admin")
    environment = bucket_environment(
        lab.bucket, lab.object_store.endpoint, keys.access_key, keys.secret_key, tmp_path / "home"
    )
    upstream = Dtool(ensure_upstream() / "bin", environment)

    listed = upstream.run("ls", f"s3://{lab.bucket}")
    verified = upstream.run("verify", "--full", status["uri"])
    upstream.run("cp", "--quiet", status["uri"], str(tmp_path))

    assert "sample" in listed
    assert "All good" in verified
    data = tmp_path / "sample" / "data"
    found = {str(path.relative_to(data)): path.read_bytes() for path in data.rglob("*") if path.is_file()}
    assert found == dict(ITEMS)


def test_a_copy_tells_its_story_in_status_and_events(lab: Lab) -> None:
    lab.write(lab.instruments)
    lab.dataset("raw", source={"stored": {"bucketRef": _ref(lab), "uuid": UUID}})

    status = lab.wait_state("raw", "Frozen")

    assert status["uuid"] == UUID
    assert find_condition(status, "Verified")["status"] == "True"
    assert status["verified"]["evidence"]["etagMD5"] == len(ITEMS)
    lab.wait_event("raw", "Copying")
    lab.wait_event("raw", "Succeeded")
    assert lab.get("dtooldataset", "raw")["metadata"]["labels"]["dtool.dev/uuid"] == UUID


def _ref(lab: Lab) -> dict[str, str]:
    return {"name": lab.instruments, "namespace": "dtool-system"}
