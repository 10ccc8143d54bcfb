"""Copies: between buckets, from disk and to disk, of many small items and of few large ones."""

import shutil
from collections.abc import Callable

from benchmarks.data import Sample
from benchmarks.measurement import OURS, Measurement, Row
from benchmarks.world import World

_BARE = "the command line tools copy bare files; dtool_s3 and upstream end with a frozen dataset"


def between_buckets(world: World, sample: Sample, *, goal: str, upstream_runs: int) -> Row:
    """S3 to S3."""

    def engine(bucket: str) -> Measurement:
        return world.ours("copy", sample.bucket, bucket, source_uri=sample.uri, base_uri=f"s3://{bucket}")

    def upstream(bucket: str) -> Measurement:
        shutil.rmtree(world.directory / "cache", ignore_errors=True)
        return world.upstream("copy", sample.bucket, bucket, source_uri=sample.uri, base_uri=f"s3://{bucket}")

    return Row(
        f"{sample.name}: S3 → S3",
        goal,
        {
            OURS: _into_bucket(world, engine),
            "s5cmd": _into_bucket(
                world, lambda b: world.s5cmd("cp", f"s3://{sample.objects}/*", f"s3://{b}/data/")
            ),
            "rclone": _into_bucket(
                world, lambda b: world.rclone("copy", f"S3:{sample.objects}", f"S3:{b}/data")
            ),
            "upstream dtool-s3": _into_bucket(world, upstream),
        },
        note=_BARE,
        repeats={"upstream dtool-s3": upstream_runs},
    )


def from_disk(world: World, sample: Sample, *, goal: str, upstream_runs: int) -> Row:
    """Disk to S3."""

    def copy(run: Callable[..., Measurement]) -> Callable[[], Measurement]:
        return _into_bucket(world, lambda b: run("copy", b, source_uri=sample.disk_uri, base_uri=f"s3://{b}"))

    return Row(
        f"{sample.name}: disk → S3",
        goal,
        {
            OURS: copy(world.ours),
            "dtool on our broker": copy(world.dtool),
            "s5cmd": _into_bucket(world, lambda b: world.s5cmd("cp", f"{sample.files}/", f"s3://{b}/data/")),
            "rclone": _into_bucket(world, lambda b: world.rclone("copy", str(sample.files), f"S3:{b}/data")),
            "upstream dtool-s3": copy(world.upstream),
        },
        note=_BARE,
        repeats={"upstream dtool-s3": upstream_runs, "dtool on our broker": upstream_runs},
    )


def to_disk(world: World, sample: Sample, *, goal: str, upstream_runs: int) -> Row:
    """S3 to disk."""

    def copy(run: Callable[..., Measurement]) -> Callable[[], Measurement]:
        def measure() -> Measurement:
            shutil.rmtree(world.directory / "cache", ignore_errors=True)
            directory = world.make_directory()
            try:
                return run("copy", sample.bucket, source_uri=sample.uri, base_uri=directory.as_uri())
            finally:
                shutil.rmtree(directory)

        return measure

    def bare(run: Callable[[str], Measurement]) -> Callable[[], Measurement]:
        def measure() -> Measurement:
            directory = world.make_directory()
            try:
                return run(f"{directory}/")
            finally:
                shutil.rmtree(directory)

        return measure

    return Row(
        f"{sample.name}: S3 → disk",
        goal,
        {
            OURS: copy(world.ours),
            "s5cmd": bare(lambda d: world.s5cmd("cp", f"s3://{sample.objects}/*", d)),
            "rclone": bare(lambda d: world.rclone("copy", f"S3:{sample.objects}", d)),
            "upstream dtool-s3": copy(world.upstream),
        },
        note=f"{_BARE}; only dtool_s3 hashes what arrives",
        repeats={"upstream dtool-s3": upstream_runs},
    )


def _into_bucket(world: World, run: Callable[[str], Measurement]) -> Callable[[], Measurement]:
    """Run into an empty bucket, and delete it afterwards."""

    def measure() -> Measurement:
        bucket = world.make_bucket()
        try:
            return run(bucket)
        finally:
            world.drop_bucket(bucket)

    return measure
