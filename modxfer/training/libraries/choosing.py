"""Which library trains a method, and which loads a module."""

from modxfer.converters.module import ModuleFiles
from modxfer.errors import DependencyError, UsageError
from modxfer.training.libraries.adapters import Adapters
from modxfer.training.libraries.context import has_adapters
from modxfer.training.libraries.library import Library
from modxfer.training.libraries.methods import METHODS, find_method
from modxfer.training.libraries.peft import Peft


def library_for_method(method: str) -> Library:
    """Give the library that trains a method.

    Args:
        method: The method's name.

    Returns:
        The library.

    Raises:
        UsageError: no such method can be trained.
        DependencyError: it takes `adapters`, which is not installed.
    """
    return _library(find_method(method).library, what=f"The method `{method}` is trained")


def library_of(files: ModuleFiles) -> Library:
    """Give the library that loads and trains a module.

    Args:
        files: What is known of the module.

    Returns:
        The library.

    Raises:
        UsageError: it is of a method that is moved, and not trained.
        DependencyError: it takes `adapters`, which is not installed.
    """
    if files.method not in METHODS:
        raise UsageError(
            f"The module in `{files.folder}` is of the method `{files.method}`, and modxfer trains and measures "
            f"{', '.join(METHODS)}.",
            do=f"Train and measure it with `{files.format}` itself; README.md beside a converted module says how to load it.",
        )
    return _library(files.format, what=f"The module in `{files.folder}` has the format `{files.format}` and runs")


def _library(format: str, *, what: str) -> Library:
    if format == "peft":
        return Peft()
    if not has_adapters():
        raise DependencyError(
            f"{what} with the package `adapters`, which is not installed.",
            do="Install it with `pip install 'modxfer[adapters]'`; it keeps transformers at 4.57.",
        )
    return Adapters()
