"""A copy that fails or is cancelled anywhere leaves no frozen dataset, and goes on from there."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from dtool_s3.errors import BucketUnreachable, DtoolS3Error, StorageError, StoreFull, WrittenWhileFreezing
from dtool_s3.store.faults import Fault, Request
from dtool_s3.transfer.engine import CopyResult
from dtool_s3.transfer.parts import GIB
from tests.support.copying import SOURCE, TARGET, CopyScene, make_scene
from tests.support.datasets import DatasetFixture, md5

SMALL = DatasetFixture(
    prefix="u/instrument/",
    items={"a.txt": b"alpha", "empty": b"", "large.bin": bytes(range(256)) * 10},
    annotations={"project": "atlas"},
)
CHUNK_BYTES = 1000

FATAL = StoreFull("no room left", code="507")
LOST = BucketUnreachable("the answer was lost", code="0")


@dataclass(frozen=True, slots=True)
class Mode:
    """How the copy moves its bytes."""

    server_side: bool
    concurrency: int
    single_copy_bytes: int = 5 * GIB

    async def copy(self, scene: CopyScene) -> None:
        await scene.copy(
            server_side=self.server_side,
            concurrency=self.concurrency,
            chunk_bytes=CHUNK_BYTES,
            single_copy_bytes=self.single_copy_bytes,
            copy_part_bytes=CHUNK_BYTES,
        )


MODES = pytest.mark.parametrize(
    "mode",
    [
        pytest.param(mode, id=f"{name}-{mode.concurrency}")
        for concurrency in (1, 3)
        for name, mode in {
            "server-side": Mode(True, concurrency),
            "in parts": Mode(True, concurrency, single_copy_bytes=1000),
            "streamed": Mode(False, concurrency),
        }.items()
    ],
)


Objects = Mapping[str, tuple[bytes, Mapping[str, str]]]


async def _scene(*, has_headers: bool = True) -> CopyScene:
    """Return a scene; without headers, the source is one whose items lost them all."""
    scene = await make_scene(SMALL)
    if not has_headers:
        for relpath, body in SMALL.items.items():
            scene.server.write(SOURCE, scene.source_item_key(relpath), body)
    return scene


async def _clean_run(mode: Mode, *, has_headers: bool = True) -> tuple[list[Request], Objects]:
    """Return the requests of an undisturbed copy and what it must lead to."""
    scene = await _scene(has_headers=has_headers)
    await mode.copy(scene)
    return list(scene.server.requests), (await make_scene(SMALL)).original()


def _complete_items(scene: CopyScene, expected: Objects) -> set[str]:
    """Keys of the items at the target that a listing proves to be there, with right headers."""
    original = {f"{scene.place.root}{name}": stored for name, stored in expected.items()}
    bucket = scene.server.find_bucket(TARGET).objects
    return {
        key
        for key, held in bucket.items()
        if key.startswith(scene.place.data_prefix)
        and held.etag == md5(original[key][0])
        and dict(held.metadata) == original[key][1]
    }


async def _check_second_run(scene: CopyScene, mode: Mode, expected: Objects) -> None:
    """Run again: complete, equal to a clean run, and nothing written again that was complete."""
    complete = _complete_items(scene, expected)
    was_frozen = scene.is_frozen()
    scene.server.faults.clear()
    scene.server.requests.clear()

    await mode.copy(scene)

    assert scene.copied() == expected
    assert scene.is_frozen()
    assert scene.unfinished_uploads() == 0
    assert [r for r in scene.item_writes() if r.key in complete] == []
    if was_frozen:
        assert scene.item_writes() == []


@MODES
@pytest.mark.parametrize(
    ("error", "after_effect"),
    [(FATAL, False), (LOST, False), (LOST, True)],
    ids=["refused", "unreachable", "answer lost"],
)
@pytest.mark.parametrize("has_headers", [True, False], ids=["0.14.1", "headers lost"])
async def test_a_copy_that_fails_at_any_request_leaves_no_frozen_half_and_resumes(
    mode: Mode, error: StorageError, after_effect: bool, has_headers: bool
) -> None:
    """Rules 13 and 15."""
    requests, expected = await _clean_run(mode, has_headers=has_headers)
    flip = max(n for n, r in enumerate(requests) if r.operation == "put")

    for number, request in enumerate(requests):
        scene = await _scene(has_headers=has_headers)
        scene.server.faults.append(Fault(error=error, skip=number, after_effect=after_effect))
        try:
            await mode.copy(scene)
        except DtoolS3Error:
            failed = True
        else:
            failed = False

        place = f"{mode}, request {number}: {request}"
        if failed and number <= flip:
            assert not scene.is_frozen(), place
        if scene.is_frozen():
            assert scene.copied() == expected, place
        assert scene.unfinished_uploads() == 0 or request.operation == "abort_upload", place
        await _check_second_run(scene, mode, expected)


@MODES
async def test_every_failure_that_is_not_settled_by_reading_is_raised(mode: Mode) -> None:
    requests, _ = await _clean_run(mode)
    settled = 0

    for number in range(len(requests)):
        scene = await make_scene(SMALL)
        scene.server.faults.append(Fault(error=FATAL, skip=number))
        try:
            await mode.copy(scene)
        except StoreFull:
            continue
        settled += 1

    assert settled == 0


@MODES
async def test_a_copy_that_is_cancelled_at_any_request_leaves_no_frozen_half_and_resumes(mode: Mode) -> None:
    requests, expected = await _clean_run(mode)

    for number, request in enumerate(requests):
        scene = await make_scene(SMALL)
        reached, never = asyncio.Event(), asyncio.Event()
        scene.server.faults.append(Fault(skip=number, hook=reached.set))
        scene.server.faults.append(Fault(skip=number, hold=never))
        task = asyncio.create_task(mode.copy(scene))
        await reached.wait()
        task.cancel()

        with pytest.raises(asyncio.CancelledError):
            await task

        place = f"{mode}, request {number}: {request}"
        assert scene.unfinished_uploads() == 0, place
        if scene.is_frozen():
            assert scene.copied() == expected, place
        await _check_second_run(scene, mode, expected)


async def test_the_first_failure_stops_the_other_workers_and_is_raised_alone() -> None:
    scene = await make_scene(DatasetFixture(items={f"{n}.txt": b"x" for n in range(50)}))
    never = asyncio.Event()
    scene.server.faults.append(Fault("copy", skip=8, error=FATAL))
    scene.server.faults.append(Fault("copy", skip=2, times=3, hold=never))

    with pytest.raises(StoreFull):
        await scene.copy(concurrency=6)

    assert len([r for r in scene.server.requests if r.operation == "copy"]) < 20


async def test_documents_that_are_there_are_not_written_again() -> None:
    """Rule 15."""
    scene = await make_scene(SMALL)
    scene.server.faults.append(Fault("list", bucket=TARGET, skip=1, error=FATAL))
    with pytest.raises(StoreFull):
        await scene.copy()
    scene.set_etag(SOURCE, scene.origin.readme_key, "an ETag as encryption makes it")
    scene.server.write(TARGET, scene.place.annotation_key("project"), b"1")
    scene.server.requests.clear()

    await scene.copy()

    documents = [r.key for r in scene.writes() if r.key.endswith((".yml", "/blue", "project.json"))]
    assert documents == [scene.place.annotation_key("project")]
    read = [r.key for r in scene.server.requests if r.bucket == SOURCE and r.operation == "get"]
    assert scene.origin.tag_key("blue") not in read
    assert [r.key for r in scene.writes()].count(scene.place.admin_metadata_key) == 1
    assert scene.copied() == scene.original()


async def test_what_an_upload_of_a_killed_run_left_behind_is_removed() -> None:
    scene = await make_scene(SMALL)
    await scene.target.start_upload(scene.item_key("large.bin"), {})
    await scene.target.start_upload("u/bob/other", {})

    await scene.copy()

    uploads = scene.server.find_bucket(TARGET).uploads.values()
    assert [unfinished.upload.key for unfinished in uploads] == ["u/bob/other"]


async def test_an_upload_that_could_not_be_given_up_is_removed_by_the_next_run() -> None:
    scene = await make_scene(SMALL)
    scene.server.faults.append(Fault("put_part", error=FATAL))
    scene.server.faults.append(Fault("abort_upload", error=FATAL))
    with pytest.raises(StoreFull):
        await scene.copy(server_side=False, chunk_bytes=CHUNK_BYTES)
    assert scene.unfinished_uploads() == 1

    await scene.copy(server_side=True)

    assert scene.unfinished_uploads() == 0


async def test_without_the_right_to_list_uploads_a_copy_goes_on() -> None:
    scene = await make_scene(SMALL)
    scene.server.allows = lambda _identity, operation, _bucket, _key: operation != "list_uploads"

    await scene.copy()

    assert scene.is_frozen()


@pytest.mark.parametrize("server_side", [True, False])
@pytest.mark.parametrize("single_copy_bytes", [5 * GIB, 1000], ids=["whole", "in parts"])
async def test_two_copies_at_once_end_in_one_frozen_dataset(
    server_side: bool, single_copy_bytes: int
) -> None:
    items = {f"{n}.txt": bytes([n]) for n in range(20)} | {"large.bin": bytes(range(256)) * 10}
    scene = await make_scene(DatasetFixture(items=items))

    outcomes = await asyncio.gather(
        *(
            scene.copy(
                server_side=server_side,
                concurrency=concurrency,
                chunk_bytes=CHUNK_BYTES,
                single_copy_bytes=single_copy_bytes,
                copy_part_bytes=CHUNK_BYTES,
            )
            for concurrency in (3, 7)
        ),
        return_exceptions=True,
    )

    assert scene.is_frozen()
    assert [o for o in outcomes if not isinstance(o, CopyResult | WrittenWhileFreezing)] == []
    assert any(isinstance(o, CopyResult) for o in outcomes)
    assert scene.copied() == scene.original()
    assert scene.unfinished_uploads() == 0
    assert (await scene.copy()).moved == 0
    assert [key for key in scene.server.keys(TARGET) if key.startswith("dtool-")] == [
        scene.place.registration_key
    ]


async def test_a_copy_whose_items_another_equal_one_writes_again_tries_the_freeze_again() -> None:
    scene = await make_scene(SMALL)
    key = scene.item_key("a.txt")

    def write_again() -> None:
        stored = scene.server.read(TARGET, key)
        scene.server.write(TARGET, key, stored.body, metadata=stored.info.metadata)

    scene.server.faults.append(Fault("list", bucket=TARGET, skip=2, hook=write_again))

    assert (await scene.copy()).moved == len(SMALL.items)
    assert scene.copied() == scene.original()


async def test_a_writer_that_never_stops_ends_the_copy_after_a_few_tries() -> None:
    scene = await make_scene(SMALL)
    key = scene.item_key("a.txt")

    def write_again() -> None:
        stored = scene.server.read(TARGET, key)
        scene.server.write(TARGET, key, stored.body, metadata=stored.info.metadata)

    scene.server.faults.append(Fault("list", bucket=TARGET, skip=2, times=None, hook=write_again))

    with pytest.raises(WrittenWhileFreezing):
        await scene.copy()

    assert not scene.is_frozen()
    assert len([r for r in scene.server.requests if r.operation == "list" and r.bucket == TARGET]) == 9


async def test_a_copy_that_is_disturbed_while_another_finishes_takes_what_that_froze() -> None:
    scene, other = await make_scene(SMALL), await make_scene(SMALL)
    await other.copy()
    done = other.copied()

    def finish() -> None:
        for name, (body, metadata) in done.items():
            scene.server.write(TARGET, f"{scene.place.root}{name}", body, metadata=metadata)
        scene.set_etag(TARGET, scene.item_key("a.txt"), "e" * 32)

    scene.server.faults.append(Fault("head", scene.item_key("a.txt"), hook=finish))

    result = await scene.copy()

    assert (result.moved, result.verification.unproven) == (0, 1)
    assert scene.copied() == scene.original()


async def test_a_copy_that_lags_behind_another_ends_with_the_same_dataset() -> None:
    scene = await make_scene(SMALL)
    reached, gate = asyncio.Event(), asyncio.Event()
    scene.server.faults.append(Fault("list_uploads", hook=reached.set))
    scene.server.faults.append(Fault("list_uploads", hold=gate))
    late = asyncio.create_task(scene.copy(concurrency=1))
    await reached.wait()
    await scene.copy()
    gate.set()

    result = await late

    assert result.verification.is_proven
    assert scene.copied() == scene.original()


async def test_the_source_is_never_written_to() -> None:
    scene = await make_scene(SMALL)
    before = scene.original()

    await scene.copy()
    await scene.copy(server_side=False)

    assert scene.original() == before
    writes = {"put", "delete", "start_upload", "put_part", "complete_upload", "copy"}
    assert [r for r in scene.server.requests if r.bucket == SOURCE and r.operation in writes] == []
