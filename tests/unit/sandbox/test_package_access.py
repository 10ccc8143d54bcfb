"""How a build is told of the machine's package index."""

import subprocess
from pathlib import Path

from sandbox.operator_image.package_access import write_secrets


def read_exports(script: Path) -> dict[str, str]:
    """Run the script as the Dockerfile does; return what it exports."""
    told = subprocess.run(
        ["sh", "-c", '. "$0" && env', str(script)], env={}, capture_output=True, text=True, check=True
    )
    exports = dict(line.split("=", 1) for line in told.stdout.splitlines())
    return {name: value for name, value in exports.items() if name not in {"PWD", "SHLVL", "_", "OLDPWD"}}


def test_indexes_of_the_environment_are_told_as_they_are(tmp_path: Path) -> None:
    environment = {
        "UV_DEFAULT_INDEX": "https://u:p'w$@index.example/simple",
        "OTHER": "no",
        "HOME": "/nowhere",
    }

    secrets = write_secrets(tmp_path, environment)

    assert (
        read_exports(secrets["package_access"])["UV_DEFAULT_INDEX"] == "https://u:p'w$@index.example/simple"
    )
    assert "OTHER" not in secrets["package_access"].read_text()


def test_indexes_of_the_files_of_pip_and_uv_are_told(tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_text(
        "[global]\nindex-url = https://pip.example\n[install]\nextra-index-url =\n  https://a\n  https://b\n"
    )
    (tmp_path / "uv.toml").write_text(
        '[[index]]\nurl = "https://one.example"\n[[index]]\nurl = "https://main.example"\ndefault = true\n'
    )
    environment = {
        "PIP_CONFIG_FILE": str(tmp_path / "pip.conf"),
        "UV_CONFIG_FILE": str(tmp_path / "uv.toml"),
        "HOME": "/nowhere",
    }

    exports = read_exports(write_secrets(tmp_path, environment)["package_access"])

    assert exports["PIP_INDEX_URL"] == "https://pip.example"
    assert exports["PIP_EXTRA_INDEX_URL"] == "https://a https://b"
    assert exports["UV_DEFAULT_INDEX"] == "https://main.example"
    assert exports["UV_INDEX"] == "https://one.example"


def test_the_environment_wins_over_files(tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_text("[global]\nindex-url = https://file.example\n")
    environment = {
        "PIP_CONFIG_FILE": str(tmp_path / "pip.conf"),
        "PIP_INDEX_URL": "https://environment.example",
        "HOME": "/nowhere",
    }

    exports = read_exports(write_secrets(tmp_path, environment)["package_access"])

    assert exports["PIP_INDEX_URL"] == "https://environment.example"


def test_the_ca_bundle_is_a_secret_and_named_where_it_is_mounted(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text("certificates")

    secrets = write_secrets(tmp_path, {"SSL_CERT_FILE": str(bundle), "HOME": "/nowhere"})

    assert secrets["ca_bundle"] == bundle
    exports = read_exports(secrets["package_access"])
    assert exports["SSL_CERT_FILE"] == exports["PIP_CERT"] == "/run/secrets/ca_bundle"


def test_nobody_else_reads_the_script(tmp_path: Path) -> None:
    secrets = write_secrets(tmp_path, {"HOME": "/nowhere"})

    assert secrets["package_access"].stat().st_mode & 0o077 == 0
    assert "ca_bundle" not in secrets
