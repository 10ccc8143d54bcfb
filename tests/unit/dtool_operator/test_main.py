"""The command line: what it refuses, and what a worker does not load."""

import subprocess
import sys
from pathlib import Path

import pytest

from dtool_operator.__main__ import main


def test_a_command_is_required(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([])

    assert ended.value.code == 2
    assert "usage: dtool-operator" in capsys.readouterr().err


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])

    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("dtool-operator 0.")


def test_a_wrong_setting_is_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--max-transfers", "many"]) == 2

    assert capsys.readouterr().err == (
        "dtool-operator: --max-transfers: must be a whole number from 1 to 1000\n"
    )


def test_a_worker_loads_neither_kopf_nor_a_kubernetes_client(tmp_path: Path) -> None:
    program = (
        "import sys; from dtool_operator.__main__ import main; "
        f"code = main(['transfer', {str(tmp_path / 'missing.json')!r}]); "
        "print(code, sorted({'kopf', 'kubernetes', 'aiohttp', 'boto3'} & sys.modules.keys()))"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "2 []"
