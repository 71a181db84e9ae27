"""Whether the packages are there that training and measuring stand on."""

import sys
from collections.abc import Sequence
from importlib.util import find_spec

from modxfer.errors import DependencyError, UsageError
from modxfer.training.tasks import Task


def check_installed(task: Task) -> None:
    """Refuse to begin where a package is missing that would be missed later.

    Args:
        task: The task.

    Raises:
        DependencyError: one is missing.
    """
    for package in ("accelerate", *(["seqeval"] if task.kind == "tagging" else [])):
        if package not in sys.modules and find_spec(package) is None:
            raise DependencyError(
                f"The task `{task.name}` needs `{package}`, which is not installed.",
                do="Install it with `pip install 'modxfer[train]'`.",
            )


def check_reporting(report_to: Sequence[str]) -> None:
    """Refuse to report where that cannot be, before anything is trained.

    Args:
        report_to: As `transformers` calls them.

    Raises:
        UsageError: there is no such place.
        DependencyError: a package is missing for one.
    """
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

    for name in report_to if list(report_to) not in (["all"], ["none"]) else ():
        if name not in INTEGRATION_TO_CALLBACK:
            known = ", ".join(sorted(INTEGRATION_TO_CALLBACK))
            raise UsageError(f"There is no `{name[:80]}` to report to.", do=f"Use some of {known} with `--report-to`.")
        try:
            INTEGRATION_TO_CALLBACK[name]()
        except (RuntimeError, ImportError) as error:
            raise DependencyError(
                f"Reporting to `{name}` needs a package that is not installed: `{' '.join(str(error).split())[:200]}`",
                do="Install it, or leave it out of `--report-to`.",
            ) from error
