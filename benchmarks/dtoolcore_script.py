"""What dtool itself does, through whichever broker is installed: ours here, upstream's in its environment.

Imports dtoolcore alone. JSON in, seconds from call to return out.
"""

import json
import pathlib
import sys
import time

import dtoolcore


def copy(source_uri, base_uri):
    """Copy as `dtool cp` does."""
    return lambda: dtoolcore.copy(source_uri, base_uri)


def freeze(base_uri, count, file):
    """Freeze a proto dataset of `count` items that were put one by one."""
    proto = _proto(base_uri, "frozen")
    for number in range(count):
        proto.put_item(file, f"item-{number:06d}.bin")
    return proto.freeze


def freeze_directory(base_uri, name, directory):
    """Freeze a proto dataset of all files in a directory."""
    proto = _proto(base_uri, name)
    for path in sorted(pathlib.Path(directory).iterdir()):
        proto.put_item(str(path), path.name)
    return proto.freeze


def list_datasets(base_uri):
    """Find all datasets with their names, as `dtool ls` does."""
    return lambda: list(dtoolcore.iter_datasets_in_base_uri(base_uri))


def _proto(base_uri, name):
    proto = dtoolcore.generate_proto_dataset(dtoolcore.generate_admin_metadata(name, "olssont"), base_uri)
    proto.create()
    proto.put_readme("description: benchmark\n")
    return proto


TASKS = {task.__name__: task for task in (copy, freeze, freeze_directory, list_datasets)}


if __name__ == "__main__":
    document = json.load(sys.stdin)
    work = TASKS[document.pop("task")](**document)
    started = time.perf_counter()
    work()
    print(json.dumps({"seconds": time.perf_counter() - started}))
