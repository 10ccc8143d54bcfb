"""The datasets that the rows work on: the same random bytes for every peer."""

import os
import uuid
from dataclasses import dataclass
from pathlib import Path

import dtoolcore

from benchmarks.world import World


@dataclass(frozen=True, slots=True)
class Sample:
    """A frozen dataset on disk and, copied from there, in a bucket."""

    name: str
    disk_uri: str
    bucket: str
    files: Path

    @property
    def uuid(self) -> str:
        """UUID of both copies."""
        found: str = dtoolcore.DataSet.from_uri(self.disk_uri).uuid
        return found

    @property
    def uri(self) -> str:
        """URI of the one in the bucket."""
        return f"s3://{self.bucket}/{self.uuid}"

    @property
    def objects(self) -> str:
        """Its items as bare objects, for the command line tools; no prefix is configured."""
        return f"{self.bucket}/{self.uuid}/data"


def make_sample(world: World, name: str, *, count: int, size_bytes: int) -> Sample:
    """Make a dataset of `count` files of random bytes."""
    raw = world.make_directory()
    for number in range(count):
        (raw / f"{name}-{number:06d}.bin").write_bytes(os.urandom(size_bytes))
    base = world.make_directory()
    world.dtool("freeze_directory", base_uri=base.as_uri(), name=name, directory=str(raw))
    bucket = world.make_bucket()
    disk_uri = (base / name).as_uri()
    world.ours("copy", bucket, source_uri=disk_uri, base_uri=f"s3://{bucket}")
    return Sample(name, disk_uri, bucket, base / name / "data")


def fill_with_datasets(world: World, count: int) -> str:
    """Make a bucket with `count` frozen datasets of no items; return its name."""
    source, nothing = world.make_directory(), world.make_directory()
    world.dtool("freeze_directory", base_uri=source.as_uri(), name="empty", directory=str(nothing))
    template = world.make_bucket()
    world.ours("copy", template, source_uri=(source / "empty").as_uri(), base_uri=f"s3://{template}")
    client, bucket = world.client(), world.make_bucket()
    old = dtoolcore.DataSet.from_uri((source / "empty").as_uri()).uuid
    found = [
        client.get_object(Bucket=template, Key=entry["Key"]) | {"Key": entry["Key"]}
        for entry in client.list_objects_v2(Bucket=template)["Contents"]
    ]
    bodies = [(each["Key"], each["Body"].read(), each["Metadata"]) for each in found]
    for _ in range(count):
        new = str(uuid.uuid4())
        for key, body, metadata in bodies:
            client.put_object(
                Bucket=bucket,
                Key=key.replace(old, new),
                Body=body.replace(old.encode(), new.encode()),
                Metadata={name: value.replace(old, new) for name, value in metadata.items()},
            )
    return bucket
