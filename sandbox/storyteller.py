"""Runs commands for the people of the demo, and shows what they type and see. Knows nothing of the story."""

import os
import subprocess
import sys
from pathlib import Path

from sandbox.binaries import find_script
from sandbox.errors import SandboxError
from sandbox.kubectl import find_kubectl
from sandbox.session import Sandbox

STORY = Path(__file__).parent / "story"
WAIT_SECONDS = 60


class Storyteller:
    """Runs commands for the people of the story and shows what they type and see."""

    def __init__(self, sandbox: Sandbox, scratch: Path) -> None:
        self.sandbox = sandbox
        self.scratch = scratch

    def say(self, text: str) -> None:
        """Tell what comes next."""
        print(f"\n\033[1m# {text}\033[0m" if sys.stdout.isatty() else f"\n# {text}", flush=True)

    def kubectl(self, *arguments: str, user: str | None = None, stdin: str | None = None) -> str:
        """Run kubectl as a user of a namespace, or as the administrator; show it and return its output."""
        self._show("kubectl", arguments, user)
        output = self.sandbox.control_plane.kubectl(*arguments, stdin=stdin, kubeconfig=self._config(user))
        print(output, end="", flush=True)
        return output

    def ask(self, *arguments: str) -> str:
        """Run kubectl without showing it."""
        return self.sandbox.control_plane.kubectl(*arguments)

    def dtool(self, *arguments: str, identity: str, bucket: str, prefix: str = "") -> str:
        """Run the dtool command line with an S3 identity's keys; show it and return its output.

        `prefix`: below which new datasets are put.
        """
        self._show("dtool", arguments, identity)
        keys = self.sandbox.object_store.identity(identity)
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "DTOOL_"))},
            f"DTOOL_S3_ENDPOINT_{bucket}": self.sandbox.object_store.endpoint,
            f"DTOOL_S3_ACCESS_KEY_ID_{bucket}": keys.access_key,
            f"DTOOL_S3_SECRET_ACCESS_KEY_{bucket}": keys.secret_key,
            **({f"DTOOL_S3_DATASET_PREFIX_{bucket}": prefix} if prefix else {}),
            "DTOOL_CACHE_DIRECTORY": str(self.scratch / "cache"),
            "DTOOL_USER_FULL_NAME": identity.title(),
            "DTOOL_USER_EMAIL": f"{identity}@lab.example",
        }
        done = subprocess.run(
            [str(find_script("dtool", "dtool-cli")), *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        print(done.stdout, end="", flush=True)
        if done.returncode != 0:
            raise SandboxError(f"dtool {' '.join(arguments)} failed: {done.stderr.strip()[-400:]}")
        return done.stdout

    def watch(self, user: str, name: str, *, until: str) -> None:
        """Show a user's `kubectl get --watch` in his namespace until the dataset reaches a state."""
        arguments = ("get", "dtooldataset", name, "--namespace", user, "--watch")
        self._show("kubectl", arguments, user)
        # Without a timeout of its own, a watch that shows nothing any more would never end.
        command = [str(find_kubectl()), *arguments, f"--request-timeout={WAIT_SECONDS}s"]
        environment = {**os.environ, "KUBECONFIG": str(self._config(user))}
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    print(line, end="", flush=True)
                    if until in line.split():
                        break
            finally:
                process.terminate()
        self.wait_for(f"dtooldataset/{name}", user, "condition=Ready")

    def wait_for(self, what: str, namespace: str, condition: str) -> None:
        """Wait for a condition; kubectl's message says what is missing."""
        self.ask("wait", f"--for={condition}", f"--timeout={WAIT_SECONDS}s", what, "--namespace", namespace)

    def wait_until_there(self, what: str, namespace: str) -> None:
        """Wait until an object exists."""
        self.wait_for(what, namespace, "create")

    def _config(self, user: str | None) -> Path:
        control_plane = self.sandbox.control_plane
        if user is None:
            return control_plane.admin_kubeconfig
        return control_plane.service_account_kubeconfig(user, user)

    def _show(self, program: str, arguments: tuple[str, ...], user: str | None) -> None:
        shown = " ".join(arguments).replace(f"{STORY}/", "sandbox/story/")
        print(f"{user or ''}$ {program} {shown}", flush=True)

    def apply_story(self, name: str, user: str) -> None:
        """Show a manifest of the story, and apply it in its user's namespace."""
        manifest = (STORY / name).read_text()
        print(manifest)
        self.kubectl("apply", f"--namespace={user}", "--filename=-", user=user, stdin=manifest)
