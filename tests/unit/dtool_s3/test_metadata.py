"""README, tags and annotations: compared in few requests, written so that every interruption converges."""

import json
from collections.abc import Callable

import pytest
from dtoolcore.utils import name_is_valid
from hypothesis import example, given
from hypothesis import strategies as st

from dtool_s3.errors import BucketUnreachable, SettingsError, WrittenWhileFreezing
from dtool_s3.metadata import Metadata, MetadataChange, apply_change, find_change, update_readme
from dtool_s3.naming import check_name
from dtool_s3.store.faults import Fault
from dtool_s3.store.memory import MemoryServer, MemoryStore
from tests.support.datasets import DatasetFixture, write_dataset

FIXTURE = DatasetFixture(prefix="u/alice/", tags=("blue", "old"), annotations={"project": "atlas", "n": 1})
LAYOUT = FIXTURE.layout
OLD, NEW = "description: a sample\n", "description: better\n"
WANTED = Metadata(
    readme=NEW,
    tags=frozenset({"blue", "2026"}),
    annotations={"project": "atlas", "n": 2, "who": {"name": "ü", "list": [1, None]}},
    removed_tags=frozenset({"old", "never-there"}),
    removed_annotations=frozenset({"gone"}),
)
NOW = 1795329999.5


@pytest.fixture
def server() -> MemoryServer:
    server = MemoryServer()
    server.create_bucket("lab")
    return server


@pytest.fixture
async def store(server: MemoryServer) -> MemoryStore:
    store = server.store("lab")
    await write_dataset(store, FIXTURE)
    server.requests.clear()
    return store


def operations(server: MemoryServer) -> list[str]:
    return [request.operation for request in server.requests]


def kept(server: MemoryServer) -> list[str]:
    return [key for key in server.keys("lab") if key.startswith(f"{LAYOUT.readme_key}-")]


def contents(server: MemoryServer) -> dict[str, bytes]:
    """Everything but the kept READMEs."""
    return {key: server.read("lab", key).body for key in server.keys("lab") if key not in kept(server)}


async def bring_about(store: MemoryStore, wanted: Metadata, *, is_frozen: bool = True) -> None:
    change = await find_change(store, LAYOUT, wanted)
    await apply_change(store, LAYOUT, change, is_frozen=is_frozen)


async def test_what_differs_is_found_in_three_requests(server: MemoryServer, store: MemoryStore) -> None:
    change = await find_change(store, LAYOUT, WANTED)

    assert change == MetadataChange(
        readme=NEW,
        put_tags=("2026",),
        delete_tags=("old",),
        put_annotations={"n": 2, "who": {"name": "ü", "list": [1, None]}},
    )
    assert operations(server) == ["head", "list", "list", "get"]  # the annotation that has other bytes


async def test_nothing_is_asked_for_that_is_neither_wanted_nor_removed(
    server: MemoryServer, store: MemoryStore
) -> None:
    assert (await find_change(store, LAYOUT, Metadata())).is_empty
    assert operations(server) == []

    assert (await find_change(store, LAYOUT, Metadata(tags=frozenset({"blue"})))).is_empty
    assert operations(server) == ["list"]


async def test_written_once_it_is_as_wanted_in_three_requests_without_reading(
    server: MemoryServer, store: MemoryStore
) -> None:
    await bring_about(store, WANTED)
    server.requests.clear()

    assert (await find_change(store, LAYOUT, WANTED)).is_empty

    assert operations(server) == ["head", "list", "list"]


async def test_what_is_written_is_what_dtool_writes_and_nothing_else_is_touched(
    server: MemoryServer, store: MemoryStore
) -> None:
    before = contents(server)

    await bring_about(store, WANTED)

    after = contents(server)
    assert {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)} == {
        LAYOUT.readme_key,
        LAYOUT.tag_key("2026"),
        LAYOUT.tag_key("old"),
        LAYOUT.annotation_key("n"),
        LAYOUT.annotation_key("who"),
    }
    assert after[LAYOUT.readme_key] == NEW.encode()
    assert after[LAYOUT.tag_key("2026")] == b""
    who = after[LAYOUT.annotation_key("who")]
    assert who == json.dumps(WANTED.annotations["who"], indent=2).encode()
    assert LAYOUT.tag_key("old") not in after


async def test_names_of_others_stay(server: MemoryServer, store: MemoryStore) -> None:
    await bring_about(store, Metadata(tags=frozenset({"mine"}), annotations={"mine": 1}))

    assert {LAYOUT.tag_key("old"), LAYOUT.annotation_key("project")} <= set(server.keys("lab"))


async def test_a_name_that_is_wanted_again_is_not_removed(store: MemoryStore) -> None:
    wanted = Metadata(
        tags=frozenset({"blue"}),
        annotations={"n": 1},
        removed_tags=frozenset({"blue"}),
        removed_annotations=frozenset({"n"}),
    )

    assert (await find_change(store, LAYOUT, wanted)).is_empty


async def test_what_is_both_put_and_deleted_is_put(server: MemoryServer, store: MemoryStore) -> None:
    change = MetadataChange(put_tags=("blue",), delete_tags=("blue", "old"))

    await apply_change(store, LAYOUT, change, is_frozen=True)

    tags = [key for key in server.keys("lab") if key.startswith(LAYOUT.tags_prefix)]
    assert tags == [LAYOUT.tag_key("blue")]


async def test_annotations_compare_as_json_and_not_as_text(server: MemoryServer, store: MemoryStore) -> None:
    server.write("lab", LAYOUT.annotation_key("who"), b'{"b":[1,2],"a":"\xc3\xbc"}\n')

    same = await find_change(store, LAYOUT, Metadata(annotations={"who": {"a": "ü", "b": [1, 2]}}))
    other = await find_change(store, LAYOUT, Metadata(annotations={"who": {"a": "ü", "b": [True, 2]}}))

    assert same.is_empty
    assert list(other.put_annotations) == ["who"]


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b"9" * 10_000])
async def test_an_annotation_that_is_no_json_differs(
    server: MemoryServer, store: MemoryStore, body: bytes
) -> None:
    server.write("lab", LAYOUT.annotation_key("who"), body)

    change = await find_change(store, LAYOUT, Metadata(annotations={"who": "x"}))

    assert list(change.put_annotations) == ["who"]


async def test_where_etags_are_no_md5s_equal_bytes_are_found_by_reading() -> None:
    server = MemoryServer()
    server.create_bucket("lab")
    server.encrypts = True
    store = server.store("lab")
    await write_dataset(store, FIXTURE)
    wanted = Metadata(readme=OLD, annotations={"project": "atlas"})
    server.requests.clear()

    assert (await find_change(store, LAYOUT, wanted)).is_empty

    assert operations(server) == ["head", "get", "list", "get"]


async def test_what_is_too_large_to_be_equal_is_not_read(server: MemoryServer, store: MemoryStore) -> None:
    server.write("lab", LAYOUT.readme_key, b"#" * 3_000_000)
    server.write("lab", LAYOUT.annotation_key("who"), b" " * 3_000_000)

    change = await find_change(store, LAYOUT, Metadata(readme=NEW, annotations={"who": 1}))

    assert (change.readme, list(change.put_annotations)) == (NEW, ["who"])
    assert operations(server) == ["head", "list"]


async def test_a_readme_that_grows_while_it_is_looked_at_differs(
    server: MemoryServer, store: MemoryStore
) -> None:
    server.write("lab", LAYOUT.readme_key, b"x" * len(NEW))

    def grow() -> None:
        server.write("lab", LAYOUT.readme_key, b"x" * 1000)

    server.faults.append(Fault("get", LAYOUT.readme_key, hook=grow))

    assert (await find_change(store, LAYOUT, Metadata(readme=NEW))).readme == NEW


async def test_among_very_many_tags_those_that_are_named_are_found(
    server: MemoryServer, store: MemoryStore
) -> None:
    for number in range(1200):
        server.write("lab", LAYOUT.tag_key(f"t{number:04}"), b"")
    tags = frozenset({"blue", "t0000", "t1150", "zz"})

    change = await find_change(store, LAYOUT, Metadata(tags=tags, removed_tags=frozenset({"t1199"})))

    assert change == MetadataChange(put_tags=("zz",), delete_tags=("t1199",))
    assert operations(server) == ["list", "head", "head", "head"]


async def test_a_missing_readme_is_written_without_history(server: MemoryServer, store: MemoryStore) -> None:
    server.remove("lab", LAYOUT.readme_key)

    await bring_about(store, Metadata(readme=NEW))

    assert (server.read("lab", LAYOUT.readme_key).body, kept(server)) == (NEW.encode(), [])


async def test_the_readme_of_a_proto_dataset_is_replaced_without_history(
    server: MemoryServer, store: MemoryStore
) -> None:
    await bring_about(store, Metadata(readme=NEW), is_frozen=False)

    assert (server.read("lab", LAYOUT.readme_key).body, kept(server)) == (NEW.encode(), [])


async def test_the_old_readme_of_a_frozen_dataset_is_kept_by_the_seconds_in_utc(
    server: MemoryServer, store: MemoryStore
) -> None:
    await update_readme(store, LAYOUT, NEW, clock=lambda: NOW)

    assert kept(server) == [f"{LAYOUT.readme_key}-{NOW}"]
    assert server.read("lab", kept(server)[0]).body == OLD.encode()
    assert operations(server) == ["head", "list", "copy", "put"]


async def test_every_readme_of_a_frozen_dataset_is_kept(server: MemoryServer, store: MemoryStore) -> None:
    times = iter(range(1, 10))
    for content in (NEW, OLD, NEW, NEW):
        await update_readme(store, LAYOUT, content, clock=lambda: float(next(times)))

    assert [server.read("lab", key).body.decode() for key in kept(server)] == [OLD, NEW, OLD]


async def test_a_readme_that_somebody_else_writes_meanwhile_is_kept_too(
    server: MemoryServer, store: MemoryStore
) -> None:
    def other_writes() -> None:
        server.write("lab", LAYOUT.readme_key, b"description: theirs\n")

    server.faults.append(Fault("put", LAYOUT.readme_key, hook=other_writes))

    await update_readme(store, LAYOUT, NEW)

    assert {server.read("lab", key).body for key in kept(server)} == {OLD.encode(), b"description: theirs\n"}
    assert server.read("lab", LAYOUT.readme_key).body == NEW.encode()


async def test_a_readme_that_others_keep_writing_is_left_to_them(
    server: MemoryServer, store: MemoryStore
) -> None:
    def other_writes() -> None:
        server.write("lab", LAYOUT.readme_key, str(len(server.requests)).encode())

    server.faults.append(Fault("put", LAYOUT.readme_key, hook=other_writes, times=None))

    with pytest.raises(WrittenWhileFreezing, match=r"README\.yml"):
        await update_readme(store, LAYOUT, NEW)


async def test_a_readme_that_cannot_be_written_is_kept_once_however_often_it_is_tried(
    server: MemoryServer, store: MemoryStore
) -> None:
    server.faults.append(Fault("put", LAYOUT.readme_key, error=BucketUnreachable("no answer"), times=None))

    for _ in range(5):
        with pytest.raises(BucketUnreachable):
            await update_readme(store, LAYOUT, NEW)

    assert len(kept(server)) == 1


@pytest.mark.parametrize("is_frozen", [True, False])
@pytest.mark.parametrize("after_effect", [True, False])
async def test_a_failure_of_any_request_converges_when_it_is_done_again(
    make_state: Callable[[], MemoryServer], *, is_frozen: bool, after_effect: bool
) -> None:
    undisturbed = make_state()
    store = undisturbed.store("lab")
    await write_dataset(store, FIXTURE)
    undisturbed.requests.clear()
    await bring_about(store, WANTED, is_frozen=is_frozen)
    count = len(undisturbed.requests)

    for number in range(count):
        server = make_state()
        store = server.store("lab")
        await write_dataset(store, FIXTURE)
        lost = BucketUnreachable("lost")
        server.faults.append(Fault(error=lost, skip=number, after_effect=after_effect))
        with pytest.raises(BucketUnreachable):
            await bring_about(store, WANTED, is_frozen=is_frozen)

        await bring_about(store, WANTED, is_frozen=is_frozen)

        assert contents(server) == contents(undisturbed)
        assert [server.read("lab", key).body for key in kept(server)] == [OLD.encode()] * is_frozen
        assert (await find_change(store, LAYOUT, WANTED)).is_empty


@pytest.fixture
def make_state() -> Callable[[], MemoryServer]:
    def make() -> MemoryServer:
        server = MemoryServer()
        server.create_bucket("lab")
        return server

    return make


async def test_one_change_may_be_applied_again_after_any_failure(
    make_state: Callable[[], MemoryServer],
) -> None:
    for number in range(8):
        server = make_state()
        store = server.store("lab")
        await write_dataset(store, FIXTURE)
        change = await find_change(store, LAYOUT, WANTED)
        server.faults.append(Fault(error=BucketUnreachable("lost"), skip=number, after_effect=True))
        with pytest.raises(BucketUnreachable):
            await apply_change(store, LAYOUT, change, is_frozen=True)

        await apply_change(store, LAYOUT, change, is_frozen=True)

        assert (await find_change(store, LAYOUT, WANTED)).is_empty
        assert len(kept(server)) == 1


async def test_a_change_costs_one_request_a_name_and_one_for_all_deletions(
    server: MemoryServer, store: MemoryStore
) -> None:
    change = await find_change(store, LAYOUT, WANTED)
    server.requests.clear()

    await apply_change(store, LAYOUT, change, is_frozen=True)

    readme, tags_and_annotations = ["head", "list", "copy", "put"], ["put"] * 3
    assert operations(server) == [*readme, *tags_and_annotations, "delete_many"]


BAD_NAMES = ["", ".", "..", "a/b", "../dtool", "a b", "ü", "a\n", "x" * 81, "a\x00"]


@pytest.mark.parametrize("name", BAD_NAMES)
async def test_names_that_dtool_does_not_take_are_refused_before_any_request(
    server: MemoryServer, store: MemoryStore, name: str
) -> None:
    wanted = (
        Metadata(tags=frozenset({name})),
        Metadata(annotations={name: 1}),
        Metadata(removed_tags=frozenset({name})),
        Metadata(removed_annotations=frozenset({name})),
    )
    changes = (
        MetadataChange(put_tags=(name,)),
        MetadataChange(put_annotations={name: 1}),
        MetadataChange(readme=NEW, delete_tags=(name,)),
        MetadataChange(readme=NEW, delete_annotations=(name,)),
    )

    for one in wanted:
        with pytest.raises(SettingsError) as caught:
            await find_change(store, LAYOUT, one)
        assert caught.value.reason == "InvalidSpec"
    for change in changes:
        with pytest.raises(SettingsError):
            await apply_change(store, LAYOUT, change, is_frozen=True)
    assert operations(server) == []


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, object()])
async def test_a_value_that_is_no_json_is_refused(store: MemoryStore, value: object) -> None:
    with pytest.raises(SettingsError, match="'who' is no JSON"):
        await find_change(store, LAYOUT, Metadata(annotations={"who": value}))


async def test_a_value_that_contains_itself_is_refused(store: MemoryStore) -> None:
    endless: list[object] = []
    endless.append(endless)

    with pytest.raises(SettingsError):
        await find_change(store, LAYOUT, Metadata(annotations={"who": endless}))


async def test_a_readme_that_no_file_could_hold_is_refused(store: MemoryStore) -> None:
    with pytest.raises(SettingsError, match=r"README\.yml"):
        await find_change(store, LAYOUT, Metadata(readme="\ud800"))


@given(st.text(st.sampled_from("aZ0-_./ é\n"), max_size=4) | st.text(max_size=90))
@example("x" * 80)
@example("x" * 81)
def test_a_name_that_is_accepted_here_is_accepted_by_dtool(name: str) -> None:
    is_odd = name in {"", ".", ".."} or name.endswith("\n")
    try:
        check_name(name, of="a tag")
    except SettingsError:
        assert is_odd or not name_is_valid(name)
    else:
        assert name_is_valid(name)
