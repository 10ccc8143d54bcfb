"""The keys' file: private, whole, and silent about what it holds."""

import stat
from pathlib import Path

import pytest

from dtool_operator.transfers.credentials_file import (
    FileCredentials,
    read_credentials_file,
    write_credentials_file,
)
from dtool_s3.errors import SettingsError
from dtool_s3.settings import Credentials, Secret

SECRET = "s3cr3t"


@pytest.mark.parametrize("token", [None, Secret("t0k3n")])
def test_keys_survive_the_file(tmp_path: Path, token: Secret | None) -> None:
    keys = Credentials("AK", Secret(SECRET), token)

    write_credentials_file(tmp_path / "keys.json", keys)

    assert FileCredentials(tmp_path / "keys.json")() == keys


def test_each_question_reads_the_file_again(tmp_path: Path) -> None:
    source = FileCredentials(tmp_path / "keys.json")
    write_credentials_file(source.path, Credentials("OLD", Secret("old")))
    assert source() == Credentials("OLD", Secret("old"))

    write_credentials_file(source.path, Credentials("NEW", Secret("new")))

    assert source() == Credentials("NEW", Secret("new"))


def test_only_this_user_may_read_it_whatever_lay_there(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_text("")
    file.chmod(0o644)
    (tmp_path / "keys.json.new").write_text("left by a crash")

    write_credentials_file(file, Credentials("AK", Secret(SECRET)))

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["keys.json"]


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        f"{SECRET}",
        f'["{SECRET}"]',
        f'{{"accessKeyId": "{SECRET}"}}',
        f'{{"accessKeyId": 1, "secretAccessKey": "{SECRET}", "sessionToken": null}}',
        f'{{"accessKeyId": "AK", "secretAccessKey": "{SECRET}", "sessionToken": 1}}',
    ],
)
def test_a_broken_file_is_an_error_that_shows_nothing_of_it(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "keys.json"
    if text is not None:
        file.write_text(text)

    with pytest.raises(SettingsError) as caught:
        FileCredentials(file)()

    assert SECRET not in repr(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_file_that_cannot_be_replaced_leaves_no_copy_of_the_keys(tmp_path: Path) -> None:
    (tmp_path / "keys.json").mkdir()

    with pytest.raises(OSError, match=r"directory"):
        write_credentials_file(tmp_path / "keys.json", Credentials("AK", Secret(SECRET)))

    assert [path.name for path in tmp_path.iterdir()] == ["keys.json"]


def _mount(directory: Path, version: str, **values: str) -> None:
    """Write a Secret as the kubelet does: all files change in one step, by a link."""
    made = directory / version
    made.mkdir(parents=True)
    for name, value in values.items():
        (made / name).write_text(value)
        if not (directory / name).is_symlink():
            (directory / name).symlink_to(f"..data/{name}")
    link = directory / "..data.new"
    link.symlink_to(version)
    link.rename(directory / "..data")


def test_a_mounted_secret_is_read_each_time(tmp_path: Path) -> None:
    source = FileCredentials(tmp_path)
    _mount(tmp_path, "..1", AWS_ACCESS_KEY_ID="one\n", AWS_SECRET_ACCESS_KEY="first", AWS_SESSION_TOKEN="")
    before = source()

    _mount(tmp_path, "..2", AWS_ACCESS_KEY_ID="two", AWS_SECRET_ACCESS_KEY="second", AWS_SESSION_TOKEN="t")

    assert before == Credentials("one", Secret("first"))
    assert source() == Credentials("two", Secret("second"), Secret("t"))


def test_a_mounted_secret_without_a_key_is_refused_and_shows_nothing(tmp_path: Path) -> None:
    _mount(tmp_path, "..1", AWS_ACCESS_KEY_ID="AKIA", AWS_SECRET_ACCESS_KEY=" \n")

    with pytest.raises(SettingsError, match="does not hold keys") as caught:
        read_credentials_file(tmp_path)

    assert "AKIA" not in str(caught.value)
    (tmp_path / "..1" / "AWS_SECRET_ACCESS_KEY").unlink()
    with pytest.raises(SettingsError, match="cannot be read"):
        read_credentials_file(tmp_path)
