"""Every rule of the API has tests that name it: `rule_6` in a test's name, or `rule 6` in its text.

A test's text is its own source and the docstring of its module; those of helpers do not count.
"""

import ast
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

TESTS = Path(__file__).parents[1]
RULES = range(1, 24)

_CITED = re.compile(r"\brules? (\d+(?:(?:, | and |, and | to )\d+)*)", re.IGNORECASE)


def read_numbers(text: str) -> set[int]:
    """Return the rules that a text names; "rules 1 to 3" and "rules 8, 9 and 17" name three."""
    found: set[int] = set()
    for words in _CITED.findall(text):
        numbers = [int(number) for number in re.findall(r"\d+", words)]
        if " to " in words:
            numbers = list(range(numbers[0], numbers[-1] + 1))
        found.update(numbers)
    return found


def read_name(name: str) -> set[int]:
    """Return the rules that a test's name has."""
    return {int(number) for number in re.findall(r"rule_(\d+)", name)}


@cache
def list_citations() -> dict[int, tuple[str, ...]]:
    """Read all tests, without importing them; return by rule which name it."""
    found: defaultdict[int, list[str]] = defaultdict(list)
    for path in sorted(TESTS.rglob("test_*.py")):
        if path == Path(__file__):
            continue
        source = path.read_text()
        tree, lines = ast.parse(source), source.splitlines()
        about = read_numbers(ast.get_docstring(tree) or "")
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                own = read_name(node.name) | read_numbers("\n".join(lines[node.lineno - 1 : node.end_lineno]))
                for number in about | own:
                    found[number].append(f"{path.relative_to(TESTS)}::{node.name}")
    return {number: tuple(tests) for number, tests in sorted(found.items())}


def write_table() -> str:
    """Write how many tests name each rule, and the first of them."""
    citations = list_citations()
    lines = (
        f"{number:>4} {len(citations.get(number, ())):>5}  {', '.join(citations.get(number, ('none',))[:3])}"
        for number in sorted({*RULES, *citations})
    )
    return "\n".join(("rule tests", *lines))


def test_every_rule_is_named_by_a_test_and_no_other_rule_is() -> None:
    assert set(list_citations()) == set(RULES), f"\n{write_table()}"


def test_ranges_and_lists_of_rules_are_read() -> None:
    assert read_numbers("Rules 1 to 3, and rule 7; rules 8, 9 and 17") == {1, 2, 3, 7, 8, 9, 17}
    assert read_numbers("no rules here, in 4 words") == set()
    assert read_name("test_rule_11_and_rule_4_hold") == {4, 11}
