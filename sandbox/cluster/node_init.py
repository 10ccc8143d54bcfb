"""Process 1 of the node, and the door into it: runs as a script, isolated, on the standard library alone.

`node_init.py join SETTINGS PROGRAM [ARGUMENT...]` moves itself into the node's control group and becomes the
program. `node_init.py init SETTINGS` is what `unshare` starts in new namespaces: it mounts what containerd
and kubelet expect to find, says that it is ready, and reaps orphans until it is killed, which ends them all.
The machine's own mounts and kernel settings stay as they are: everything here is seen in the namespace only.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

# kubelet sets these for the whole machine; it leaves alone what already has its value.
KERNEL_SETTINGS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}
# kubelet, containerd and CNI write here whatever they are told; their files end with the namespace.
PRIVATE = (Path("/var/lib"), Path("/var/log"))
SCRATCH = Path("/run/node")


def main() -> None:
    """Do what the first argument says."""
    settings = json.loads(Path(sys.argv[2]).read_text())
    match sys.argv[1]:
        case "join":
            join(settings, sys.argv[3:])
        case "init":
            become_init(settings)
        case other:
            sys.exit(f"{other} is neither join nor init")


def join(settings: dict[str, Any], argv: list[str]) -> None:
    """Enter the control group in every hierarchy and become the program."""
    for hierarchy in settings["hierarchies"]:
        (Path(hierarchy["group"]) / "cgroup.procs").write_text(f"{os.getpid()}\n")
    os.execv(argv[0], argv)  # noqa: S606


def become_init(settings: dict[str, Any]) -> None:
    """Mount everything, tell the pid by which the machine knows this process, and reap."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    pid = Path("/proc/self").readlink()  # /proc is still the machine's
    directory = Path(settings["directory"])
    attach("--make-rshared", "/")
    attach("-t", "proc", "proc", "/proc")
    attach("-t", "tmpfs", "tmpfs", "/run")
    mount_kernel_settings()
    mount_private_folders(directory)
    mount_kubelet_folder(directory)
    mount_control_groups(settings)
    unfinished = directory / "init.unfinished"
    unfinished.write_text(f"{pid}\n")
    unfinished.rename(directory / "init.pid")
    while True:
        signal.sigwait({signal.SIGCHLD})
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass


def mount_kernel_settings() -> None:
    """Let kubelet find the values it wants, without setting them."""
    for name, value in KERNEL_SETTINGS.items():
        setting = Path("/proc/sys") / name
        if setting.exists():
            shown = SCRATCH / "sys" / name
            shown.parent.mkdir(parents=True, exist_ok=True)
            shown.write_text(f"{value}\n")
            attach("--bind", str(shown), str(setting))


def mount_private_folders(directory: Path) -> None:
    """Keep what is written below some folders of the machine in memory; the node's directory stays itself."""
    kept = SCRATCH / "directory"
    kept.mkdir(parents=True)
    attach("--bind", str(directory), str(kept))
    for folder in PRIVATE:
        upper, work = (SCRATCH / kind / folder.name for kind in ("upper", "work"))
        upper.mkdir(parents=True)
        work.mkdir(parents=True)
        options = f"lowerdir={folder},upperdir={upper},workdir={work}"
        attach("-t", "overlay", "-o", options, "overlay", str(folder))
    attach("--bind", str(kept), str(directory))


def mount_kubelet_folder(directory: Path) -> None:
    """Keep kubelet's files on the disk, under their usual short name: paths of sockets end at 107 bytes."""
    kept, usual = directory / "kubelet", Path("/var/lib/kubelet")
    kept.mkdir()
    usual.mkdir(exist_ok=True)
    attach("--bind", str(kept), str(usual))


def mount_control_groups(settings: dict[str, Any]) -> None:
    """Mount the hierarchies again: in this cgroup namespace their root is the node's own group."""
    root = Path("/sys/fs/cgroup")
    # runc takes the first mount it reads of, and the machine's lie outside of this namespace's root
    subprocess.run(["umount", "--recursive", "--lazy", str(root)], check=True)
    attach("-t", "tmpfs", "tmpfs", str(root))
    for hierarchy in settings["hierarchies"]:
        folder = root / hierarchy["name"]
        folder.mkdir()
        attach("-t", "cgroup", "-o", hierarchy["options"], "cgroup", str(folder))
        for controller in hierarchy["name"].split(","):
            if controller != folder.name:
                (root / controller).symlink_to(folder.name)


def attach(*arguments: str) -> None:
    """Call mount(8); where it fails, this process and the node end with its words."""
    subprocess.run(["mount", *arguments], check=True)


if __name__ == "__main__":
    main()
