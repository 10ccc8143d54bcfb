"""Does one piece of a volume's work in a process of its own, so that it can be killed or confined.

Reads a JSON document from standard input: `work` (upload, download), `endpoint`, `bucket`, `access_key`,
`secret_key`, `prefix`, `uuid`, `root`, `below`, `dies_at` (None: it does not die). Kills itself once so many
items have arrived; else prints a JSON line at the end with `reason` (None: done), `message` and `moved`.
"""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from dtool_s3.errors import DtoolS3Error
from dtool_s3.files.pace import Pace
from dtool_s3.files.tree import Tree
from dtool_s3.layout import DatasetLayout
from dtool_s3.settings import Credentials, Endpoint, Secret
from dtool_s3.store.s3 import S3Store
from dtool_s3.transfer.progress import Progress
from dtool_s3.volume.download import download_to_directory
from dtool_s3.volume.upload import upload_directory

PACE = Pace(4)


async def work(task: dict[str, Any]) -> dict[str, Any]:
    """Do it; return the last line."""
    endpoint, keys = Endpoint(task["endpoint"]), Credentials(task["access_key"], Secret(task["secret_key"]))

    def die(progress: Progress) -> None:
        if task["dies_at"] is not None and progress.items >= task["dies_at"]:
            os.kill(os.getpid(), signal.SIGKILL)

    layout, tree = DatasetLayout(task["prefix"], task["uuid"]), Tree(Path(task["root"]), task["below"])
    async with S3Store(endpoint, task["bucket"], keys) as store:
        try:
            if task["work"] == "upload":
                moved = (await upload_directory(tree, store, layout, pace=PACE, on_progress=die)).moved
            else:
                moved = (await download_to_directory(store, layout, tree, pace=PACE, on_progress=die)).moved
        except DtoolS3Error as error:
            return {"reason": error.reason, "message": str(error), "moved": 0}
    return {"reason": None, "message": "", "moved": moved}


if __name__ == "__main__":
    os.umask(0o022)
    print(json.dumps(asyncio.run(work(json.load(sys.stdin)))))  # noqa: T201 - its answer
