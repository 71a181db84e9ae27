"""From a module's files to its pieces."""

from collections.abc import Callable, Mapping

from modxfer.architectures import Architecture
from modxfer.converters.formats.adapters import reading as adapters
from modxfer.converters.formats.checks import check_tensor
from modxfer.converters.formats.diff import reading as diff
from modxfer.converters.formats.files import read_tensors
from modxfer.converters.formats.fusion import reading as fusion
from modxfer.converters.formats.peft import reading as peft
from modxfer.converters.module import Array, Module, ModuleFiles


def _parse_adapters(files: ModuleFiles, tensors: Mapping[str, Array], teacher: Architecture) -> Module:
    """Turn what the `adapters` library saved into pieces: adapters, or the layers that fuse some."""
    parse = fusion.parse if files.method == "fusion" else adapters.parse
    return parse(files, tensors, teacher)


PARSERS: Mapping[str, Callable[[ModuleFiles, Mapping[str, Array], Architecture], Module]] = {
    "peft": peft.parse,
    "adapters": _parse_adapters,
    "diff": diff.parse,
}
"""Format to the function that turns config and tensors into pieces: the whole table."""


def read_module(files: ModuleFiles, teacher: Architecture) -> Module:
    """Load a module.

    Args:
        files: What `inspect_files` found.
        teacher: The base model that the module belongs to.

    Returns:
        The module, its tensors in the files' own dtype.

    Raises:
        FormatError: a file is damaged, holds a tensor that is unknown, missing, not finite or of another
            shape than the base
            model needs, or disagrees with the config.
        ConversionError: the module trains something that modxfer does not move.
    """
    tensors: dict[str, Array] = {}
    for name in files.weight_files:
        for key, tensor in read_tensors(files.folder / name).items():
            check_tensor(key, tensor, where=f"`{name}`")
            tensors[key] = tensor
    return PARSERS[files.format](files, tensors, teacher)
