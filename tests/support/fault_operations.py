"""Everything that writes datasets, as operations to be harmed at any request; owns their old states.

What must hold afterwards is in `fault_judgement.py`.
"""

from dataclasses import replace

import dtoolcore

from dtool_s3.blocking import run
from dtool_s3.disk.upload import upload_dataset
from dtool_s3.files.upload import upload_file
from dtool_s3.ingestion.engine import ingest_objects
from dtool_s3.ingestion.plan import IngestRequest
from dtool_s3.layout import item_identifier
from dtool_s3.registration import register_found
from dtool_s3.transfer.engine import CopyRequest, copy_dataset
from dtool_s3.transfer.parts import PartLimits
from dtool_s3.transfer.removal import remove_dataset
from tests.support.datasets import DatasetFixture, write_dataset
from tests.support.fault_judgement import PREFIX, Action, Operation, Scene

README = "---\ndescription: old\n"
NEW_README = "---\ndescription: new\n"
FROZEN = DatasetFixture(
    items={"a.txt": b"alpha", "ünï/b.bin": bytes(range(200))},
    prefix=PREFIX,
    readme=README,
    tags=("blue",),
    annotations={"project": "atlas"},
    overlays={"length": {item_identifier("a.txt"): 5, item_identifier("ünï/b.bin"): 200}},
)
_CREATED_AT = 1795329207.5

# The operations. Those that move several items move one at a time: another's request, which nobody waits for
# once one has failed, might be carried out between two looks.


def _nothing(_: Scene) -> None:
    """Begin with an empty place."""


def _proto(scene: Scene) -> None:
    bench = scene.calmly().bench
    proto = bench.proto()
    proto._admin_metadata["created_at"] = _CREATED_AT
    proto.create()
    proto.put_readme(README)
    for relpath, body in FROZEN.items.items():
        proto.put_item(bench.file(body), relpath)
        proto.add_item_metadata(relpath, "length", len(body))
    proto.put_tag("blue")


def _frozen(scene: Scene) -> None:
    run(write_dataset(scene.calm, replace(FROZEN, uuid=scene.uuid)))


def _source(scene: Scene) -> None:
    run(write_dataset(scene.calm_source, replace(FROZEN, uuid=scene.uuid, prefix="")))


def _create(scene: Scene) -> None:
    """Create, or go on where a creation was interrupted, as `dtool create` and then `dtool readme` do."""
    proto = scene.bench.proto()
    proto._admin_metadata["created_at"] = _CREATED_AT
    if not scene.bench.broker().has_admin_metadata():
        proto.create()
    proto.put_readme(README)


def _put_small(scene: Scene) -> None:
    scene.bench.proto().put_item(scene.bench.file(b"late"), "späte/late.txt")


def _put_large(scene: Scene) -> None:
    path = scene.bench.file(scene.large_body, "large.bin")
    run(upload_file(scene.way, scene.layout, path, "large.bin", chunk_bytes=scene.part_bytes))


def _copy(*, server_side: bool = True) -> Action:
    def act(scene: Scene) -> None:
        limits = PartLimits(scene.part_bytes, scene.part_bytes, min_part_bytes=scene.part_bytes)
        request = CopyRequest(
            scene.uuid,
            "",
            PREFIX,
            server_side=server_side,
            concurrency=1,
            limits=limits,
            pause_seconds=0.0,
        )
        run(copy_dataset(scene.source, scene.way, request))

    return act


def _large_source(scene: Scene) -> None:
    large = replace(FROZEN, uuid=scene.uuid, prefix="", items={"large.bin": scene.large_body}, overlays={})
    run(write_dataset(scene.calm_source, large))


def _on_disk(scene: Scene) -> None:
    admin = scene.bench.admin_metadata(created_at=_CREATED_AT)
    proto = dtoolcore.generate_proto_dataset(admin, scene.directory.as_uri())
    proto.create()
    proto.put_readme(README)
    for relpath, body in FROZEN.items.items():
        proto.put_item(scene.bench.file(body), relpath)
    proto.put_tag("blue")
    proto.put_annotation("project", "atlas")
    proto.freeze()


def _upload(scene: Scene) -> None:
    (uri,) = dtoolcore.storagebroker.DiskStorageBroker.list_dataset_uris(scene.directory.as_uri(), None)
    run(upload_dataset(uri, scene.way, PREFIX, concurrency=1))


def _objects(scene: Scene) -> None:
    for relpath, body in FROZEN.items.items():
        run(scene.calm_source.put(f"raw/{scene.uuid}/{relpath}", body))


def _ingest(scene: Scene) -> None:
    request = IngestRequest(
        scene.uuid,
        f"raw/{scene.uuid}/",
        PREFIX,
        "sample",
        "olssont",
        README,
        concurrency=1,
        pause_seconds=0.0,
    )
    run(ingest_objects(scene.source, scene.way, request, clock=lambda: _CREATED_AT))


def _unregistered(scene: Scene) -> None:
    _frozen(scene)
    run(scene.calm.delete(scene.layout.registration_key))


OPERATIONS = (
    Operation("create", _nothing, _create),
    Operation("put a small item", _proto, _put_small),
    Operation("put an item in parts", _proto, _put_large),
    Operation(
        "put item metadata", _proto, lambda s: s.bench.proto().add_item_metadata("a.txt", "more", {"x": 1})
    ),
    Operation("freeze", _proto, lambda s: s.bench.proto().freeze()),
    Operation("copy on the server", _source, _copy()),
    Operation("copy through the client", _source, _copy(server_side=False), own="/data/"),
    Operation("copy in parts on the server", _large_source, _copy(), own="uploadId="),
    Operation("copy from disk", _on_disk, _upload, own="/data/"),
    Operation("ingest", _objects, _ingest, own="/data/"),
    Operation("register", _unregistered, lambda s: run(register_found(s.way, s.layout)), ("nothing",)),
    Operation("tag", _frozen, lambda s: s.bench.frozen().put_tag("late"), ("tags/late",)),
    Operation("delete a tag", _frozen, lambda s: s.bench.frozen().delete_tag("blue"), ("tags/blue",)),
    Operation(
        "annotate", _frozen, lambda s: s.bench.frozen().put_annotation("by", "us"), ("annotations/by.json",)
    ),
    Operation(
        "put an overlay",
        _frozen,
        lambda s: s.bench.frozen().put_overlay(
            "late", {item_identifier(relpath): 1 for relpath in FROZEN.items}
        ),
        ("overlays/late.json",),
    ),
    Operation(
        "update the README", _frozen, lambda s: s.bench.frozen().put_readme(NEW_README), ("README.yml",)
    ),
    Operation("rename", _frozen, lambda s: s.bench.frozen().update_name("other"), ("dtool",)),
    Operation("remove", _frozen, lambda s: run(remove_dataset(s.way, s.layout, only_proto=False))),
)
