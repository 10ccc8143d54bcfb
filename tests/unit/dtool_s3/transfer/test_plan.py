"""What a copy has to do, as tables: two listings and a manifest in, steps or a refusal out."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import pytest

from dtool_s3.documents import AdminMetadata, DatasetType, Manifest, ManifestItem
from dtool_s3.errors import (
    ContentDiffers,
    DtoolS3Error,
    ItemArchived,
    ItemMissing,
    NotSupported,
    SourceDamaged,
    UnsafePath,
)
from dtool_s3.layout import DatasetLayout, item_identifier
from dtool_s3.store.protocol import ListedObject
from dtool_s3.transfer.inventory import DatasetListing, SourceInventory, TargetInventory
from dtool_s3.transfer.plan import CopyPlan, Evidence, Step, listed_evidence, plan_copy
from tests.support.datasets import md5

UUID = "1c10766c-c4a9-4a4f-9b5d-0d5f0e1c7a11"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
MD5 = md5(b"alpha")
OTHER_MD5 = md5(b"omega")
IN_PARTS = f"{OTHER_MD5}-2"
SIZE = 5
GIB = 1024**3


def _item(relpath: str = "a.txt", *, size_bytes: int = SIZE, md5: str = MD5) -> ManifestItem:
    return ManifestItem(relpath, size_bytes, md5, 0.0)


def _object(
    key: str = "a.txt", *, size_bytes: int = SIZE, etag: str = MD5, storage_class: str = "STANDARD"
) -> ListedObject:
    return ListedObject(key, size_bytes, etag, NOW, storage_class)


def _source(
    items: Sequence[ManifestItem] = (_item(),),
    *,
    stored: Mapping[str, ListedObject | None] | None = None,
    documents: Sequence[str] = (),
    hash_function: str = "md5sum_hexdigest",
) -> SourceInventory:
    objects = {i.relpath: _object(i.relpath, size_bytes=i.size_bytes, etag=i.hash) for i in items}
    present = {relpath: o for relpath, o in {**objects, **(stored or {})}.items() if o is not None}
    return SourceInventory(
        layout=DatasetLayout("", UUID),
        admin=AdminMetadata(UUID, DatasetType.FROZEN, "sample", "olssont"),
        manifest=Manifest(hash_function, {item_identifier(i.relpath): i for i in items}),
        manifest_body=b"{}",
        has_base64_handles=True,
        listing=_listing(present, documents),
    )


def _target(
    items: Mapping[str, ListedObject] | None = None, documents: Sequence[str] = ()
) -> TargetInventory:
    return TargetInventory(DatasetLayout("u/alice/", UUID), None, _listing(items or {}, documents))


def _listing(items: Mapping[str, ListedObject], documents: Sequence[str]) -> DatasetListing:
    return DatasetListing(
        {item_identifier(relpath): o for relpath, o in items.items()},
        {name: _object(name) for name in documents},
    )


def _steps(plan: CopyPlan) -> list[str]:
    """Print a plan as a person would read it."""
    return [f"{item.step} {item.item.relpath}" for item in plan.items]


STEPS = {
    "an item that is absent is copied": (_object(), None, Step.COPY, Step.STREAM),
    "an item with the MD5 as ETag is kept": (_object(), _object(), Step.KEEP, Step.KEEP),
    "an item of another size is copied again": (
        _object(), _object(size_bytes=4), Step.COPY, Step.STREAM,
    ),
    "the source's multipart ETag tells of the same object after a server-side copy only": (
        _object(etag=IN_PARTS), _object(etag=IN_PARTS), Step.KEEP, Step.PROVE,
    ),
    "another multipart ETag is a reason to read": (
        _object(etag=IN_PARTS), _object(etag=f"{MD5}-3"), Step.PROVE, Step.PROVE,
    ),
    "an ETag as encryption makes them is a reason to read": (
        _object(), _object(etag=OTHER_MD5), Step.PROVE, Step.PROVE,
    ),
    "an equal ETag that looks like another MD5 is a reason to read": (
        _object(etag=OTHER_MD5), _object(etag=OTHER_MD5), Step.PROVE, Step.PROVE,
    ),
    "a plain copy of a multipart source is kept": (
        _object(etag=IN_PARTS), _object(), Step.KEEP, Step.KEEP,
    ),
    "an archived item at the target is of the right size or not like any other": (
        _object(), _object(storage_class="GLACIER"), Step.KEEP, Step.KEEP,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", STEPS)
def test_each_item_gets_the_cheapest_step_that_leads_to_evidence(case: str) -> None:
    source, target, on_server, streamed = STEPS[case]
    found = _source(stored={"a.txt": source})
    place = _target({} if target is None else {"a.txt": target})

    assert _steps(plan_copy(found, place, server_side=True)) == [f"{on_server} a.txt"]
    assert _steps(plan_copy(found, place, server_side=False)) == [f"{streamed} a.txt"]


def test_a_zero_byte_item_that_is_there_is_kept() -> None:
    empty = md5(b"")
    found = _source([_item("empty", size_bytes=0, md5=empty)])
    place = _target({"empty": _object("empty", size_bytes=0, etag=empty)})

    assert _steps(plan_copy(found, place, server_side=True)) == ["keep empty"]


def test_a_plan_counts_its_steps_and_bytes() -> None:
    found = _source([_item("a.txt"), _item("b.txt", size_bytes=7), _item("c.txt", size_bytes=11)])
    place = _target({"b.txt": _object("b.txt", size_bytes=7)})

    plan = plan_copy(found, place, server_side=True)

    assert _steps(plan) == ["copy a.txt", "keep b.txt", "copy c.txt"]
    assert (plan.count(Step.COPY), plan.count(Step.KEEP), plan.count(Step.PROVE)) == (2, 1, 0)
    assert plan.size_bytes == 23


def test_a_dataset_without_items_is_a_plan_without_items() -> None:
    assert plan_copy(_source([]), _target(), server_side=True) == CopyPlan(())


SEVEN = [_item(f"{number}.txt") for number in range(7)]

REFUSALS: dict[str, tuple[SourceInventory, TargetInventory, type[DtoolS3Error], list[str]]] = {
    "an item that is missing at the source": (
        _source(stored={"a.txt": None}), _target(), ItemMissing, ["'a.txt'"],
    ),
    "many missing items are counted and five named": (
        _source(SEVEN, stored={item.relpath: None for item in SEVEN}),
        _target(), ItemMissing, ["7 items", "'0.txt'", "'4.txt' and 2 more"],
    ),
    "a source item of another size than its manifest says": (
        _source(stored={"a.txt": _object(size_bytes=4)}), _target(), SourceDamaged, ["'a.txt'"],
    ),
    "an item in an archive class": (
        _source(stored={"a.txt": _object(storage_class="DEEP_ARCHIVE")}),
        _target(), ItemArchived, ["'a.txt'"],
    ),
    "a hash function other than MD5": (
        _source(hash_function="sha256sum_hexdigest"), _target(), NotSupported, ["sha256sum_hexdigest"],
    ),
    "an extra key under data/ of the target": (
        _source(), _target({"stray": _object()}), ContentDiffers, [item_identifier("stray")],
    ),
    "a tag at the target that the source does not have": (
        _source(documents=["tags/blue"]), _target(documents=["tags/blue", "tags/green"]),
        ContentDiffers, ["'tags/green'"],
    ),
    "a tag that leaves the dataset": (
        _source(documents=["tags/../../../bob/x"]), _target(), UnsafePath, ["'tags/../../../bob/x'"],
    ),
    "an annotation with an empty segment": (
        _source(documents=["annotations//x.json"]), _target(), UnsafePath, ["'annotations//x.json'"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSALS)
def test_what_cannot_become_a_complete_copy_is_refused_by_name(case: str) -> None:
    source, target, error, named = REFUSALS[case]

    with pytest.raises(error) as caught:
        plan_copy(source, target, server_side=True)

    assert [text for text in named if text not in str(caught.value)] == []


def test_items_of_any_size_are_copied() -> None:
    found = _source([_item("big.bin", size_bytes=5000 * GIB)])

    assert _steps(plan_copy(found, _target(), server_side=True)) == ["copy big.bin"]


def test_instant_retrieval_is_no_archive() -> None:
    found = _source(stored={"a.txt": _object(storage_class="GLACIER_IR")})

    assert _steps(plan_copy(found, _target(), server_side=True)) == ["copy a.txt"]


def test_a_readme_at_the_target_alone_is_no_difference() -> None:
    plan = plan_copy(_source(), _target(documents=["README.yml"]), server_side=True)

    assert plan.count(Step.COPY) == 1


EVIDENCE = {
    "the MD5 as ETag": (_object(), None, Evidence.ETAG_MD5),
    "the MD5 as ETag, whatever the source's is": (_object(), _object(etag=IN_PARTS), Evidence.ETAG_MD5),
    "the source's multipart ETag": (_object(etag=IN_PARTS), _object(etag=IN_PARTS), Evidence.SAME_AS_SOURCE),
    "a multipart ETag without a source to compare": (_object(etag=IN_PARTS), None, None),
    "another multipart ETag": (_object(etag=IN_PARTS), _object(etag=f"{MD5}-9"), None),
    "an encrypted object's ETag": (_object(etag=OTHER_MD5), _object(), None),
    "the source's ETag, but it looks like the MD5 of other bytes": (
        _object(etag=OTHER_MD5), _object(etag=OTHER_MD5), None,
    ),
    "no ETag on either side": (_object(etag=""), _object(etag=""), None),
    "the ETag that SeaweedFS makes of no parts": (_object(etag=f"{MD5}-0"), _object(etag=f"{MD5}-0"), None),
    "the right ETag and another size": (_object(size_bytes=4), None, None),
}  # fmt: skip


@pytest.mark.parametrize("case", EVIDENCE)
def test_a_listing_proves_only_what_its_etags_attest(case: str) -> None:
    target, source, evidence = EVIDENCE[case]

    assert listed_evidence(_item(), target, source=source) is evidence
