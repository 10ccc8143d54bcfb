"""What an untrusted worker uploaded is frozen only once every word of its claim is proven."""

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dtool_s3.documents import build_manifest_body, parse_manifest
from dtool_s3.errors import (
    AccessDenied,
    ContentDiffers,
    DatasetMissing,
    DtoolS3Error,
    InvalidManifest,
    ItemMissing,
    NotSupported,
    QuotaExceeded,
    UnsafePath,
    WrittenWhileFreezing,
)
from dtool_s3.files.pace import Pace
from dtool_s3.layout import item_identifier, item_metadata
from dtool_s3.store.faults import Fault
from dtool_s3.store.memory import MemoryServer
from dtool_s3.store.protocol import Part, Upload
from dtool_s3.transfer.plan import Evidence
from dtool_s3.transfer.progress import Phase, Progress
from dtool_s3.volume.publishing import PublishRequest
from tests.support.datasets import md5
from tests.support.volume import BUCKET, FILES, VolumeScene, make_volume_scene

LARGE = "sub dir/deep/large.bin"
Attack = Callable[[VolumeScene], Awaitable[object]]


@pytest.fixture
async def scene(tmp_path: Path) -> VolumeScene:
    """All files were uploaded."""
    scene = make_volume_scene(tmp_path / "volume")
    await scene.create()
    await scene.upload()
    scene.server.requests.clear()
    return scene


def stored_type(scene: VolumeScene) -> str:
    return str(json.loads(scene.stored()["dtool"])["type"])


async def test_what_was_uploaded_is_frozen_under_the_identity_of_its_proto_dataset(
    scene: VolumeScene,
) -> None:
    before = json.loads(scene.stored()["dtool"])

    result = await scene.publish(clock=lambda: 1795400000.5)

    assert json.loads(scene.stored()["dtool"]) == before | {"type": "dataset", "frozen_at": 1795400000.5}
    assert (result.admin.is_frozen, result.admin.frozen_at) == (True, 1795400000.5)
    assert result.verification.is_proven
    assert result.verification.items == len(FILES)
    assert result.verification.evidence == {
        Evidence.ETAG_MD5: 3,
        Evidence.READ: 1,
        Evidence.SAME_AS_SOURCE: 0,
    }


async def test_a_time_of_freezing_that_the_operator_wrote_is_kept(tmp_path: Path) -> None:
    scene = make_volume_scene(tmp_path / "volume")
    await scene.create(clock=lambda: 5.5, frozen_at=7.25)
    await scene.upload()

    result = await scene.publish()

    assert result.admin.is_frozen
    assert (result.admin.created_at, result.admin.frozen_at) == (5.5, 7.25)


async def test_publishing_twice_writes_once(scene: VolumeScene) -> None:
    await scene.publish()
    scene.server.requests.clear()

    result = await scene.publish()

    written = [r.key for r in scene.server.requests if r.operation in {"put", "delete", "start_upload"}]
    assert not [key for key in written if key.startswith(scene.layout.root)]
    assert result.verification.items == len(FILES)


async def test_rule_16_a_frozen_dataset_with_an_equal_manifest_is_taken_and_with_another_is_not(
    scene: VolumeScene,
) -> None:
    await scene.publish()
    frozen = scene.stored()
    equal = parse_manifest(frozen["manifest.json"]).content_sha256()
    own_bytes = hashlib.sha256(frozen["manifest.json"]).hexdigest()

    for asked in (
        {"manifest_sha256": "0" * 64, "content_sha256": equal},
        {"manifest_sha256": own_bytes.upper()},
    ):
        assert (await scene.publish(**asked)).verification.is_complete
    for refused in ({"manifest_sha256": "0" * 64}, {"manifest_sha256": "0" * 64, "content_sha256": "1" * 64}):
        with pytest.raises(ContentDiffers, match="another manifest"):
            await scene.publish(**refused)

    assert scene.stored() == frozen


async def test_it_waits_until_nobody_can_write_any_more(scene: VolumeScene) -> None:
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    await scene.publish(quiet_seconds=90, sleep=sleep)

    assert waited[0] == 2
    assert 80 < waited[1] <= 90


@pytest.mark.parametrize(
    ("behind_seconds", "longer_seconds"), [(-120, 0), (0, 0), (120, 120), (7200, 900)], ids=str
)
async def test_rule_14_a_server_whose_clock_is_behind_is_waited_for_so_much_longer(
    tmp_path: Path, behind_seconds: int, longer_seconds: int
) -> None:
    """URLs end by the server's clock. One further away than 15 minutes takes no signature."""
    server = MemoryServer(clock=lambda: datetime.now(UTC) - timedelta(seconds=behind_seconds))
    scene = replace(make_volume_scene(tmp_path / "volume"), server=server)
    scene.server.create_bucket(BUCKET)
    await scene.create()
    await scene.upload()
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    await scene.publish(quiet_seconds=30, sleep=sleep)

    assert 25 < waited[1] - longer_seconds < 31


async def test_progress_tells_items_as_they_are_proven(scene: VolumeScene) -> None:
    told: list[Progress] = []

    await scene.publish(on_progress=told.append)

    assert told[0].phase is Phase.VERIFYING
    assert (told[-1].phase, told[-1].items, told[-1].items_total) == (Phase.FREEZING, 4, 4)


async def test_an_item_costs_a_head_and_is_read_only_where_its_etag_says_nothing(scene: VolumeScene) -> None:
    await scene.publish()

    heads = [r.key for r in scene.server.requests if r.operation == "head" and "/data/" in r.key]
    assert sorted(heads) == sorted(scene.key(relpath) for relpath in FILES)
    read = {r.key for r in scene.server.requests if r.operation == "get_range"}
    assert read == {scene.key(LARGE)}


async def put(scene: VolumeScene, relpath: str, body: bytes, **metadata: str) -> None:
    """Write as the hostile worker may: any bytes and headers under a key of the dataset."""
    await scene.store.put(scene.key(relpath), body, metadata=metadata)


async def claim(scene: VolumeScene, body: bytes) -> None:
    await scene.store.put(scene.layout.manifest_key, body)


async def claim_other(scene: VolumeScene, relpath: str, digest: str, size_bytes: int = 5) -> None:
    """Claim another digest and size for one item."""
    manifest = parse_manifest(scene.stored()["manifest.json"])
    identifier = item_identifier(relpath)
    item = replace(manifest.items[identifier], hash=digest, size_bytes=size_bytes)
    other = replace(manifest, items={**manifest.items, identifier: item})
    await claim(scene, build_manifest_body(other, dtoolcore_version="3.19.0"))


@pytest.mark.parametrize(
    ("attack", "error"),
    [
        (lambda s: put(s, "a.txt", b"evil!", **item_metadata("a.txt", md5(b"alpha"))), ContentDiffers),
        (lambda s: put(s, LARGE, bytes(200), **item_metadata(LARGE, md5(FILES[LARGE]))), ContentDiffers),
        (lambda s: put(s, "a.txt", b"longer", **item_metadata("a.txt", md5(b"alpha"))), ContentDiffers),
        (lambda s: put(s, "more", b"x", **item_metadata("more", md5(b"x"))), ContentDiffers),
        (lambda s: s.store.delete(s.key("a.txt")), ItemMissing),
        (lambda s: s.store.delete(s.layout.manifest_key), InvalidManifest),
        (lambda s: claim(s, b"[" * 9000), InvalidManifest),
        (lambda s: claim(s, b'{"items": {}, "hash_function": "md5sum_hexdigest"}'), ContentDiffers),
        (lambda s: claim(s, b'{"items": {}, "hash_function": "sha1sum_hexdigest"}'), NotSupported),
        (lambda s: claim_other(s, "a.txt", md5(b"evil!")), ContentDiffers),
        (lambda s: claim_other(s, LARGE, "0" * 32, 200), ContentDiffers),
        (lambda s: s.store.put(f"{s.layout.root}tags/../../x", b""), UnsafePath),
        (lambda s: s.store.delete(s.layout.admin_metadata_key), DatasetMissing),
    ],
    ids=[
        "other-bytes", "other-bytes-of-a-large-one", "another-size", "an-item-too-many", "an-item-too-few",
        "no-claim", "no-json", "claims-nothing", "other-hash", "other-md5-claimed", "other-md5-of-parts",
        "tag-that-leaves", "no-dtool",
    ],
)  # fmt: skip
async def test_a_claim_that_is_not_true_is_never_frozen(
    scene: VolumeScene, attack: Attack, error: type[DtoolS3Error]
) -> None:
    await attack(scene)

    with pytest.raises(error):
        await scene.publish()

    assert error is DatasetMissing or stored_type(scene) == "protodataset"


async def test_forged_headers_are_put_right(scene: VolumeScene) -> None:
    await put(scene, "a.txt", b"alpha", handle="Li4vLi4vZXZpbA==", checksum="0" * 32)
    await put(scene, "empty", b"")
    large = scene.server.read(BUCKET, scene.key(LARGE))
    await put(scene, LARGE, large.body, checksum="1" * 32)

    await scene.publish()

    for relpath, body in FILES.items():
        found = scene.server.read(BUCKET, scene.key(relpath)).info.metadata
        assert dict(found) == item_metadata(relpath, md5(body))
    assert stored_type(scene) == "dataset"


async def test_headers_that_are_forged_again_after_they_were_put_right_are_noticed(
    scene: VolumeScene,
) -> None:
    await put(scene, "a.txt", b"alpha", handle="x")
    waits = iter([False, True])

    async def sleep(_: float) -> None:
        if next(waits):
            await put(scene, "a.txt", b"alpha", handle="y")

    with pytest.raises(WrittenWhileFreezing):
        await scene.publish(sleep=sleep)

    assert stored_type(scene) == "protodataset"


async def test_what_is_published_has_no_more_in_it_than_a_manifest(scene: VolumeScene) -> None:
    body = json.loads(scene.stored()["manifest.json"])
    await claim(scene, json.dumps(body | {"junk": "x" * 1000}).encode())

    await scene.publish()

    assert scene.stored()["manifest.json"] == json.dumps(body, indent=2, sort_keys=True).encode()


async def test_a_larger_dataset_than_allowed_and_another_manifest_are_refused(scene: VolumeScene) -> None:
    with pytest.raises(QuotaExceeded):
        await scene.publish(max_size_bytes=3)
    with pytest.raises(InvalidManifest, match="SHA-256"):
        await scene.publish(manifest_sha256="0" * 64)

    assert stored_type(scene) == "protodataset"


@pytest.mark.parametrize(
    "attack",
    [
        lambda s: put(s, "a.txt", b"evil!", **item_metadata("a.txt", md5(b"alpha"))),
        lambda s: put(s, "a.txt", b"alpha", handle="x"),
        lambda s: s.store.delete(s.key("a.txt")),
        lambda s: put(s, "more", b"x"),
        lambda s: s.store.put(s.layout.tag_key("late"), b""),
        lambda s: s.store.put(s.layout.readme_key, b"late"),
    ],
    ids=["other-bytes", "other-headers", "removed", "added", "tag", "readme"],
)
async def test_what_is_written_during_the_wait_is_noticed(scene: VolumeScene, attack: Attack) -> None:
    waits = iter([False, True])

    async def sleep(_: float) -> None:
        if next(waits):
            await attack(scene)

    with pytest.raises(WrittenWhileFreezing):
        await scene.publish(sleep=sleep)

    assert stored_type(scene) == "protodataset"


@pytest.mark.parametrize("when", [0, 1])
async def test_an_upload_that_was_begun_meanwhile_cannot_be_completed_after_the_freeze(
    scene: VolumeScene, when: int
) -> None:
    begun: list[tuple[Upload, Part]] = []
    waits = iter(range(2))

    async def sleep(_: float) -> None:
        if next(waits) == when:
            upload = await scene.store.start_upload(scene.key("a.txt"), {})
            begun.append((upload, await scene.store.put_part(upload, 1, b"evil!")))

    await scene.publish(sleep=sleep)

    upload, part = begun[0]
    with pytest.raises(DtoolS3Error):
        await scene.store.complete_upload(upload, [part])
    assert scene.server.read(BUCKET, scene.key("a.txt")).body == b"alpha"


async def test_encrypted_items_are_read(tmp_path: Path) -> None:
    scene = make_volume_scene(tmp_path / "volume")
    scene.server.encrypts = True
    await scene.create()
    await scene.upload()

    result = await scene.publish()

    assert result.verification.evidence[Evidence.READ] == len(FILES)


@pytest.mark.parametrize("operation", ["head", "list", "put", "get_range"])
async def test_killed_anywhere_it_is_published_the_next_time(scene: VolumeScene, operation: str) -> None:
    for skip in range(6):
        fault = Fault(operation, f"{scene.layout.root}*", error=AccessDenied("403"), skip=skip, times=None)
        scene.server.faults.append(fault)
        try:
            await scene.publish()
        except AccessDenied:
            assert stored_type(scene) == "protodataset"
        scene.server.faults.clear()

    assert (await scene.publish()).verification.is_complete
    assert stored_type(scene) == "dataset"


async def test_two_at_once_freeze_one_dataset(scene: VolumeScene) -> None:
    first, second = await asyncio.gather(scene.publish(clock=lambda: 1.5), scene.publish(clock=lambda: 1.5))

    assert first.verification.items == second.verification.items == len(FILES)
    assert stored_type(scene) == "dataset"


async def test_an_unfinished_upload_is_not_published(tmp_path: Path) -> None:
    scene = make_volume_scene(tmp_path / "volume")
    await scene.create()
    scene.interrupt("put", skip=1)
    with pytest.raises(AccessDenied):
        await scene.upload(pace=Pace(1, 64))
    scene.server.faults.clear()

    with pytest.raises(InvalidManifest):
        await scene.publish()

    assert PublishRequest(0).quiet_seconds == 0
