"""What a copy costs: requests, counted on both ends, and memory for each item."""

import gc
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from dtool_s3.transfer.progress import Phase, Progress
from tests.support.copying import SOURCE, TARGET, CopyScene, make_scene
from tests.support.datasets import DatasetFixture

MANY = DatasetFixture(
    prefix="u/instrument/", items={f"run/{number:05}.fastq": b"%d" % number for number in range(2100)}
)
SOME = replace(MANY, items=dict(list(MANY.items.items())[:500]))
#: What the engine may hold of each item at any time, in bytes; 100,000 items are then 200 MB.
BYTES_FOR_EACH_ITEM = 2000


def _counted(scene: CopyScene, bucket: str) -> Counter[str]:
    return Counter(r.operation for r in scene.server.requests if r.bucket == bucket)


async def test_a_copy_of_n_items_costs_n_copies_n_heads_and_few_requests_more() -> None:
    scene = await make_scene(MANY)

    await scene.copy()

    # dtool, manifest.json, structure.json, README.yml, a tag and an annotation; ⌈N/1000⌉ pages
    assert _counted(scene, SOURCE) == {"get": 6, "list": 3}
    # the empty place once, and ⌈N/1000⌉ pages before the manifest and before the flip
    assert _counted(scene, TARGET) == {
        "copy": 2100,
        "head": 2100,
        "list": 1 + 2 * 3,
        # registration key, structure.json, README.txt, dtool; three documents; manifest.json, dtool
        "put": 9,
        # dtool at the start and before the flip, registration key before and after it
        "get": 4,
        "list_uploads": 1,
    }


async def test_a_copy_that_goes_on_moves_and_lists_what_is_needed_and_no_more() -> None:
    scene = await make_scene(MANY)
    await scene.copy()
    scene.server.remove(TARGET, scene.place.admin_metadata_key)
    scene.server.remove(TARGET, scene.item_key("run/00007.fastq"))
    scene.server.requests.clear()

    result = await scene.copy()

    counted = _counted(scene, TARGET)
    assert (result.moved, counted["copy"], counted["head"], counted["list"]) == (1, 1, 2100, 9)


async def test_adopting_what_is_frozen_already_costs_one_listing() -> None:
    scene = await make_scene(MANY)
    await scene.copy()
    scene.server.requests.clear()

    await scene.copy()

    counted = _counted(scene, TARGET)
    assert (counted["copy"], counted["head"], counted["get"], counted["put"]) == (0, 0, 4, 1)
    assert counted["list"] == 3


async def test_memory_for_each_item_is_bounded() -> None:
    scene = await make_scene(SOME)
    held: list[int] = []

    def measure(progress: Progress) -> None:
        if progress.phase is not Phase.COPYING:
            held.append(tracemalloc.get_traced_memory()[1])

    with _traced():
        await scene.copy(on_progress=measure)
        del scene.server.requests[:]
        gc.collect()
        kept_by_the_server, peak = tracemalloc.get_traced_memory()

    assert held
    assert (peak - kept_by_the_server) / len(SOME.items) < BYTES_FOR_EACH_ITEM


@contextmanager
def _traced() -> Iterator[None]:
    gc.collect()
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()


async def test_documents_in_memory_count_for_the_budget_too() -> None:
    overlays = {f"o{number}": {"x": number} for number in range(10)}
    scene = await make_scene(replace(SOME, items={"a.txt": b"alpha"}, overlays=overlays))

    await scene.copy(memory_bytes=1)

    moved = [r.operation for r in scene.server.requests if "/overlays/" in r.key]
    assert moved == ["get", "put"] * 10
