"""The page about security names tests that exist, and every test of this directory's attacks is on it."""

import re
from pathlib import Path

PROJECT = Path(__file__).parents[2]
PAGE = (PROJECT / "docs" / "security.md").read_text()
#: Tests that only complete one which the page names.
BESIDE = {
    "test_a_giant_readme_is_refused_where_it_is_read_and_compared_by_its_size",
    "test_an_annotation_that_grows_when_it_is_written_is_its_owners_trouble_alone",
    "test_an_object_cannot_be_made_with_a_status",
    "test_many_annotations_have_one_bound_together",
    "test_no_code_of_the_product_reads_yaml_but_an_administrators",
}


def rows() -> list[list[str]]:
    lines = [line for line in PAGE.splitlines() if line.startswith("| ")]
    return [line.strip("| ").split(" | ") for line in lines if not line.startswith("| what a tenant")]


def test_every_row_says_what_is_tried_what_stops_it_and_names_a_test_that_exists() -> None:
    assert len(rows()) > 50
    for row in rows():
        assert len(row) == 3, row
        named = re.fullmatch(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", row[2])
        assert named, row
        text = (PROJECT / named[1]).read_text()
        assert not named[2] or re.search(rf"def {named[2]}\(", text), row


def test_every_attack_is_on_the_page() -> None:
    defined = {
        name
        for path in Path(__file__).parent.glob("test_*.py")
        if path != Path(__file__)
        for name in re.findall(r"^(?:async )?def (test_\w+)\(", path.read_text(), re.MULTILINE)
    }

    assert {name for name in defined if name not in PAGE} == BESIDE
