"""Deciding needs no S3 client, no Kubernetes client, no clock: the planner loads none of them."""

import subprocess
import sys

import pytest

CODE = """
import sys
import dtool_operator.planning.{module}
print(sorted({{"boto3", "botocore", "kopf", "kubernetes", "obstore"}} & set(sys.modules)))
"""


@pytest.mark.parametrize("module", ["bucket", "dataset"])
def test_importing_the_planner_loads_no_client(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(module=module)], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "[]"
