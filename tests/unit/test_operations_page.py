"""docs/operations.md and docs/monitoring.md say what settings, metrics and commands are."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from dtool_operator.__main__ import _build_parser
from dtool_operator.commands.rights import list_rights
from dtool_operator.settings import list_settings

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "operations.md"
MONITORING = ROOT / "docs" / "monitoring.md"


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_operations", ROOT / "docs/generate_operations.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tables_are_those_of_the_code(generator: ModuleType) -> None:
    page, monitoring = PAGE.read_text(), MONITORING.read_text()

    assert generator.write_settings(page) == page, "run `make docs`"
    assert generator.write_monitoring(monitoring) == monitoring, "run `make docs`"


@pytest.mark.parametrize("page", [PAGE, MONITORING], ids=lambda page: page.stem)
def test_every_metric_that_a_page_names_exists(generator: ModuleType, page: Path) -> None:
    table = generator.build_metrics_table()

    named = set(re.findall(r"dtool_operator_\w+", page.read_text()))

    assert named
    assert named <= set(re.findall(r"dtool_operator_\w+", table))


def test_every_flag_of_the_table_is_one_of_the_command(generator: ModuleType) -> None:
    flags = re.findall(r"`(--[a-z-]+)`", generator.build_settings_table())

    arguments = [part for flag in flags for part in (flag, "x")]
    parsed = _build_parser().parse_args(["check", *arguments])

    assert len(flags) == len(list_settings())
    assert all(getattr(parsed, name) == "x" for name in list_settings())


def test_the_number_of_rights_on_the_page_is_true() -> None:
    assert f"all {len(list_rights('a', 'b'))} rights of the chart's roles are granted" in PAGE.read_text()
