"""Writes what the chart makes of tests/chart/values: `python -m tests.chart.cases`; read the difference."""

import sys
from pathlib import Path
from typing import Any

import yaml

from tests.support.chart import render_text

HERE = Path(__file__).parent
CASES = sorted(path.stem for path in (HERE / "values").glob("*.yaml"))


def read_values(case: str) -> dict[str, Any]:
    """Return the values of a case."""
    return dict(yaml.safe_load((HERE / "values" / f"{case}.yaml").read_text()))


def golden_file(case: str) -> Path:
    """Name the file that says what is expected of a case."""
    return HERE / "golden" / f"{case}.yaml"


def main() -> int:
    """Write all of them."""
    for case in CASES:
        golden_file(case).write_text(render_text(read_values(case)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
