"""What is passed on to the sink, and how lists find what a watch did not tell."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from dtool_operator.errors import ApiFailure
from dtool_operator.handlers.watch import Watch, WatchKeeper
from dtool_operator.names import DATASET_PLURAL
from tests.support.eventually import eventually_async

SOON = timedelta(seconds=0.02)
LATER = timedelta(seconds=5)


class Recorder:
    """A sink that remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def object_changed(self, plural: str, body: Mapping[str, Any]) -> None:
        self.told.append(f"changed {plural} {body['metadata']['name']}")

    def object_deleted(self, plural: str, body: Mapping[str, Any]) -> None:
        metadata = body["metadata"]
        self.told.append(f"deleted {plural} {metadata['namespace']}/{metadata['name']} {metadata['uid']}")

    def watch_synced(self) -> None:
        self.told.append("synced")


class Lists:
    """An API server's lists: one after another, the last for ever; an error is raised."""

    def __init__(self, *lists: dict[str, str] | ApiFailure) -> None:
        self._lists = list(lists)

    async def list_metadata(self, plural: str) -> Mapping[str, str]:
        if plural != DATASET_PLURAL:
            return {}
        found = self._lists.pop(0) if len(self._lists) > 1 else self._lists[0]
        if isinstance(found, ApiFailure):
            raise found
        return found


def body(uid: str, version: int) -> dict[str, Any]:
    metadata = {"uid": uid, "name": f"n{uid}", "namespace": "alice", "resourceVersion": str(version)}
    return {"metadata": metadata}


def build(
    *lists: dict[str, str] | ApiFailure, patience: timedelta = SOON
) -> tuple[Recorder, Watch, WatchKeeper]:
    sink = Recorder()
    watch = Watch(sink)
    keeper = WatchKeeper(watch, sink, Lists(*lists), interval=SOON, patience=patience, retry=SOON)
    return sink, watch, keeper


def test_events_are_passed_on_in_their_order() -> None:
    sink, watch, _ = build({})

    watch.tell(DATASET_PLURAL, None, body("1", 5))
    watch.tell(DATASET_PLURAL, "ADDED", body("2", 6))
    watch.tell(DATASET_PLURAL, "MODIFIED", body("1", 7))
    watch.tell(DATASET_PLURAL, "DELETED", body("1", 8))

    assert sink.told == [
        "changed dtooldatasets n1",
        "changed dtooldatasets n2",
        "changed dtooldatasets n1",
        "deleted dtooldatasets alice/n1 1",
    ]
    assert watch.list_told(DATASET_PLURAL) == {"2"}


async def test_a_watch_that_told_everything_is_in_order() -> None:
    _, watch, keeper = build({"1": "5", "2": "6"})
    watch.tell(DATASET_PLURAL, None, body("1", 5))
    watch.tell(DATASET_PLURAL, "MODIFIED", body("2", 9))

    assert await keeper.compare(DATASET_PLURAL)
    assert keeper.find_problem() is None


async def test_what_is_told_a_little_later_is_waited_for() -> None:
    _, watch, keeper = build({"1": "5", "2": "6"}, patience=LATER)
    watch.tell(DATASET_PLURAL, None, body("1", 4))

    comparison = asyncio.create_task(keeper.compare(DATASET_PLURAL))
    await asyncio.sleep(0)
    watch.tell(DATASET_PLURAL, "MODIFIED", body("1", 5))
    await asyncio.sleep(0)
    assert not comparison.done()
    watch.tell(DATASET_PLURAL, "DELETED", body("2", 7))

    assert await comparison


@pytest.mark.parametrize("told", [[], [body("1", 4)]], ids=["nothing", "an older version"])
async def test_a_watch_that_is_silent_is_found(told: list[dict[str, Any]]) -> None:
    _, watch, keeper = build({"1": "5"})
    for one in told:
        watch.tell(DATASET_PLURAL, None, one)

    assert not await keeper.compare(DATASET_PLURAL)
    assert keeper.find_problem() == "the watch did not tell of changes of 1 dtooldatasets"


async def test_a_watch_that_speaks_again_is_in_order_again() -> None:
    _, watch, keeper = build({"1": "5"})
    await keeper.compare(DATASET_PLURAL)

    watch.tell(DATASET_PLURAL, "ADDED", body("1", 5))

    assert await keeper.compare(DATASET_PLURAL)
    assert keeper.find_problem() is None


async def test_an_object_that_went_while_it_was_waited_for_is_no_silence() -> None:
    _, _, keeper = build({"1": "5"}, {})

    assert await keeper.compare(DATASET_PLURAL)
    assert keeper.find_problem() is None


async def test_an_object_that_went_before_the_watch_began_is_not_waited_for() -> None:
    _, _, keeper = build({"1": "5"}, {"1": "5"}, {}, patience=timedelta(minutes=1))

    async with asyncio.timeout(5):
        assert await keeper.compare(DATASET_PLURAL)
    assert keeper.find_problem() is None


async def test_lists_of_what_is_waited_for_become_rarer() -> None:
    lists = [{"1": "5"}] * 6
    _, _, keeper = build(*lists, {}, patience=31 * SOON)

    assert not await keeper.compare(DATASET_PLURAL)  # after 1, 2, 4, 8, 16 times SOON: six lists
    assert await keeper.compare(DATASET_PLURAL)


async def test_a_deletion_that_the_watch_missed_is_told() -> None:
    sink, watch, keeper = build({"2": "6"})
    watch.tell(DATASET_PLURAL, None, body("1", 5))
    watch.tell(DATASET_PLURAL, None, body("2", 6))

    assert await keeper.compare(DATASET_PLURAL)

    assert sink.told[2:] == ["deleted dtooldatasets alice/n1 1"]


async def test_an_object_told_after_the_list_was_asked_for_is_not_dropped() -> None:
    sink, watch, _ = build({})

    class ListThatTakesTime(Lists):
        async def list_metadata(self, plural: str) -> Mapping[str, str]:
            watch.tell(plural, "ADDED", body("1", 5))
            return {}

    keeper = WatchKeeper(watch, sink, ListThatTakesTime({}), interval=SOON)

    assert await keeper.compare(DATASET_PLURAL)
    assert sink.told == ["changed dtooldatasets n1"]


async def test_a_list_that_fails_says_nothing_about_the_watch() -> None:
    _, _, keeper = build(ApiFailure("no answer"))

    assert not await keeper.compare(DATASET_PLURAL)
    assert keeper.find_problem() is None


async def test_synced_is_told_once_and_only_when_everything_was_told() -> None:
    sink, watch, keeper = build({"1": "5"}, patience=LATER)
    running = asyncio.create_task(keeper.run())
    await asyncio.sleep(0)
    assert not keeper.is_synced

    watch.tell(DATASET_PLURAL, None, body("1", 5))

    await eventually_async(lambda: is_told(sink, 2), within=5)
    assert keeper.is_synced
    assert sink.told == ["changed dtooldatasets n1", "synced"]
    await end(running)


async def test_lists_go_on_after_the_start_and_survive_failures() -> None:
    sink, watch, keeper = build(ApiFailure("no answer"), {"1": "5"}, ApiFailure("no answer"), {})
    watch.tell(DATASET_PLURAL, None, body("1", 5))

    running = asyncio.create_task(keeper.run())

    await eventually_async(lambda: is_told(sink, 3), within=5)
    assert sink.told[1:] == ["synced", "deleted dtooldatasets alice/n1 1"]
    await end(running)


async def is_told(sink: Recorder, count: int) -> None:
    assert len(sink.told) >= count


async def end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
