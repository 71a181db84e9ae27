"""A Hub to write to: the one on this machine, or a real one (`HF_TOKEN=... MODXFER_TEST_NAMESPACE=NAME pytest -m network`)."""

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.hub.server import HubServer

NAMESPACE = "MODXFER_TEST_NAMESPACE"
"""Names the user or organisation on a real Hub in which tests marked `network` write."""


@dataclass(kw_only=True)
class Remote:
    """A namespace on a Hub, with what the tests put there; used through the genuine client only.

    Attributes:
        namespace: User or organisation.
        token: A token that may write there.
        server: The Hub on this machine; None for a real one.
        made: Repositories to remove in the end.
    """

    namespace: str
    token: str
    server: HubServer | None
    made: list[str] = field(default_factory=list)
    mark: str = field(default_factory=lambda: uuid.uuid4().hex[:8])

    def name(self, short: str) -> str:
        """Give the id of a repository that no other test run has."""
        name = f"{self.namespace}/modxfer-test-{short}-{self.mark}"
        if name not in self.made:
            self.made.append(name)
        return name

    def upload(self, short: str, folder: Path) -> str:
        """Publish a folder as any user would."""
        from huggingface_hub import HfApi

        name = self.name(short)
        api = HfApi(token=self.token)
        api.create_repo(name, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=folder, commit_message="Upload")
        return name

    def clean(self) -> None:
        """Remove what was made."""
        from huggingface_hub import HfApi

        for name in self.made:
            HfApi(token=self.token).delete_repo(name, missing_ok=True)


def remotes(request: pytest.FixtureRequest, where: str) -> Iterator[Remote]:
    """Give the Hub that a parametrised fixture asks for."""
    namespace = os.environ.get(NAMESPACE)
    if where == "this machine":
        server: HubServer = request.getfixturevalue("hub")
        yield Remote(namespace="acme", token=server.add_user("acme"), server=server)
        return
    if not namespace:
        pytest.fail(f"This test writes to a real Hub. Set {NAMESPACE} to a user or organisation, and HF_TOKEN.")
    remote = Remote(namespace=namespace, token=os.environ["HF_TOKEN"], server=None)
    yield remote
    remote.clean()


@dataclass(frozen=True, kw_only=True)
class Person:
    """Somebody with a machine of their own: a home, a cache and perhaps a token; nothing else is shared.

    Attributes:
        folder: What they have; empty at first.
        token: Their token; empty if they are not logged in.
    """

    folder: Path
    token: str = ""

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a program in a process of its own; gives its status, stdout and stderr."""
        self.folder.mkdir(parents=True, exist_ok=True)
        environment = {key: value for key, value in os.environ.items() if key not in ("HF_TOKEN", "HF_HUB_OFFLINE")}
        environment |= {
            "HF_HOME": str(self.folder / "huggingface"),
            "MODXFER_HOME": str(self.folder / "modxfer"),
            "HF_TOKEN": self.token,
            "HF_HUB_DISABLE_IMPLICIT_TOKEN": "" if self.token else "1",
            "PYTHONPATH": str(Path.cwd()),
        }
        return subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False, timeout=300
        )

    def modxfer(self, *arguments: str) -> str:
        """Run modxfer, which must succeed; gives what it prints on stdout."""
        result = self.run(sys.executable, "-m", "modxfer", *arguments)
        assert result.returncode == 0, result.stderr
        assert not self.token or self.token not in result.stdout + result.stderr
        return result.stdout

    def python(self, code: str) -> str:
        """Run a piece of Python, which must succeed; gives what it prints on stdout."""
        result = self.run(sys.executable, "-c", code)
        assert result.returncode == 0, result.stderr
        return result.stdout
