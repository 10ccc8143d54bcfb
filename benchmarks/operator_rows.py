"""The operator at rest with many datasets, through a restart and a resync, and how it notices a change.

The rows build on each other, in the order of `measure_operator`.
"""

import asyncio
import statistics
import time
from collections.abc import Mapping

from benchmarks.figures import Figure
from benchmarks.meters import LooksLog, cpu_seconds, difference, resident_mib
from benchmarks.operator_bench import (
    BARE,
    COPIES,
    FLOOD,
    FROZEN,
    POLL_SECONDS,
    SOURCE,
    TURNS,
    Bench,
    Say,
    Scale,
    tell,
)
from benchmarks.operator_copies import apply_one, be_fair, copy_many
from benchmarks.operator_world import ITEMS, Body, OperatorWorld
from benchmarks.world import World
from dtool_operator.names import BUCKET_PLURAL, DATASET_PLURAL
from sandbox.operator_process import NAMESPACE

RESYNC_SECONDS = 180
IDLE_SECONDS = 60.0
RESTART_MAXIMUM_SECONDS = 300.0
MEMORY_GOAL_MIB = 300


async def measure_operator(world: OperatorWorld, library: World, scale: Scale, say: Say) -> list[Figure]:
    """Measure everything; the world is empty before."""
    bench = Bench(world, scale, say)
    figures: list[Figure] = []
    await _prepare(bench)
    for row in (adopt, restart, rest, notice_change, apply_one, be_fair):
        figures += _say(bench, await row(bench))
    return figures + _say(bench, await copy_many(bench, library))


def _say(bench: Bench, figures: list[Figure]) -> list[Figure]:
    for figure in figures:
        bench.say(f"{figure.row()} {figure.note}".rstrip())
    return figures


async def _prepare(bench: Bench) -> None:
    world, scale = bench.world, bench.scale
    started = time.monotonic()
    await world.prepare(scale.namespaces)
    await world.make_bucket(FROZEN, listing={"interval": "1m"})
    await world.make_bucket(SOURCE, accessMode="ReadOnly", readAccess="Bucket", acknowledgedPrefixes=[""])
    for name in (COPIES, FLOOD):
        await world.make_bucket(name)
    world.store.create_bucket(BARE)
    count = max(scale.copies, scale.flood) + 2 * TURNS
    bench.sources = await world.write_datasets(SOURCE, [""] * count, items=ITEMS)
    bench.say(f"{count:,} datasets to copy: {time.monotonic() - started:.0f} s")


async def adopt(bench: Bench) -> list[Figure]:
    """Have some datasets adopted by the operator, then fill up with objects that look like theirs."""
    world, scale = bench.world, bench.scale
    bodies = await _write_frozen(bench)
    few = bodies[: scale.adopted]
    names = [(body["metadata"]["namespace"], body["metadata"]["name"]) for body in few]
    await asyncio.to_thread(world.start_operator)
    await bench.wait_ready(BUCKET_PLURAL, *((NAMESPACE, name) for name in (FROZEN, SOURCE, COPIES, FLOOD)))
    started = time.monotonic()
    await world.apply(few)
    await bench.wait_ready(DATASET_PLURAL, *names)
    rate = len(few) / (time.monotonic() - started)
    # a bucket that was not listed yet would be told of at the restart
    await bench.wait_listed(NAMESPACE, FROZEN, scale.datasets)
    world.stop_operator()
    started = time.monotonic()
    await world.apply_as_ready(bodies[len(few) :], await world.api.get(DATASET_PLURAL, *names[0]))
    bench.say(f"{len(bodies):,} objects that are Ready: {time.monotonic() - started:.0f} s")
    return [Figure("adopt datasets by uuid", rate, "a second", note=f"{len(few)} at once")]


async def _write_frozen(bench: Bench) -> list[Body]:
    """Write the frozen datasets under prefixes that are owned already; compose their objects."""
    world, scale, started = bench.world, bench.scale, time.monotonic()
    prefixes = await world.own_prefixes(FROZEN)
    places = [world.namespaces[number % scale.namespaces] for number in range(scale.datasets)]
    uuids = await world.write_datasets(FROZEN, [prefixes[place] for place in places], items={})
    bench.say(f"{len(uuids):,} datasets without items: {time.monotonic() - started:.0f} s")
    return [
        world.describe(place, FROZEN, f"frozen-{number:05d}", uuid=uuid)
        for number, (place, uuid) in enumerate(zip(places, uuids, strict=True))
    ]


async def restart(bench: Bench) -> list[Figure]:
    """Start the operator on objects that are as it left them."""
    world = bench.world
    writes, requests = await world.api.count_writes(), bench.s3_requests(FROZEN)
    looks, started = LooksLog(world.log), time.monotonic()
    await asyncio.to_thread(world.start_operator, resync_interval=f"{RESYNC_SECONDS}s")
    synced = time.monotonic() - started
    quiet = await bench.wait_until_quiet(looks, since=started, within=RESTART_MAXIMUM_SECONDS)
    found = difference(writes, await world.api.count_writes())
    asked = difference(requests, bench.s3_requests(FROZEN))
    note = (
        f"synced after {synced:.1f} s; {cpu_seconds(world.pid):.0f} s of CPU; {looks.looks:,} looks at "
        f"{len(looks.names):,} datasets ({tell(looks.outcomes)})"
    )
    return [
        Figure("restart to quiet", quiet, "s", 60, note=note),
        _memory("resident memory after the restart", world.pid),
        Figure("writes to the API server at a restart", sum(found.values()), "", 0, note=tell(found)),
        _requests("S3 requests at a restart, for each dataset", asked, bench),
    ]


async def rest(bench: Bench) -> list[Figure]:
    """Let it be: first between two resyncs, then through one."""
    world, looks = bench.world, LooksLog(bench.world.log)
    writes, requests = await world.api.count_writes(), bench.s3_requests(FROZEN)
    started, cpu = time.monotonic(), cpu_seconds(world.pid)
    while time.monotonic() - started < IDLE_SECONDS and not looks.names:
        looks.read()
        await asyncio.sleep(POLL_SECONDS)
    idle = time.monotonic() - started
    share = (cpu_seconds(world.pid) - cpu) / idle
    idle_asked = difference(requests, bench.s3_requests(FROZEN))
    while time.monotonic() - started < 2 * RESYNC_SECONDS and len(looks.names) < bench.scale.datasets:
        looks.read()
        await asyncio.sleep(POLL_SECONDS)
    found = difference(writes, await world.api.count_writes())
    asked = difference(idle_asked, difference(requests, bench.s3_requests(FROZEN)))
    idle_note = f"{tell(idle_asked)} in {idle:.0f} s, listed every minute; {100 * share:.1f} % of a core"
    resync_note = (
        f"every {RESYNC_SECONDS} s here; {looks.looks:,} looks at {len(looks.names):,} datasets until "
        f"{time.monotonic() - started:.0f} s after the restart was quiet; {tell(asked)}"
    )
    return [
        Figure("S3 requests a minute, idle", sum(idle_asked.values()) * 60 / idle, "", note=idle_note),
        Figure(
            "writes to the API server, idle and in a resync", sum(found.values()), "", 0, note=tell(found)
        ),
        _requests("S3 requests of a resync, for each dataset", asked, bench, resync_note),
        _memory("resident memory after a resync", world.pid),
    ]


async def notice_change(bench: Bench) -> list[Figure]:
    """Edit one dataset among all, and see how long its status takes to tell of it."""
    world, seconds = bench.world, []
    listed = await world.api.list_all(DATASET_PLURAL, world.namespaces[0])
    name = listed[-1]["metadata"]["name"]
    for turn in range(2 * TURNS):
        started = time.monotonic()
        change = {"spec": {"suspend": turn % 2 == 0}}
        body = await world.api.patch(DATASET_PLURAL, world.namespaces[0], name, change)
        await bench.wait_observed(body)
        seconds.append(time.monotonic() - started)
    note = f"median of {len(seconds)}, {max(seconds):.2f} s at most"
    return [Figure("edit of one dataset to its status", statistics.median(seconds), "s", note=note)]


def _memory(what: str, pid: int) -> Figure:
    peak = resident_mib(pid, peak=True)
    return Figure(what, resident_mib(pid), "MiB", MEMORY_GOAL_MIB, note=f"{peak:,.0f} MiB at most")


def _requests(what: str, asked: Mapping[str, int], bench: Bench, note: str = "") -> Figure:
    return Figure(what, sum(asked.values()) / bench.scale.datasets, "", note=note or tell(asked))
