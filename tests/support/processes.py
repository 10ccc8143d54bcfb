"""Whether a process still runs, whoever started it."""

from pathlib import Path


def is_running(pid: int) -> bool:
    """Whether it does anything any more: a zombie waits for whoever started it, see proc(5)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"
