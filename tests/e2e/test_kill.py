"""The operator is killed in the middle of a copy, and another one finishes it."""

from datetime import datetime

from tests.support.datasets import UUID
from tests.support.eventually import eventually
from tests.support.fault_proxy import HELD, Fault, FaultProxy
from tests.support.lab import ADMIN_NAMESPACE, Lab

ITEMS = {f"run/{number:04}.dat": f"item {number}\n".encode() * 50 for number in range(500)}
DONE = 20


def test_a_killed_operator_finishes_and_copies_nothing_twice(lab: Lab, held_front: FaultProxy) -> None:
    source, target = f"held-source-{lab.suffix}", f"held-target-{lab.suffix}"
    for name, spec in ((source, {"accessMode": "ReadOnly", "readAccess": "Bucket"}), (target, {})):
        lab.object_store.create_bucket(name)
        lab.bucket_object(name, endpoint=held_front.url, **spec)
        lab.wait_ready("dtoolbucket", name, ADMIN_NAMESPACE)
    lab.write(source, items=ITEMS)
    held = Fault(HELD, "PUT", "*/data/*", times=None, skip=DONE)
    held_front.faults.append(held)
    lab.dataset("raw", bucketRef=lab.ref(target), source={"uri": f"s3://{source}/{UUID}"})

    def copied() -> dict[str, datetime]:
        keys = lab.keys(target, f"u/{lab.alice}/{UUID}/data/")
        return {key: listed["LastModified"] for key, listed in keys.items()}

    def assert_held() -> None:
        assert len(copied()) == DONE
        assert held.hits

    eventually(assert_held, within=60)

    lab.operator.kill()
    done = copied()
    held_front.faults.clear()
    lab.operator.start()
    status = lab.wait_state("raw", "Frozen", within=120)

    after = copied()
    assert len(done) == DONE
    assert len(after) == status["items"] == len(ITEMS)
    assert {key: after[key] for key in done} == done
    assert list(lab.keys(target, "dtool-")) == [f"dtool-{UUID}"]
