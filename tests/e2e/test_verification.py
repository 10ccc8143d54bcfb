"""Damage of a frozen dataset is found by a verification that was asked for, and so is its repair."""

from dtool_s3.layout import item_identifier
from tests.support.datasets import ITEMS, UUID, DatasetFixture
from tests.support.lab import Lab, find_condition

CONTENT = {"interval": "168h", "method": "Content"}


def test_content_that_changed_is_found_by_reading_and_good_again_once_it_is_repaired(lab: Lab) -> None:
    lab.write(lab.instruments)
    lab.dataset("raw", source={"uri": lab.uri(UUID)})
    lab.wait_state("raw", "Frozen")
    key = DatasetFixture(prefix=f"u/{lab.alice}/").layout.item_key(item_identifier("a.txt"))
    lab.put(lab.bucket, key, b"ALPHA")
    damaged = count_damaged(lab)

    lab.request("dtooldataset", "raw", what="verify")
    status = lab.wait_condition("dtooldataset", "raw", "Verified", ("Unknown", "ContentNotRead"))
    assert status["state"] == "Frozen"

    lab.edit("raw", verify=CONTENT)
    value = lab.request("dtooldataset", "raw", what="verify")
    status = lab.wait_state("raw", "Damaged")
    assert find_condition(status, "Verified")["status"] == "False"
    assert find_condition(status, "Frozen")["status"] == "True"
    assert find_condition(status, "Ready")["status"] == "False"
    assert (status["lastHandledVerifyAt"], status["verified"]["mismatchCount"]) == (value, 1)
    assert status["verified"]["mismatches"][0]["relpath"] == "a.txt"
    reason = find_condition(status, "Verified")["reason"]
    lab.wait_event("raw", reason)
    assert lab.read(lab.bucket, key) == b"ALPHA"
    assert count_damaged(lab) == damaged + 1

    lab.put(lab.bucket, key, ITEMS["a.txt"])
    lab.request("dtooldataset", "raw", what="verify")
    status = lab.wait_condition("dtooldataset", "raw", "Verified", ("True", "ContentVerified"))
    assert (status["state"], status["verified"]["evidence"]["read"]) == ("Frozen", len(ITEMS))
    assert find_condition(status, "Ready")["status"] == "True"


def test_an_item_that_vanished_is_found_by_listing(lab: Lab) -> None:
    lab.write(lab.instruments)
    lab.dataset("raw", source={"uri": lab.uri(UUID)})
    lab.wait_state("raw", "Frozen")
    key = DatasetFixture(prefix=f"u/{lab.alice}/").layout.item_key(item_identifier("a.txt"))
    lab.object_store.client().delete_object(Bucket=lab.bucket, Key=key)

    lab.request("dtooldataset", "raw", what="verify")

    status = lab.wait_state("raw", "Damaged")
    assert "a.txt" in find_condition(status, "Verified")["message"]
    assert key not in lab.keys(lab.bucket)


def count_damaged(lab: Lab) -> float:
    """Read how many datasets the operator's metrics call damaged."""
    lines = lab.operator.metrics().splitlines()
    start = 'dtool_operator_datasets{state="Damaged"}'
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(start))
