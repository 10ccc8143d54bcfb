"""Nothing that anybody writes into an object or a bucket makes the operator large, slow or silent."""

import tracemalloc
from typing import Any

import pytest

from dtool_operator.names import DATASET_PLURAL
from dtool_s3.errors import SettingsError
from dtool_s3.layout import DatasetLayout
from dtool_s3.metadata import MAX_ANNOTATIONS_BYTES, Metadata, find_change
from dtool_s3.store.memory import MemoryServer
from tests.support.datasets import UUID
from tests.support.play import Play


def nested(depth: int, values: int) -> Any:
    """Return JSON of about `values` characters twice that takes `depth` times more with indentation."""
    value: Any = [1] * values
    for _ in range(depth):
        value = [value]
    return value


async def test_an_annotation_that_grows_when_it_is_written_is_refused_in_little_memory() -> None:
    """1.2 MB that the API server takes would be 280 MB in the bucket, and 900 MB in the operator."""
    bomb = Metadata(annotations={"bomb": nested(240, 600_000)})
    store = MemoryServer().store("lab-data")
    tracemalloc.start()

    with pytest.raises(SettingsError, match="more than 4194304 bytes"):
        await find_change(store, DatasetLayout("u/alice/", UUID), bomb)

    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 8 * MAX_ANNOTATIONS_BYTES


async def test_many_annotations_have_one_bound_together() -> None:
    bombs = {f"bomb-{number}": nested(240, 2_000) for number in range(100)}

    with pytest.raises(SettingsError, match="all annotations together"):
        await find_change(
            MemoryServer().store("lab-data"), DatasetLayout("u/alice/", UUID), Metadata(annotations=bombs)
        )


@pytest.mark.parametrize("is_frozen", [False, True])
async def test_an_annotation_that_grows_when_it_is_written_is_its_owners_trouble_alone(
    play: Play, is_frozen: bool
) -> None:
    if is_frozen:
        await play.store_dataset("lab-data", prefix="u/alice/")
    play.dataset("alice", "mine", **({"uuid": UUID} if is_frozen else {}))
    await play.settle()

    play.cluster.update_spec(DATASET_PLURAL, "alice", "mine", annotations={"bomb": nested(240, 20_000)})
    await play.settle()

    told = play.condition("alice", "mine", "MetadataSynced" if is_frozen else "Ready")
    assert (told["status"], told["reason"]) == ("False", "InvalidSpec")
    assert "4194304 bytes" in told["message"]
    assert not [key for key in play.server.keys("lab-data") if "bomb" in key]
