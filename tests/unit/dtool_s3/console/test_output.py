"""Texts for people: sizes, remote names, and URLs without their secrets."""

import io

import pytest

from dtool_s3.console.output import Output, format_items, format_size, printable, redact


@pytest.mark.parametrize(
    ("size_bytes", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (17_300_000, "17.3 MB"),
        (5 * 1024**4, "5.5 TB"),
        (10**20, "100000.0 PB"),
    ],
)
def test_sizes_are_shown_with_a_unit(size_bytes: int, shown: str) -> None:
    assert format_size(size_bytes) == shown


def test_one_item_is_not_items() -> None:
    assert (format_items(1, 5), format_items(2, 5)) == ("1 item, 5 B", "2 items, 5 B")


def test_control_characters_are_replaced_and_letters_of_all_scripts_stay() -> None:
    assert printable("a\x1b[2J\tb") == "a\ufffd[2J\ufffdb"
    assert printable("ünï 文") == "ünï 文"


def test_no_remote_name_moves_the_cursor_whatever_prints_it() -> None:
    output = Output(stdout := io.StringIO(), io.StringIO())

    output.result({}, ["a\x1b[2J"])
    output.row(["b\x1b[2J", "c\td"])

    assert stdout.getvalue() == "a\ufffd[2J\nb\ufffd[2J\tc\ufffdd\n"


@pytest.mark.parametrize(
    "url",
    [
        "https://s3.example.org/b/k?X-Amz-Credential=hush&X-Amz-Signature=hush",
        "https://s3.example.org/b/k?versionId=1&AWSAccessKeyId=hush&Signature=hush",
        "https://alice:hush@s3.example.org/b/k",
    ],
)
def test_secrets_of_urls_are_taken_out(url: str) -> None:
    shown = redact(f"GET of '{url}' failed\nat once")

    assert "hush" not in shown
    assert "s3.example.org/b/k" in shown
    assert shown.endswith("failed at once")
