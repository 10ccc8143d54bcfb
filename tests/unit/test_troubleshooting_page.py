"""docs/troubleshooting.md lists every reason, with the words of the code and what to do."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from dtool_operator.api.reasons import Reason

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    path = ROOT / "docs" / "generate_troubleshooting.py"
    spec = importlib.util.spec_from_file_location("generate_troubleshooting", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_its_generator_writes(generator: ModuleType) -> None:
    assert generator.write_page(PAGE) == PAGE, "run `make docs`"


def test_every_reason_has_words_on_what_to_do(generator: ModuleType) -> None:
    assert generator.find_unexplained() == set(), "say what to do in docs/troubleshooting.yaml"


def test_every_reason_is_a_heading_that_can_be_linked_to_and_no_other_is() -> None:
    headings = re.findall(r"^### (\S+)$", PAGE.partition("# Reasons")[2], re.MULTILINE)

    assert sorted(headings) == sorted(str(reason) for reason in Reason)


def test_words_for_reasons_that_do_not_exist_are_noticed(generator: ModuleType) -> None:
    known = {str(reason) for reason in Reason}

    assert [
        name for section in generator.read_remedies().values() for name in section if name not in known
    ] == []
