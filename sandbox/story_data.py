"""The demo's measurements: the real data files that the PyPI package vega-datasets carries."""

import shutil
from importlib.resources import as_file, files
from pathlib import Path


def write_measurements(directory: Path) -> list[Path]:
    """Copy the package's data files into a directory; return them, sorted by name."""
    directory.mkdir(parents=True)
    copied = []
    with as_file(files("vega_datasets").joinpath("_data")) as source:
        for path in sorted(source.iterdir()):
            if path.suffix in {".csv", ".json"}:
                copied.append(Path(shutil.copy(path, directory / path.name)))
    return copied
