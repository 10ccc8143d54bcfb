"""The shape of prefixes and prefix templates."""

import pytest

from dtool_operator.api.prefixes import check_prefix, check_prefix_template


@pytest.mark.parametrize(
    "prefix", ["", "u/", "u/olssont/", "archive/2019/", "with space/", "..a/", "u/…/", "Dtool/"]
)
def test_a_prefix_is_empty_or_whole_segments(prefix: str) -> None:
    assert check_prefix(prefix) == prefix


@pytest.mark.parametrize(
    ("prefix", "rule"),
    [
        ("u", "end in '/'"),
        ("/", "end in '/'"),
        ("/u/", "end in '/'"),
        ("u//v/", "end in '/'"),
        ("u/{namespace}/", "end in '/'"),
        ("u\n/", "end in '/'"),
        ("u/\n", "end in '/'"),
        ("u/\x7f/", "end in '/'"),
        ("./", "'.' or '..'"),
        ("u/../", "'.' or '..'"),
        ("dtool/", "'dtool'"),
        ("dtool-x/", "'dtool'"),
    ],
)
def test_a_prefix_of_another_shape_is_refused_with_the_rule(prefix: str, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        check_prefix(prefix)


@pytest.mark.parametrize("template", ["", "u/", "u/{namespace}/", "a/b/{namespace}/c/"])
def test_a_template_may_have_the_namespace_as_a_segment(template: str) -> None:
    assert check_prefix_template(template) == template


@pytest.mark.parametrize(
    "template",
    [
        "{namespace}/",
        "u/{namespace}",
        "u/x{namespace}/",
        "u/{namespace}x/",
        "u/{name}/",
        "u/{namespace}/{namespace}/",
    ],
)
def test_a_template_has_the_namespace_nowhere_else(template: str) -> None:
    with pytest.raises(ValueError, match="a segment of its own"):
        check_prefix_template(template)
