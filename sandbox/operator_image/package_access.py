"""How this machine reaches its package index, as secrets of an image's build: no layer holds any of it.

Reads the settings of pip and uv and the CA bundle; must not fetch anything.
"""

import configparser
import os
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

ACCESS = "package_access"
CA_BUNDLE = "ca_bundle"
_MOUNTED_CA_BUNDLE = f"/run/secrets/{CA_BUNDLE}"

_VARIABLES = (
    "PIP_DEFAULT_TIMEOUT", "PIP_EXTRA_INDEX_URL", "PIP_INDEX_URL", "PIP_TRUSTED_HOST", "UV_DEFAULT_INDEX",
    "UV_EXTRA_INDEX_URL", "UV_HTTP_TIMEOUT", "UV_INDEX", "UV_INDEX_URL", "UV_INSECURE_HOST",
)  # fmt: skip
_PIP_OPTIONS = ("extra-index-url", "index-url", "trusted-host")
_CA_VARIABLES = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE")


def write_secrets(folder: Path, environment: Mapping[str, str] = os.environ) -> dict[str, Path]:
    """Write what a build needs to install packages into `folder`; return the files by secret's id.

    `package_access` is a shell script of exports. `ca_bundle`, where the machine names one, are PEM
    certificates.
    """
    exports = {**_read_uv_file(environment), **_read_pip_files(environment)}
    exports.update((name, environment[name]) for name in _VARIABLES if environment.get(name))
    secrets = {}
    if bundle := _find_ca_bundle(environment):
        secrets[CA_BUNDLE] = bundle
        exports.update(PIP_CERT=_MOUNTED_CA_BUNDLE, SSL_CERT_FILE=_MOUNTED_CA_BUNDLE)
    script = folder / ACCESS
    script.touch(mode=0o600)
    script.write_text("".join(f"export {name}={shlex.quote(value)}\n" for name, value in exports.items()))
    return {**secrets, ACCESS: script}


def _read_pip_files(environment: Mapping[str, str]) -> dict[str, str]:
    """Read the options that name indexes from pip's files; later files win, as with pip."""
    found: dict[str, str] = {}
    for path in _list_pip_files(environment):
        parser = configparser.RawConfigParser()
        parser.read(path)
        for section in ("global", "install"):
            for option in _PIP_OPTIONS:
                if parser.has_option(section, option):
                    found[f"PIP_{option.upper().replace('-', '_')}"] = " ".join(
                        parser.get(section, option).split()
                    )
    return found


def _list_pip_files(environment: Mapping[str, str]) -> Iterator[Path]:
    yield Path("/etc/pip.conf")
    if home := environment.get("HOME"):
        yield Path(home) / ".pip" / "pip.conf"
        yield Path(environment.get("XDG_CONFIG_HOME") or Path(home) / ".config") / "pip" / "pip.conf"
    if named := environment.get("PIP_CONFIG_FILE"):
        yield Path(named)


def _read_uv_file(environment: Mapping[str, str]) -> dict[str, str]:
    """Read the indexes of uv's own file: the default one, and others."""
    configuration = environment.get("XDG_CONFIG_HOME") or f"{environment.get('HOME', '')}/.config"
    path = Path(environment.get("UV_CONFIG_FILE") or f"{configuration}/uv/uv.toml")
    if not path.is_file():
        return {}
    content = tomllib.loads(path.read_text())
    indexes = content.get("index", [])
    defaults = [one["url"] for one in indexes if one.get("default")] or [content.get("index-url")]
    others = [one["url"] for one in indexes if not one.get("default")] + content.get("extra-index-url", [])
    found = {"UV_DEFAULT_INDEX": defaults[0], "UV_INDEX": " ".join(others)}
    return {name: value for name, value in found.items() if value}


def _find_ca_bundle(environment: Mapping[str, str]) -> Path | None:
    named = (Path(environment[name]) for name in _CA_VARIABLES if environment.get(name))
    return next((path for path in named if path.is_file()), None)
