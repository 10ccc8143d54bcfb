"""Copies one dataset in a process of its own, and tells what came of it and how much memory it took.

Reads a JSON document from standard input: `endpoint`, `access_key`, `secret_key`, `source`, `target`,
`source_prefix`, `target_prefix`, `uuid`. Prints one JSON line: `reason` (None: copied), `message`, and of
resident memory `before_mib` and `peak_mib`.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from dtool_s3.errors import DtoolS3Error
from dtool_s3.settings import Credentials, Endpoint, Secret
from dtool_s3.store.s3 import S3Store
from dtool_s3.transfer.engine import CopyRequest, copy_dataset


def resident_mib(field: str) -> float:
    """Return `VmRSS` or `VmHWM` of this process in MiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{field}:")[2].split()[0]) / 1024


async def copy(task: dict[str, Any]) -> dict[str, Any]:
    """Copy; return the line."""
    endpoint, keys = Endpoint(task["endpoint"]), Credentials(task["access_key"], Secret(task["secret_key"]))
    outcome: dict[str, Any] = {"reason": None, "message": ""}
    async with (
        S3Store(endpoint, task["source"], keys) as source,
        S3Store(endpoint, task["target"], keys) as target,
    ):
        await source.check_bucket()  # the client is loaded now
        outcome["before_mib"] = resident_mib("VmRSS")
        request = CopyRequest(task["uuid"], task["source_prefix"], task["target_prefix"], server_side=False)
        try:
            await copy_dataset(source, target, request)
        except DtoolS3Error as error:
            outcome |= {"reason": error.reason, "message": str(error)}
    outcome["peak_mib"] = resident_mib("VmHWM")
    return outcome


if __name__ == "__main__":
    print(json.dumps(asyncio.run(copy(json.load(sys.stdin)))))  # noqa: T201 - its answer
