"""Reads the file with what the administrator says of workers' Pods: once, before anything is started."""

from pathlib import Path

from dtool_operator.planning.manifests import WorkerSettings
from dtool_operator.planning.worker_pod import MAX_CHARACTERS, WorkerPod, parse_worker_pod
from dtool_operator.settings import PREFIX, InvalidSetting, Settings


def read_worker_settings(settings: Settings) -> WorkerSettings | None:
    """Return what Jobs are made with; None: none are. Raises InvalidSetting, which names key and variable."""
    pod = WorkerPod() if settings.worker_pod_file is None else _read_pod(settings.worker_pod_file)
    if settings.worker_image is None:
        return None
    return WorkerSettings(settings.worker_image, settings.worker_image_pull_policy, pod)


def _read_pod(path: Path) -> WorkerPod:
    try:
        with path.open(encoding="utf-8") as file:
            return parse_worker_pod(file.read(MAX_CHARACTERS + 1))
    except OSError as error:
        why = f"cannot be read: {error.strerror}"
    except ValueError as error:
        why = str(error)
    raise InvalidSetting(f"{PREFIX}WORKER_POD_FILE: {path}: {why}")
