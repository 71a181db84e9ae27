"""From a module's files to its pieces."""

from collections.abc import Callable, Mapping

from modxfer.architectures import Architecture
from modxfer.converters.formats.adapters import reading as adapters
from modxfer.converters.formats.checks import check_tensor
from modxfer.converters.formats.files import read_tensors
from modxfer.converters.formats.peft import reading as peft
from modxfer.converters.module import Array, Module, ModuleFiles

PARSERS: Mapping[str, Callable[[ModuleFiles, Mapping[str, Array], Architecture], Module]] = {
    "peft": peft.parse,
    "adapters": adapters.parse,
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
