"""Rule 17: who applies many datasets at once does not keep others waiting. What counts here is the order.

The benchmark has the seconds.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
import pytest_asyncio

from dtool_operator.names import DATASET_PLURAL
from dtool_operator.planning.task import ErrorLine
from dtool_s3.store.faults import Fault
from tests.support.eventually import eventually_async
from tests.support.inline_executor import InlineExecutor
from tests.support.play import Play

FLOOD = 40
PLACES = 4
#: Copies under way when the single dataset comes, and as many again that begin or end while it is copied.
IN_BETWEEN = 3 * PLACES


class Arrivals:
    """The order in which datasets become Ready."""

    def __init__(self, play: Play) -> None:
        self.order: list[tuple[str, str]] = []
        self._tell = play.cluster.on_change
        play.cluster.on_change = self._note

    def of(self, namespace: str) -> list[str]:
        """Names of those of a namespace that have arrived."""
        return [name for place, name in self.order if place == namespace]

    def _note(self, plural: str, event: str, body: Mapping[str, Any]) -> None:
        key = (body["metadata"].get("namespace", ""), body["metadata"]["name"])
        conditions = body.get("status", {}).get("conditions", [])
        is_ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
        if plural == DATASET_PLURAL and is_ready and key not in self.order:
            self.order.append(key)
        assert self._tell is not None
        self._tell(plural, event, body)


@pytest_asyncio.fixture
async def play() -> AsyncIterator[Play]:
    """The stage, with another namespace that the bucket admits."""
    play = await Play.start(max_transfers=PLACES)
    play.cluster.create_namespace("bob", {"dtool.dev/lab": "true"})
    play.cluster.create_namespace("carol", {"dtool.dev/lab": "true"})
    await play.settle()
    yield play
    await play.stop()


async def store_sources(play: Play, count: int) -> list[dict[str, str]]:
    """Write datasets to copy; return a source for each."""
    uuids = [str(uuid.UUID(int=0x40008000000000000000 + n)) for n in range(count)]
    for each in uuids:
        await play.store_dataset(uuid=each, items={"a.txt": b"alpha"})
    return [{"uri": f"s3://instrument-data/{each}"} for each in uuids]


async def start_flood(play: Play, arrivals: Arrivals, sources: list[dict[str, str]]) -> None:
    """Apply all at once in alice's namespace, and return when some of them have arrived."""
    for number, source in enumerate(sources):
        play.dataset("alice", f"flood-{number:03d}", source=source)

    async def some() -> None:
        assert len(arrivals.of("alice")) >= PLACES

    await eventually_async(some, within=20)


async def test_a_single_dataset_overtakes_the_many_that_another_namespace_applied_before(play: Play) -> None:
    *many, last = await store_sources(play, FLOOD + 1)
    arrivals = Arrivals(play)
    await start_flood(play, arrivals, many)

    before = len(arrivals.of("alice"))
    play.dataset("bob", "single", source=last)
    await play.settle(within=60)

    place = arrivals.order.index(("bob", "single"))
    assert place - before <= IN_BETWEEN
    assert len(arrivals.of("alice")) == FLOOD, "everything arrives in the end"


async def test_two_namespaces_that_apply_many_take_turns(play: Play) -> None:
    sources = await store_sources(play, 2 * FLOOD)
    arrivals = Arrivals(play)
    await start_flood(play, arrivals, sources[:FLOOD])

    before = len(arrivals.order)
    for number, source in enumerate(sources[FLOOD:]):
        play.dataset("bob", f"flood-{number:03d}", source=source)
    await play.settle(within=60)

    first = arrivals.order[before : before + FLOOD]
    share = sum(1 for namespace, _ in first if namespace == "bob") / FLOOD
    assert share == pytest.approx(0.5, abs=0.2)


async def test_each_of_several_single_datasets_overtakes_a_flood(play: Play) -> None:
    *many, second, last = await store_sources(play, FLOOD + 2)
    arrivals = Arrivals(play)
    await start_flood(play, arrivals, many)

    before = len(arrivals.order)
    play.dataset("bob", "single", source=second)
    play.dataset("carol", "single", source=last)
    await play.settle(within=60)

    for namespace in ("bob", "carol"):
        assert arrivals.order.index((namespace, "single")) - before <= IN_BETWEEN + 1


async def test_copies_that_take_for_ever_do_not_take_every_place(play: Play) -> None:
    """The last place is kept as soon as a second namespace has datasets at all."""
    *many, first, last = await store_sources(play, FLOOD + 2)
    play.dataset("carol", "earlier", source=first)
    await play.settle()
    hold = asyncio.Event()
    items = Fault(key="u/alice/*/data/*", bucket="lab-data", times=None, hold=hold)
    play.server.faults.append(items)
    arrivals = Arrivals(play)
    for number, source in enumerate(many):
        play.dataset("alice", f"flood-{number:03d}", source=source)

    async def are_held(count: int) -> None:
        assert items.hits >= count

    await eventually_async(lambda: are_held(PLACES - 1), within=20)
    play.dataset("bob", "single", source=last)

    async def has_arrived() -> None:
        assert arrivals.order == [("bob", "single")]

    await eventually_async(has_arrived, within=20)
    hold.set()
    await play.settle(within=60)
    assert len(arrivals.of("alice")) == FLOOD


async def test_jobs_that_no_node_takes_hold_up_their_own_namespace_alone(play: Play) -> None:
    """Three wrong claim names would leave one place for everybody else."""
    sources = await store_sources(play, 2 * PLACES)
    held = {
        name: Fault(key=f"u/{name}/*/data/*", times=None, hold=asyncio.Event()) for name in ("alice", "bob")
    }
    play.server.faults.extend(held.values())
    play.dataset("carol", "waits", source={"dataset": {"name": "nobody"}})
    for number, source in enumerate(sources[:PLACES]):
        play.dataset("alice", f"held-{number}", source=source)

    async def are_held(name: str, count: int) -> None:
        assert held[name].hits >= count

    await eventually_async(lambda: are_held("alice", PLACES - 1), within=20)
    for number, source in enumerate(sources[PLACES:]):
        play.dataset("bob", f"copy-{number}", source=source)
    await eventually_async(lambda: are_held("bob", 1), within=20)

    executor = play.operator._executor
    assert isinstance(executor, InlineExecutor)
    trouble = ErrorLine(reason="Unschedulable", message="0/1 nodes are available", retryable=True)
    for task in executor.running():
        if task.namespace == "alice":
            executor._ledger.note_trouble(task.key, trouble)

    await eventually_async(lambda: are_held("bob", PLACES - 1), within=20)
    assert held["alice"].hits == PLACES - 1, "what waits still counts for who has it wait"
    for fault in held.values():
        assert fault.hold is not None
        fault.hold.set()
    await play.settle(within=60)
