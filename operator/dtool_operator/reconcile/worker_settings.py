"""Reads the files with what the administrator says of workers' Pods: once, before anything is started."""

from pathlib import Path

from dtool_operator.adapters.credentials import find_ca_problem
from dtool_operator.planning.job_environment import MAX_CHARACTERS as MAX_CA_CHARACTERS
from dtool_operator.planning.manifests import WorkerSettings
from dtool_operator.planning.worker_pod import MAX_CHARACTERS, WorkerPod, parse_worker_pod
from dtool_operator.settings import PREFIX, InvalidSetting, Settings


def read_worker_settings(settings: Settings) -> WorkerSettings | None:
    """Return what Jobs are made with; None: none are. Raises InvalidSetting, which names key and variable."""
    pod = WorkerPod() if settings.worker_pod_file is None else _read_pod(settings.worker_pod_file)
    trusted_ca = None if settings.worker_ca_file is None else _read_ca(settings.worker_ca_file)
    if settings.worker_image is None:
        return None
    return WorkerSettings(settings.worker_image, settings.worker_image_pull_policy, pod, trusted_ca)


def _read_pod(path: Path) -> WorkerPod:
    text = _read(path, MAX_CHARACTERS, "WORKER_POD_FILE")
    try:
        return parse_worker_pod(text)
    except ValueError as error:
        raise _invalid("WORKER_POD_FILE", path, str(error)) from error


def _read_ca(path: Path) -> str:
    text = _read(path, MAX_CA_CHARACTERS, "WORKER_CA_FILE")
    problem = find_ca_problem(text)
    if len(text) > MAX_CA_CHARACTERS:
        problem = f"is longer than {MAX_CA_CHARACTERS} characters"
    if problem is not None:
        raise _invalid("WORKER_CA_FILE", path, problem)
    return text


def _read(path: Path, max_characters: int, setting: str) -> str:
    """Read a file, of one that is too long one character too many."""
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(max_characters + 1)
    except OSError as error:
        raise _invalid(setting, path, f"cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise _invalid(setting, path, str(error)) from error


def _invalid(setting: str, path: Path, why: str) -> InvalidSetting:
    return InvalidSetting(f"{PREFIX}{setting}: {path}: {why}")
