"""What can go wrong with the sandbox; owns the error tree and no behaviour.

SandboxError
├── PrerequisiteError   a program the sandbox needs is not on this machine
├── BuildError          a program did not compile
├── ProcessError        a program ended, or did not become ready in time
├── KubectlError        kubectl exited with an error
└── HelmError           helm exited with an error
"""


class SandboxError(Exception):
    """Base of everything the sandbox raises; its message is one a user can act on."""


class PrerequisiteError(SandboxError):
    """A program the sandbox needs is not on this machine."""


class BuildError(SandboxError):
    """A program did not compile."""


class ProcessError(SandboxError):
    """A program ended, or did not become ready in time; the message ends with its log's last lines."""


class KubectlError(SandboxError):
    """kubectl exited with an error; `stderr` is what it said."""

    def __init__(self, arguments: tuple[str, ...], stderr: str) -> None:
        super().__init__(f"kubectl {' '.join(arguments)}: {stderr.strip()}")
        self.stderr = stderr


class HelmError(SandboxError):
    """helm exited with an error; `stderr` is what it said."""

    def __init__(self, arguments: tuple[str, ...], stdout: str, stderr: str) -> None:
        # `helm lint` tells its findings on standard output
        super().__init__(f"helm {' '.join(arguments)}: {(stdout + stderr).strip()}")
        self.stderr = stderr
