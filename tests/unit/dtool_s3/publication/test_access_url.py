"""Where a published dataset is read from, and that nothing leads away from its host."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtool_s3.errors import AccessDenied, InvalidURI
from dtool_s3.publication.access_url import MAX_URL_CHARACTERS, parse_access_url
from dtool_s3.publication.published import published_uuid

UUID = "1c10766c-c4a9-4a4f-9b5d-0d5f0e1c7a11"


@pytest.mark.parametrize(
    ("url", "http_manifest_url"),
    [
        (f"https://data.example.org/{UUID}", f"https://data.example.org/{UUID}/http_manifest.json"),
        (f"https://data.example.org/{UUID}/", f"https://data.example.org/{UUID}/http_manifest.json"),
        (f"HTTPS://Data.Example.org:443/{UUID}", f"https://data.example.org/{UUID}/http_manifest.json"),
        (
            f"http://s3.local:9000/b/u/x/{UUID}?a=b&c=/",
            f"http://s3.local:9000/b/u/x/{UUID}/http_manifest.json?a=b&c=/",
        ),
        (f"http://[::1]:80/{UUID}#part", f"http://[::1]/{UUID}/http_manifest.json"),
    ],
)
def test_the_http_manifest_lies_below_the_url_whose_query_is_kept(url: str, http_manifest_url: str) -> None:
    assert parse_access_url(url).http_manifest_url == http_manifest_url
    assert published_uuid(url) == UUID


@pytest.mark.parametrize(
    "url",
    [
        "",
        UUID,
        f"s3://bucket/{UUID}",
        f"file:///data/{UUID}",
        f"//host/{UUID}",
        f"http:///{UUID}",
        f"http://user:password@host/{UUID}",
        f"http://host\\@evil/{UUID}",
        f"http://host/a b/{UUID}",
        f"http://host/\n{UUID}",
        f"http://hôst/{UUID}",
        f"http://host:0/{UUID}",
        f"http://host:70000/{UUID}",
        f"http://host:/{UUID}",
        f"http://host/{UUID.upper()}",
        f"http://host/{UUID}/http_manifest.json",
        f"http://host/x?{UUID}",
        "http://host",
        f"http://host/{'x' * MAX_URL_CHARACTERS}/{UUID}",
    ],
)
def test_everything_else_is_no_published_dataset(url: str) -> None:
    assert published_uuid(url) is None
    with pytest.raises(InvalidURI):
        parse_access_url(url)


def test_no_text_of_a_url_has_its_query() -> None:
    access = parse_access_url(f"https://host/{UUID}?signature=secret")

    assert "secret" not in f"{access} {access!r} {access.host}"
    with pytest.raises(InvalidURI) as failure:
        parse_access_url("https://host/no-uuid?signature=secret")
    assert "secret" not in str(failure.value)


@pytest.mark.parametrize(
    ("access", "url", "allowed"),
    [
        ("http://host", "http://host/a?b=c", "http://host/a?b=c"),
        ("http://host", "http://HOST:80", "http://host/"),
        ("http://host", "https://host/a", "https://host/a"),
        ("http://host:9000", "http://host:9000/a#b", "http://host:9000/a"),
        ("https://host", "https://host:443/ü".replace("ü", "%C3%BC"), "https://host/%C3%BC"),
    ],
)
def test_urls_on_the_same_host_are_read(access: str, url: str, allowed: str) -> None:
    assert parse_access_url(f"{access}/{UUID}").check(url) == allowed


@pytest.mark.parametrize(
    ("access", "url"),
    [
        ("https://host", "http://host/a"),
        ("https://host:9000", "https://host:9001/a"),
        ("http://host", "http://host:22/a"),
        ("http://host", "http://host.evil/a"),
        ("http://host", "http://evil/host"),
        ("http://host", "http://host@evil/a"),
        ("http://host", "http://host\\@evil/a"),
        ("http://host", "ftp://host/a"),
        ("http://host", "/a"),
        ("http://host", b"http://host/a"),
        ("http://host", {"a": 1}),
    ],
)
def test_urls_that_lead_elsewhere_are_refused(access: str, url: object) -> None:
    with pytest.raises(AccessDenied):
        parse_access_url(f"{access}/{UUID}").check(url)


@given(st.text(), st.text())
def test_whatever_is_named_stays_on_the_host_or_is_refused(start: str, end: str) -> None:
    access = parse_access_url(f"http://host:9000/{UUID}")

    for url in (
        start,
        f"http://host:9000{start}",
        f"{start}://host:9000/{end}",
        f"http://{start}host:9000/{end}",
    ):
        try:
            found = access.check(url)
        except AccessDenied:
            continue
        assert found.startswith(("http://host:9000/", "https://host/"))
