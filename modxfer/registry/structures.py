"""The structure of a base model: from its config, or read off its submodules where its family is not in the table."""

from collections.abc import Mapping
from pathlib import Path

from modxfer.architectures import FAMILIES, Architecture, architecture_from_config, read_config
from modxfer.architectures.inferring import infer_architecture, skeleton_from_library, skeleton_from_names
from modxfer.converters.formats.files import read_headers
from modxfer.registry.fingerprints import choose_weights, weight_files
from modxfer.registry.hub.headers import remote_headers
from modxfer.registry.hub.repositories import Repository


def read_architecture(folder: Path, *, name: str, repository: Repository | None = None) -> Architecture:
    """Read the structure of a base model. No weights are read, and of one on the Hub none are fetched.

    Args:
        folder: Where its config lies.
        name: What to call it in messages.
        repository: Where it comes from; None for a folder.

    Returns:
        The structure; inferred where the family is not in the table.

    Raises:
        ArchitectureError: the config cannot be read, or a structure that is not in the table is ambiguous or unknown.
        FormatError: the header of a file of its weights is damaged.
        HubError: a header is needed, and cannot be had.
    """
    config = read_config(folder)
    if str(config.get("model_type")) in FAMILIES:
        return architecture_from_config(config, name=name)
    shapes = _shapes(folder) if repository is None else _remote_shapes(repository)
    skeleton = skeleton_from_names(config, shapes) or skeleton_from_library(folder)
    if skeleton is None:
        return architecture_from_config(config, name=name)  # says that the family is unknown
    return infer_architecture(config, skeleton, name=name)


def inferred_warnings(*bases: Architecture) -> list[str]:
    """Say which structures were inferred.

    Args:
        *bases: Structures of base models.

    Returns:
        A sentence for each that was, and no sentence twice.
    """
    return list(
        dict.fromkeys(
            f"`{base.name}` is of the family `{base.model_type}`, which is not in the table: its roles were read off the names "
            "and shapes of its submodules."
            for base in bases
            if base.family.inferred
        )
    )


def _shapes(folder: Path) -> Mapping[str, tuple[int, ...]]:
    """List the tensors of a folder's safetensors; nothing of pickles, which are not opened for this."""
    files = weight_files(folder)
    if any(path.suffix != ".safetensors" for path in files):
        return {}
    return {header.key: header.shape for path in files for header in read_headers(path)}


def _remote_shapes(repository: Repository) -> Mapping[str, tuple[int, ...]]:
    found = [remote_headers(repository, name) for name in choose_weights(repository.files)]
    return {header.key: header.shape for headers in found if headers is not None for header in headers}
