"""Freezing, listing, verifying, and the memory of a large copy."""

from benchmarks.data import Sample, fill_with_datasets
from benchmarks.measurement import OURS, Row
from benchmarks.world import World


def freeze(world: World, *, count: int, upstream_runs: int) -> Row:
    """Freeze items that were put one by one."""
    file = world.make_directory() / "item.bin"
    file.write_bytes(b"0123456789abcdef" * 64)
    buckets = {"ours": world.make_bucket(), "upstream": world.make_bucket()}

    def values(peer: str) -> dict[str, object]:
        return {"base_uri": f"s3://{buckets[peer]}", "count": count, "file": str(file)}

    return Row(
        f"freeze {count} items",
        "≥ 50 × upstream",
        {
            OURS: lambda: world.dtool("freeze", buckets["ours"], **values("ours")),
            "upstream dtool-s3": lambda: world.upstream("freeze", buckets["upstream"], **values("upstream")),
        },
        note="dtoolcore's own freeze on both brokers",
        repeats={"upstream dtool-s3": upstream_runs},
    )


def list_against_upstream(world: World, *, count: int, upstream_runs: int) -> Row:
    """List a bucket that upstream can list in reasonable time."""
    bucket = fill_with_datasets(world, count)
    uri = f"s3://{bucket}"
    return Row(
        f"list {count} datasets",
        "",
        {
            OURS: lambda: world.ours("list_datasets", bucket, base_uri=uri),
            "dtool on our broker": lambda: world.dtool("list_datasets", bucket, base_uri=uri),
            "upstream dtool-s3": lambda: world.upstream("list_datasets", bucket, base_uri=uri),
        },
        repeats={"upstream dtool-s3": upstream_runs},
    )


def list_many(world: World, *, count: int) -> Row:
    """List many datasets, at first and again; the second look is the peer."""
    bucket = fill_with_datasets(world, count)
    uri = f"s3://{bucket}"
    return Row(
        f"list {count} datasets, cold and again",
        "≤ 1.0 s cold",
        {
            OURS: lambda: world.ours("list_datasets", bucket, base_uri=uri),
            "dtool_s3, again": lambda: world.ours("list_again", bucket, base_uri=uri),
        },
    )


def verify_by_listing(world: World, sample: Sample) -> Row:
    """Verify by one listing; nobody else can."""
    return Row(
        f"{sample.name}: verify by listing",
        "⌈N/1000⌉ + c requests",
        {OURS: lambda: world.ours("verify", sample.bucket, uri=sample.uri, method="Listing")},
    )


def verify_by_content(world: World, sample: Sample, *, goal: str) -> Row:
    """Read every byte and hash it."""
    items = f"s3://{sample.objects}/*"
    shell = f"'{world.s5cmd_path}' cat '{items}' | md5sum"
    return Row(
        f"{sample.name}: verify content",
        goal,
        {
            OURS: lambda: world.ours("verify", sample.bucket, uri=sample.uri, method="Content"),
            "s5cmd cat, md5sum": lambda: world.command(shell),
        },
        note="the pipe gives one digest of everything, dtool_s3 one of each item",
    )


def memory(world: World, sample: Sample) -> Row:
    """Copy very many items once, for the memory of it."""
    bucket = world.make_bucket()
    return Row(
        f"{sample.name}: S3 → S3, memory",
        "≤ 250 MiB resident",
        {
            OURS: lambda: world.ours(
                "copy", sample.bucket, bucket, source_uri=sample.uri, base_uri=f"s3://{bucket}"
            )
        },
        repeats={OURS: 1},
    )
