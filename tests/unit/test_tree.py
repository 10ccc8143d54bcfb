"""What the tree promises that no other test would notice."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]


def test_the_folder_operator_is_no_package() -> None:
    assert not (PROJECT / "operator" / "__init__.py").exists(), (
        "it would hide the standard library's operator"
    )


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("dtool_operator.planning.dataset", ("kopf", "kubernetes", "boto3", "botocore", "obstore")),
        ("dtool_operator.planning.bucket", ("kopf", "kubernetes", "boto3", "botocore", "obstore")),
        ("dtool_s3.storagebroker", ("kopf", "kubernetes", "pydantic", "boto3", "botocore")),
    ],
)
def test_importing_a_module_does_not_load_what_it_must_not_know(
    module: str, unwanted: tuple[str, ...]
) -> None:
    program = f"import sys, {module}; print(*sys.modules)"

    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert set(unwanted).isdisjoint(loaded.stdout.split())


def test_every_scenario_of_the_acceptance_list_names_tests_that_exist() -> None:
    page = (PROJECT / "tests" / "ACCEPTANCE.md").read_text()

    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", page)

    assert len(named) > 20
    for path, test in named:
        text = (PROJECT / path).read_text()
        assert not test or re.search(rf"def {test}\(", text), f"{path} has no {test}"
