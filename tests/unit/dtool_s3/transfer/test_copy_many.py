"""Small items copied several at a time: the same copy, whatever becomes of single ones."""

from collections import Counter

import pytest

from dtool_s3.errors import AccessDenied, BucketUnreachable, ItemMissing, SourceDamaged
from dtool_s3.layout import item_metadata
from dtool_s3.store.faults import Fault
from dtool_s3.transfer.plan import Evidence
from tests.support.copying import SOURCE, TARGET, CopyScene, make_scene
from tests.support.datasets import DatasetFixture, md5

ITEMS = {f"run/{number:03d}.csv": f"{number}\n".encode() for number in range(60)}
ODD = "run/030.csv"


async def _make_scene(**stored: bytes | None) -> CopyScene:
    scene = await make_scene(DatasetFixture(items=ITEMS, stored=stored))
    scene.server.copies_many = True
    return scene


async def test_each_item_costs_one_copy_and_one_head() -> None:
    scene = await _make_scene()

    result = await scene.copy(concurrency=4)

    assert scene.copied() == scene.original()
    assert result.moved == len(ITEMS)
    assert result.verification.evidence[Evidence.ETAG_MD5] == len(ITEMS)
    items = Counter(r.operation for r in scene.server.requests if r.key.startswith(scene.place.data_prefix))
    assert (items["copy"], items["head"]) == (len(ITEMS), len(ITEMS))


async def test_a_copy_of_which_nothing_is_known_is_made_again() -> None:
    scene = await _make_scene()
    fault = Fault("copy", scene.item_key(ODD), TARGET, error=BucketUnreachable("lost"), after_effect=True)
    scene.server.faults.append(fault)

    result = await scene.copy(concurrency=4)

    assert fault.hits == 1
    assert scene.copied() == scene.original()
    assert result.moved == len(ITEMS)


async def test_where_copies_are_denied_the_bytes_are_streamed() -> None:
    scene = await _make_scene()
    scene.server.faults.append(Fault("copy", bucket=TARGET, error=AccessDenied("no"), times=None))

    await scene.copy(concurrency=4)

    assert scene.copied() == scene.original()


async def test_lost_headers_are_written_anew() -> None:
    scene = await _make_scene()
    key = scene.source_item_key(ODD)
    scene.server.write(SOURCE, key, scene.server.read(SOURCE, key).body, metadata={"handle": "lost"})

    await scene.copy(concurrency=4)

    found = scene.copied()[key.removeprefix(scene.origin.root)]
    assert found == (ITEMS[ODD], item_metadata(ODD, md5(ITEMS[ODD])))


async def test_an_item_with_other_bytes_ends_the_copy() -> None:
    scene = await _make_scene(**{ODD: b"99\n"})

    with pytest.raises(SourceDamaged, match=ODD):
        await scene.copy(concurrency=4)

    assert scene.server.read(TARGET, scene.place.admin_metadata_key).info.metadata["type"] == "protodataset"


async def test_an_item_that_vanishes_meanwhile_ends_the_copy() -> None:
    scene = await _make_scene()

    def vanish() -> None:
        scene.server.remove(SOURCE, scene.source_item_key(ODD))

    scene.server.faults.append(Fault("put", scene.place.admin_metadata_key, hook=vanish))

    with pytest.raises(ItemMissing, match=ODD):
        await scene.copy(concurrency=4)
