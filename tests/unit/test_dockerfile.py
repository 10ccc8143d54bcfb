"""What the Dockerfile promises and its linter does not ask."""

import re
import shlex
import tomllib
from pathlib import Path

from sandbox.operator_image.build import read_default_base

PROJECT = Path(__file__).parents[2]
LABELS = ("title", "description", "licenses", "version", "revision")


def read_instructions() -> list[tuple[str, str]]:
    """Read the Dockerfile as (instruction, its text); comments are left out, continued lines joined."""
    lines = (PROJECT / "Dockerfile").read_text().splitlines()
    text = "\n".join(line for line in lines if not line.startswith("#")).replace("\\\n", " ")
    return [
        (name, rest.strip()) for name, _, rest in (line.partition(" ") for line in text.splitlines() if line)
    ]


def read_last_stage() -> list[tuple[str, str]]:
    """Read what the shipped image is made of."""
    instructions = read_instructions()
    start = max(index for index, (name, _) in enumerate(instructions) if name == "FROM")
    return instructions[start:]


def read_argument(name: str) -> str:
    """Read the default of a build argument."""
    defaults = dict(text.split("=", 1) for kind, text in read_instructions() if kind == "ARG")
    return defaults[name]


def test_the_image_runs_as_a_numbered_user_who_is_not_root() -> None:
    # the kubelet's runAsNonRoot cannot judge a name
    users = [text for name, text in read_last_stage() if name == "USER"]

    assert users == ["65532:65532"]


def test_the_base_is_a_build_argument_with_a_release() -> None:
    stages = [text.split()[0] for name, text in read_instructions() if name == "FROM"]

    assert stages[0] == "${BASE_IMAGE}"
    assert set(stages[1:]) == {"system"}
    assert re.fullmatch(r"debian:[a-z]+-slim", read_default_base())


def test_the_last_stage_takes_what_was_built_and_runs_nothing() -> None:
    last = read_last_stage()

    assert "RUN" not in {name for name, _ in last}
    copies = [text for name, text in last if name in {"COPY", "ADD"}]
    assert copies == ["--from=build /opt/dtool-operator /opt/dtool-operator"]


def test_the_entry_point_is_the_operator_and_run_its_default() -> None:
    last = dict(read_last_stage())

    assert last["ENTRYPOINT"] == '["dtool-operator"]'
    assert last["CMD"] == '["run"]'


def test_the_last_stage_has_the_labels_of_the_image_specification() -> None:
    text = dict(read_last_stage())["LABEL"]

    labels = dict(one.split("=", 1) for one in shlex.split(text))

    assert set(labels) == {f"org.opencontainers.image.{name}" for name in LABELS}
    assert all(labels.values())


def test_versions_are_those_of_the_project_and_of_its_makefile() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    uv = re.search(r"^UV_VERSION := (\S+)$", (PROJECT / "Makefile").read_text(), re.MULTILINE)

    assert read_argument("VERSION") == project["version"]
    assert uv is not None
    assert read_argument("UV_VERSION") == uv[1]


def test_only_locked_wheels_are_installed_by_their_hashes() -> None:
    installs = [
        command
        for name, text in read_instructions()
        if name == "RUN"
        for command in re.split(r"\s*(?:&&|;)\s*", text)
        if command.startswith("uv pip install")
    ]

    assert installs == [
        "uv pip install --require-hashes --only-binary :all: --requirement /wheels.txt",
        "uv pip install --python /opt/build --require-hashes --only-binary :all: --requirement /build.txt",
        "uv pip install --offline --no-deps /wheels/*.whl",
    ]
    for exported in ("--no-dev --extra operator", "--only-group build"):
        assert any(f"uv export --quiet --frozen {exported}" in text for _, text in read_instructions())


def test_this_project_is_built_by_what_is_locked_too() -> None:
    (build,) = [text for _, text in read_instructions() if "uv build" in text]

    assert "--offline" in build
    assert "--no-build-isolation --python /opt/build" in build


def test_the_context_holds_exactly_what_is_copied() -> None:
    lines = (PROJECT / ".dockerignore").read_text().splitlines()

    copied: set[str] = set()
    for name, text in read_instructions():
        if name == "COPY" and not text.startswith("--from="):
            copied.update(text.split()[:-1])

    assert "*" in lines
    assert {line.removeprefix("!") for line in lines if line.startswith("!")} == copied
    assert all((PROJECT / name).exists() for name in copied)


def test_settings_of_package_indexes_are_secrets_and_never_arguments() -> None:
    kept = " ".join(text for name, text in read_instructions() if name in {"ARG", "ENV", "COPY", "ADD"})

    assert not re.search(r"INDEX|PASSWORD|TOKEN|CERT|://", kept)
