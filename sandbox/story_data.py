"""The demo's measurements: the real data files of the PyPI package vega-datasets, once for each run."""

import shutil
from importlib.resources import as_file, files
from pathlib import Path

RUNS = 24


def write_measurements(directory: Path) -> int:
    """Copy the package's data files into a folder for each run below a directory; return how many."""
    with as_file(files("vega_datasets").joinpath("_data")) as source:
        measured = [path for path in source.iterdir() if path.suffix in {".csv", ".json"}]
        for run in range(1, RUNS + 1):
            folder = directory / f"run-{run:02}"
            folder.mkdir()
            for path in measured:
                shutil.copy(path, folder / path.name)
    return RUNS * len(measured)
