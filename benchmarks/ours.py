"""The library's own functions: one task in a process of its own.

JSON in; out come seconds from call to return, requests to S3 and the process's memory.
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

from dtool_s3 import sync
from dtool_s3.transfer.verify import VerifyMethod

Work = Callable[[], Any]


def copy(source_uri: str, base_uri: str) -> Work:
    """Copy a dataset."""
    return lambda: sync.copy(source_uri, base_uri)


def list_datasets(base_uri: str) -> Work:
    """Find all datasets with their names."""
    return lambda: sync.list_datasets(base_uri)


def list_again(base_uri: str) -> Work:
    """Find them again, knowing the last result."""
    known = sync.list_datasets(base_uri)
    return lambda: sync.list_datasets(base_uri, previous=known)


def verify(uri: str, method: str) -> Work:
    """Verify a dataset by listing it or by reading every byte."""
    return lambda: sync.verify(uri, method=VerifyMethod(method))


TASKS: dict[str, Callable[..., Work]] = {
    task.__name__: task for task in (copy, list_datasets, list_again, verify)
}


def main() -> None:
    """Run the task on standard input."""
    document = json.load(sys.stdin)
    work = TASKS[document.pop("task")](**document)
    started = time.perf_counter()
    work()
    seconds = time.perf_counter() - started
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "MiB resident": memory}))


if __name__ == "__main__":
    main()
