"""Who may keep datasets where: derived prefixes, admission, overlaps, endpoints, readable prefixes."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dtool_operator.api.bucket import DtoolBucketSpec, LabelSelector
from dtool_operator.planning import prefix_policy
from dtool_operator.planning.prefix_policy import could_overlap, derive_prefix, endpoint_key, find_winner
from tests.support import observed as see
from tests.support.observed import bucket, changed

NAMESPACES = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,8}[a-z0-9])?", fullmatch=True)
SEGMENTS = st.one_of(
    NAMESPACES, st.text(st.characters(blacklist_characters="/{}", codec="utf-8"), max_size=5)
)


@st.composite
def templates(draw: st.DrawFn, *, is_shared: bool = False) -> str:
    """Prefix templates that the API takes; shared ones hold {namespace}."""
    segments = draw(st.lists(SEGMENTS, min_size=int(is_shared), max_size=3))
    if is_shared or (segments and draw(st.booleans())):
        segments.insert(draw(st.integers(1, len(segments))), "{namespace}")
    template = "".join(f"{segment}/" for segment in segments)
    try:
        DtoolBucketSpec.model_validate({"bucket": "lab-data", "prefixTemplate": template})
    except ValueError:
        assume(False)
    return template


def spec_with(template: str) -> DtoolBucketSpec:
    return DtoolBucketSpec.model_validate({"bucket": "lab-data", "prefixTemplate": template})


@given(templates(), NAMESPACES)
def test_a_derived_prefix_never_leaves_its_template(template: str, namespace: str) -> None:
    prefix = derive_prefix(spec_with(template), namespace)

    segments = prefix.split("/")
    assert segments[-1] == ""
    assert not {"", ".", ".."} & set(segments[:-1])
    assert not prefix.startswith(("/", "dtool"))
    assert len(segments) == len(template.split("/"))
    for segment, pattern in zip(segments, template.split("/"), strict=True):
        assert segment == (namespace if pattern == "{namespace}" else pattern)


@given(templates(is_shared=True), NAMESPACES, NAMESPACES)
def test_two_namespaces_never_share_or_nest_prefixes(template: str, one: str, other: str) -> None:
    assume(one != other)
    first, second = (derive_prefix(spec_with(template), name) for name in (one, other))

    assert not first.startswith(second)
    assert not second.startswith(first)


@given(templates(), templates())
def test_overlap_is_symmetric(one: str, other: str) -> None:
    assert could_overlap(one, other) == could_overlap(other, one)


@given(templates(), templates(), NAMESPACES, NAMESPACES)
def test_templates_overlap_whenever_two_namespaces_prefixes_nest(
    one: str, other: str, first: str, second: str
) -> None:
    here, there = derive_prefix(spec_with(one), first), derive_prefix(spec_with(other), second)

    if here.startswith(there) or there.startswith(here):
        assert could_overlap(one, other)


@given(st.data())
def test_templates_overlap_only_if_some_namespaces_prefixes_nest(data: st.DataObject) -> None:
    one, other = data.draw(templates()), data.draw(templates())
    names = {
        segment for segment in f"{one}{other}".split("/") if prefix_policy._NAMESPACE_NAME.fullmatch(segment)
    }

    if could_overlap(one, other):
        tries = [*names, "any"]
        pairs = [
            (derive_prefix(spec_with(one), a), derive_prefix(spec_with(other), b))
            for a in tries
            for b in tries
        ]
        assert any(a.startswith(b) or b.startswith(a) for a, b in pairs)


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        ("u/{namespace}/", "u/{namespace}/", True),
        ("u/{namespace}/", "v/{namespace}/", False),
        ("u/{namespace}/", "u/{namespace}/x/", True),
        ("u/{namespace}/", "u/alice/", True),
        ("u/{namespace}/", "u/Archive/", False),
        ("u/{namespace}/x/", "u/alice/y/", False),
        ("a/{namespace}/x/", "a/x/{namespace}/", True),
        ("", "u/{namespace}/", True),
        ("u/", "u/{namespace}/", True),
        ("u1/", "u/", False),
        ("", "", True),
    ],
)
def test_whether_two_templates_overlap(one: str, other: str, overlap: bool) -> None:
    assert could_overlap(one, other) is overlap


@pytest.mark.parametrize(
    ("selector", "labels", "is_match"),
    [
        ({}, {}, True),
        ({"matchLabels": {"a": "1"}}, {"a": "1", "b": "2"}, True),
        ({"matchLabels": {"a": "1"}}, {"a": "2"}, False),
        ({"matchLabels": {"a": ""}}, {}, False),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "2"]}]}, {"a": "2"}, True),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1"]}]}, {}, False),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, {}, True),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, {"a": "1"}, False),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, {"a": ""}, True),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, {}, False),
        ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, {}, True),
        ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, {"a": ""}, False),
        (
            {"matchLabels": {"b": "1"}, "matchExpressions": [{"key": "a", "operator": "Exists"}]},
            {"b": "1"},
            False,
        ),
    ],
)
def test_a_selector_means_what_it_means_to_kubernetes(
    selector: dict[str, Any], labels: Mapping[str, str], is_match: bool
) -> None:
    assert prefix_policy.matches(LabelSelector.model_validate(selector), labels) is is_match


@pytest.mark.parametrize(
    ("allowed", "admitted"),
    [
        ({"from": "Same"}, {"dtool-system"}),
        ({"from": "All"}, {"dtool-system", "alice", "mallory"}),
        (see.ADMITTED, {"alice"}),
    ],
)
def test_a_bucket_admits_the_namespaces_it_says(allowed: dict[str, Any], admitted: set[str]) -> None:
    one = bucket(allowedNamespaces=allowed)
    labels = {"alice": {"lab": "true"}}

    found = {
        name
        for name in ("dtool-system", "alice", "mallory")
        if prefix_policy.is_admitted(one, name, labels.get(name, {}))
    }

    assert found == admitted


@pytest.mark.parametrize(
    ("access", "prefix", "may_read"),
    [
        ("Prefix", "u/alice/", True),
        ("Prefix", "u/bob/", False),
        ("Prefix", "", False),
        ("Bucket", "u/bob/", True),
    ],
)
def test_other_prefixes_are_read_only_with_read_access_to_the_bucket(
    access: str, prefix: str, may_read: bool
) -> None:
    assert prefix_policy.may_read(bucket(readAccess=access), "alice", prefix) is may_read


@pytest.mark.parametrize(
    ("endpoint", "key"),
    [
        (None, "aws"),
        ("https://S3.Example.org", "https://s3.example.org"),
        ("https://s3.example.org/", "https://s3.example.org"),
        ("https://s3.example.org:443", "https://s3.example.org"),
        ("http://s3.example.org:80/", "http://s3.example.org"),
        ("http://s3.example.org:443", "http://s3.example.org:443"),
        ("https://s3.example.org:8443", "https://s3.example.org:8443"),
        ("http://[::1]:9000", "http://[::1]:9000"),
    ],
)
def test_endpoints_are_compared_by_scheme_host_and_port(endpoint: str | None, key: str) -> None:
    assert endpoint_key(bucket(endpoint=endpoint).spec) == key


def test_the_word_aws_stands_for_aws_in_a_list_of_endpoints() -> None:
    assert prefix_policy.normalize_endpoint("aws") == "aws"


ADMINS = frozenset({see.ADMIN})
OLD = changed(bucket("old"), age=1)
YOUNG = changed(bucket("young"), age=2)
TEAM = changed(bucket("team", "alice"), age=0)


@pytest.mark.parametrize(
    ("one", "others", "winner"),
    [
        (YOUNG, [OLD], "dtool-system/old"),
        (OLD, [YOUNG], None),
        (OLD, [OLD], None),
        (TEAM, [YOUNG], "dtool-system/young"),
        (YOUNG, [TEAM], None),
        (changed(YOUNG, age=1, uid="z"), [changed(OLD, uid="a")], "dtool-system/old"),
        (changed(YOUNG, age=1, uid="a"), [changed(OLD, uid="b")], None),
        (YOUNG, [changed(bucket("elsewhere", bucket="other-data"), age=0)], None),
        (YOUNG, [changed(bucket("elsewhere", endpoint="https://other.example.org"), age=0)], None),
        (YOUNG, [changed(bucket("beside", prefixTemplate="v/{namespace}/"), age=0)], None),
        (YOUNG, [OLD, changed(bucket("oldest"), age=0)], "dtool-system/oldest"),
        (bucket("b", "bob"), [TEAM], None),
        (changed(bucket("b", "bob", prefixTemplate=""), age=-1), [TEAM], None),
        (changed(bucket("b", "bob", prefixTemplate=""), age=9), [TEAM], "alice/team"),
    ],
)
def test_of_overlapping_buckets_an_administrators_wins_then_the_older_then_the_smaller_uid(
    one: Any, others: list[Any], winner: str | None
) -> None:
    assert find_winner(one, others, admins=ADMINS) == winner


def overriding(*overrides: tuple[str, str], **spec: Any) -> Any:
    """A bucket object with these overrides."""
    entries = [{"namespace": namespace, "prefix": prefix} for namespace, prefix in overrides]
    return bucket(prefixOverrides=entries, **spec)


def test_an_override_replaces_the_derived_prefix_everywhere_rule_3() -> None:
    one = overriding(("chem", "u/olssont/"))

    assert derive_prefix(one.spec, "chem") == "u/olssont/"
    assert derive_prefix(one.spec, "alice") == "u/alice/"
    assert prefix_policy.may_read(one, "chem", "u/olssont/")
    assert not prefix_policy.may_read(one, "chem", "u/chem/")


@pytest.mark.parametrize(
    ("namespace", "override", "is_conflict"),
    [
        ("olssont", "u/olssont/", True),
        ("olssont", "u/olssont/old/", True),
        ("olssont", "u/", True),
        ("olsson", "u/olssont/", False),
        ("olssont", "v/olssont/", False),
        ("chem", "u/", False),
    ],
)
def test_overrides_win_over_the_derived_prefixes_of_other_namespaces_rule_3(
    namespace: str, override: str, is_conflict: bool
) -> None:
    found = prefix_policy.find_override_conflict(overriding(("chem", override)).spec, namespace)

    assert (found is not None) is is_conflict
    if found is not None:
        assert repr(namespace) in found
        assert "'chem'" in found


@given(templates(is_shared=True), st.dictionaries(NAMESPACES, SEGMENTS.filter(bool), max_size=4), NAMESPACES)
def test_no_two_namespaces_that_overrides_let_in_share_or_nest_prefixes_rule_3(
    template: str, overrides: dict[str, str], other: str
) -> None:
    entries = [{"namespace": name, "prefix": f"u/{segment}/"} for name, segment in overrides.items()]
    try:
        spec = DtoolBucketSpec.model_validate(
            {"bucket": "lab-data", "prefixTemplate": template, "prefixOverrides": entries}
        )
    except ValueError:
        assume(False)
        raise
    names = {*overrides, other}
    kept = {name for name in names if prefix_policy.find_override_conflict(spec, name) is None}
    prefixes = [derive_prefix(spec, name) for name in kept]

    assert prefix_policy.find_nested(prefixes, ()) is None
    for place, one in enumerate(prefixes):
        assert not any(prefix_policy.do_nest(one, another) for another in prefixes[place + 1 :])


@given(st.lists(templates(), max_size=4), st.lists(templates(), max_size=4))
def test_nested_prefixes_are_found_as_by_comparing_all_of_them(one: list[str], other: list[str]) -> None:
    expected = any(prefix_policy.do_nest(a, b) for a in one for b in other)

    assert (prefix_policy.find_nested(one, other) is not None) is expected


def test_a_take_over_names_exactly_one_owner_for_one_namespace_rule_4() -> None:
    entries = [{"namespace": "alice", "fromOwner": "c/1"}, {"namespace": "bob", "fromOwner": "c/2"}]
    one = bucket(takeOver=entries)

    assert [prefix_policy.find_take_over(one, name) for name in ("alice", "bob", "carol")] == [
        "c/1",
        "c/2",
        None,
    ]


def test_nothing_is_taken_over_in_a_bucket_to_which_nothing_is_written_rule_4() -> None:
    one = bucket(takeOver=[{"namespace": "alice", "fromOwner": "c/1"}], accessMode="ReadOnly")

    assert prefix_policy.find_take_over(one, "alice") is None
