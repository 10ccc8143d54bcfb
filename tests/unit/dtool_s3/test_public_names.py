"""What `import dtool_s3` offers, and what it costs."""

import inspect
import subprocess
import sys

import pytest

import dtool_s3
from dtool_s3 import api


def _modules_after(program: str) -> set[str]:
    code = f"{program}; import sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(loaded.stdout.split())


def test_importing_the_package_loads_nothing_but_itself() -> None:
    loaded = _modules_after("import dtool_s3")

    heavy = {"asyncio", "boto3", "botocore", "dtoolcore", "obstore", "rich"}
    assert heavy.isdisjoint(loaded)
    assert {name for name in loaded if name.startswith("dtool_s3")} == {"dtool_s3"}


def test_the_functions_load_no_client_before_they_are_called() -> None:
    loaded = _modules_after("import dtool_s3; dtool_s3.copy; dtool_s3.sync.copy")

    assert {"boto3", "botocore", "rich"}.isdisjoint(loaded)


@pytest.mark.parametrize("name", dtool_s3.__all__)
def test_every_public_name_can_be_loaded_and_is_documented(name: str) -> None:
    found = getattr(dtool_s3, name)

    assert inspect.getdoc(found)


def test_every_function_of_the_api_is_a_public_name() -> None:
    assert set(api.__all__) <= set(dtool_s3.__all__)
    for name in api.__all__:
        assert getattr(dtool_s3, name) is getattr(api, name)


def test_a_function_stays_one_after_every_module_is_loaded() -> None:
    """A submodule of the same name would take its place as soon as it is imported."""
    code = (
        "import dtool_s3, importlib, pkgutil, types\n"
        "for found in pkgutil.iter_modules(dtool_s3.__path__):\n"
        "    importlib.import_module(f'dtool_s3.{found.name}')\n"
        "print(*[n for n in dtool_s3.__all__ if isinstance(getattr(dtool_s3, n), types.ModuleType)])"
    )
    hidden = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert hidden.stdout.split() == []


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = dtool_s3.no_such_name


def test_all_public_names_are_in_the_directory() -> None:
    assert set(dtool_s3.__all__) <= set(dir(dtool_s3))
