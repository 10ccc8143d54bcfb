"""A program for the contract tests that uses dtoolcore alone: it runs in our and in upstream's environment.

Reads one JSON document from standard input, writes one to standard output.
"""

import functools
import json
import sys

import dtoolcore


def write(  # noqa: PLR0917 - the fields of one document
    base_uri, admin, items, metadata, readme, tags, annotations, overlays, is_frozen=True
):
    """Write a dataset from local files; `admin` are all of its administrative metadata."""
    proto = dtoolcore.generate_proto_dataset(admin, base_uri)
    proto.create()
    proto.put_readme(readme)
    for relpath, path in items.items():
        proto.put_item(path, relpath)
        for key, value in metadata.items():
            proto.add_item_metadata(relpath, key, value)
    for tag in tags:
        proto.put_tag(tag)
    for name, value in annotations.items():
        proto.put_annotation(name, value)
    if not is_frozen:
        return proto.uri
    proto.freeze()
    dataset = dtoolcore.DataSet.from_uri(proto.uri)
    for name, value in overlays.items():
        dataset.put_overlay(name, dict.fromkeys(dataset.identifiers, value))
    return proto.uri


def read(uri):
    """Read everything of a frozen dataset but the bytes, of which it gives the paths of local copies."""
    dataset = dtoolcore.DataSet.from_uri(uri)
    return {
        "admin": dataset.admin_metadata,
        "manifest": dataset._manifest,
        "generated": dataset.generate_manifest()["items"],
        "paths": {i: dataset.item_content_abspath(i) for i in dataset.identifiers},
        "readme": dataset.get_readme_content(),
        "tags": sorted(dataset.list_tags()),
        "annotations": {name: dataset.get_annotation(name) for name in dataset.list_annotation_names()},
        "overlays": {name: dataset.get_overlay(name) for name in dataset.list_overlay_names()},
    }


def states(uris):
    """Tell of each place whether it is a dataset, and read everything of those that are."""
    share_clients()
    return [state(uri) for uri in uris]


def state(uri):
    """Read a place as `dtool` does: a frozen dataset, one being written, or (None) neither."""
    if not dtoolcore._is_dataset(uri, None):
        return None
    kind = dtoolcore._admin_metadata_from_uri(uri, None)["type"]
    if kind == "protodataset":
        proto = dtoolcore.ProtoDataSet.from_uri(uri)
        return {"type": kind, "hashes": hashes(proto.generate_manifest())}
    dataset = dtoolcore.DataSet.from_uri(uri)
    return {
        "type": kind,
        "hashes": hashes(dataset._manifest),
        "is_complete": sizes(dataset._manifest) == sizes(dataset.generate_manifest()),
        "readme": dataset.get_readme_content(),
        "tags": sorted(dataset.list_tags()),
        "annotations": {name: dataset.get_annotation(name) for name in dataset.list_annotation_names()},
        "overlays": {name: dataset.get_overlay(name) for name in dataset.list_overlay_names()},
    }


def hashes(manifest):
    """Return {identifier: hash} of a manifest."""
    return {i: item["hash"] for i, item in manifest["items"].items()}


def sizes(manifest):
    """Return {identifier: (hash, size)} of a manifest: what `dtool verify --full` compares."""
    return {i: (item["hash"], item["size_in_bytes"]) for i, item in manifest["items"].items()}


def share_clients():
    """Let upstream's brokers of one bucket share their clients: making them costs 0.3 s, here per dataset."""
    from dtool_s3.storagebroker import S3StorageBroker

    if hasattr(S3StorageBroker, "_get_resource_and_client"):
        make = S3StorageBroker._get_resource_and_client
        S3StorageBroker._get_resource_and_client = staticmethod(functools.lru_cache(make))


def change(uri, readme, tag, annotation):
    """Change what may be changed of a frozen dataset."""
    dataset = dtoolcore.DataSet.from_uri(uri)
    dataset.put_readme(readme)
    dataset.put_tag(tag)
    dataset.put_annotation(annotation, {"by": "script"})
    return True


def finish(uri, items):
    """Add items to a proto dataset that somebody else began, and freeze it."""
    proto = dtoolcore.ProtoDataSet.from_uri(uri)
    for relpath, path in items.items():
        proto.put_item(path, relpath)
    proto.freeze()
    return uri


def copy(source, target):
    """Copy a dataset with dtoolcore's own function."""
    return dtoolcore.copy(source, target)


if __name__ == "__main__":
    document = json.load(sys.stdin)
    tasks = (write, read, states, change, finish, copy)
    task = {each.__name__: each for each in tasks}[document.pop("task")]
    json.dump(task(**document), sys.stdout)
