"""From a bucket object to where and how it is spoken to; no request is sent."""

import stat
import tempfile
from pathlib import Path

import pytest

from dtool_operator.adapters.credentials import BucketCredentials
from dtool_operator.adapters.storage import OpenStores, S3StoreOpener, build_endpoint
from dtool_s3.settings import Encryption, EncryptionMode
from tests.support.observed import bucket


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory for temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_the_endpoint_says_how_to_encrypt() -> None:
    asked = build_endpoint(bucket(encryption={"mode": "SSE-KMS", "kmsKeyId": "key-1"}))
    silent = build_endpoint(bucket())

    assert asked.encryption == Encryption(EncryptionMode.SSE_KMS, "key-1")
    assert (silent.encryption, silent.ca_bundle) == (None, None)


def test_certificates_lie_in_a_private_file_for_as_long_as_the_store_lives(files: Path) -> None:
    stores = OpenStores(S3StoreOpener())
    first = stores.open(bucket(), BucketCredentials("1", None, "certificates"))

    (file,) = files.iterdir()
    assert (file.read_text(), stat.S_IMODE(file.stat().st_mode)) == ("certificates", 0o600)

    stores.open(bucket(), BucketCredentials("2", None, "others"))  # `first` may still have looks under way
    assert file.exists()
    del first
    (file,) = files.iterdir()
    assert file.read_text() == "others"

    stores.close()
    assert list(files.iterdir()) == []


def test_public_certificates_need_no_file(files: Path) -> None:
    stores = OpenStores(S3StoreOpener())

    stores.open(bucket(), BucketCredentials("1", None))

    assert list(files.iterdir()) == []
    stores.close()
