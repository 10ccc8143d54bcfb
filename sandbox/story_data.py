"""The demo's measurements: the real data files that the PyPI package vega-datasets carries."""

import shutil
from importlib.resources import as_file, files
from pathlib import Path


def write_measurements(directory: Path) -> list[Path]:
    """Copy the package's data files into a directory; return them, sorted by name."""
    directory.mkdir(parents=True)
    with as_file(files("vega_datasets").joinpath("_data")) as source:
        measured = [path for path in sorted(source.iterdir()) if path.suffix in {".csv", ".json"}]
        return [Path(shutil.copy(path, directory / path.name)) for path in measured]
