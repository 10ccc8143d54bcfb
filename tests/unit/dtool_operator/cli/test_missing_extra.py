"""What is installed without the extra `operator` ends in one line that names it, or works without."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[4]
INSTALL = "pip install 'dtool-operator[operator]'"
#: Modules of distributions that are called otherwise.
_MODULES = {"prometheus-client": "prometheus_client", "pyyaml": "yaml"}
_ENTRY_POINTS = {"kubectl-dtool": "dtool_operator.cli.main", "dtool-operator": "dtool_operator.__main__"}


def run_without_extra(program: str, arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one of the programs where no module of the extra can be imported."""
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    names = [Requirement(line).name for line in extra["operator"]]
    blocked = {_MODULES.get(name, name): None for name in names}
    code = (
        f"import sys; sys.modules.update({blocked!r}); "
        f"from {_ENTRY_POINTS[program]} import main; sys.exit(main(sys.argv[1:]))"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *arguments.split()],
        env={"PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("program", "arguments", "module"),
    [
        ("kubectl-dtool", "plan -f derived.yaml -n alice", "pydantic"),
        ("kubectl-dtool", "plan a -n alice", "pydantic"),
        ("kubectl-dtool", "policy lab -n alice", "pydantic"),
        ("kubectl-dtool", "cp dataset/a --to-bucket lab --dry-run", "yaml"),
        ("kubectl-dtool", "cp dataset/a --to-bucket lab --dry-run -o yaml", "yaml"),
        ("dtool-operator", "release-finalizers", "pydantic"),
        ("dtool-operator", "release-finalizers --yes", "pydantic"),
        ("dtool-operator", "check", "pydantic"),
        ("dtool-operator", "run", "pydantic"),
        ("dtool-operator", "transfer task.json", "pydantic"),
        ("dtool-operator", "--help", "pydantic"),
    ],
)
def test_what_needs_the_extra_says_so_in_one_line(program: str, arguments: str, module: str) -> None:
    done = run_without_extra(program, arguments)

    said = f"{program}: the Python module {module} is not installed; run `{INSTALL}`\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", said)


@pytest.mark.parametrize("arguments", ["--help", "cp dataset/a --to-bucket lab --dry-run -o json"])
def test_what_needs_nothing_of_the_extra_works_without(arguments: str) -> None:
    assert run_without_extra("kubectl-dtool", arguments).returncode == 0
