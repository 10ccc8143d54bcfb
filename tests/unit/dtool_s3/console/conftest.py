"""Runs `dtool-s3` in this process on buckets in memory."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from dtool_s3.console.main import main
from dtool_s3.layout import DatasetLayout
from tests.support.datasets import DatasetFixture
from tests.support.two_buckets import TwoBuckets


@dataclass(frozen=True, slots=True)
class Ran:
    """What a run of the command left: its exit code and what it printed."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one line of JSON on stdout."""
        return json.loads(self.out)


@pytest.fixture
def buckets() -> TwoBuckets:
    return TwoBuckets()


@pytest.fixture
def write(buckets: TwoBuckets) -> Callable[..., DatasetLayout]:
    """A function that writes a dataset into a bucket, `source` unless told otherwise."""

    def write(dataset: DatasetFixture, bucket: str = "source") -> DatasetLayout:
        return asyncio.run(buckets.write(dataset, bucket))

    return write


@pytest.fixture
def run(buckets: TwoBuckets, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """A function that runs a command line."""

    def run(*argv: str) -> Ran:
        capsys.readouterr()
        code = main(argv, configure=buckets.configure)
        said = capsys.readouterr()
        return Ran(code, said.out, said.err)

    return run
