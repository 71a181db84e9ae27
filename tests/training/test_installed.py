"""What is said where a package is missing that training stands on."""

import subprocess
import sys
from importlib.util import find_spec

import pytest

from modxfer.errors import DependencyError, UsageError
from modxfer.training.installed import check_installed, check_reporting
from modxfer.training.tasks import TASKS

CHECK = """
import sys
from importlib.machinery import PathFinder

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name == sys.argv[1] else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Without
from modxfer.errors import DependencyError
from modxfer.training.installed import check_installed
from modxfer.training.tasks import TASKS
try:
    check_installed(TASKS[sys.argv[2]])
except DependencyError as error:
    print(error)
"""


def missing(package: str, task: str) -> str:
    """Say what is said of a task in a Python that has no such package."""
    done = subprocess.run([sys.executable, "-c", CHECK, package, task], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize(("package", "task"), [("seqeval", "ner"), ("accelerate", "ner"), ("accelerate", "nli")])
def test_check_installed_names_what_is_missing(package: str, task: str) -> None:
    """The message names task and package, and the command that brings it."""
    wanted = f"The task `{task}` needs `{package}`, which is not installed. Install it with `pip install 'modxfer[train]'`."
    assert wanted in missing(package, task)


def test_check_installed_asks_for_no_more_than_is_needed() -> None:
    """Classes are counted without seqeval; where all is installed, nothing is said."""
    assert missing("seqeval", "nli") == ""
    for task in TASKS.values():
        check_installed(task)


def test_check_reporting_refuses_what_cannot_be_reported_to() -> None:
    """A name that `transformers` does not know, and one whose package is missing, are told before anything is trained."""
    check_reporting(())
    check_reporting(("none",))
    with pytest.raises(UsageError, match=r"There is no `tensorbord` to report to.*tensorboard.*--report-to"):
        check_reporting(("tensorbord",))
    assert find_spec("wandb") is None
    with pytest.raises(DependencyError, match=r"Reporting to `wandb` needs a package .*--report-to"):
        check_reporting(("wandb",))
