"""Files of parameter differences as their own library writes and applies them, told from its description and not with our code.

Source: composable-sft (Ansell et al. 2022, arXiv 2110.07560), `src/sft/sft.py`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

FILE = "pytorch_diff.bin"


def encode(difference: torch.Tensor) -> dict[str, Any]:
    """Write a difference as the library does: the first axis counts fastest, and the first step is a number of numpy."""
    flat = difference.permute(*reversed(range(difference.ndim))).reshape(-1)
    indices = flat.nonzero()[:, 0].numpy()
    steps: list[Any] = np.diff(indices).tolist()
    return {
        "size": difference.size(),
        "index_steps": [indices[0], *steps] if len(indices) else [],
        "values": flat[indices],
    }


def save(folder: Path, differences: dict[str, torch.Tensor], values: dict[str, torch.Tensor] | None = None) -> Path:
    """Save differences, and whole values, by the names of parameters."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {"diffs": {name: encode(tensor) for name, tensor in differences.items()}, "abs": values or {}}
    torch.save(content, folder / FILE)
    return folder


def load(folder: Path) -> dict[str, Any]:
    """Load a file of this module's own making, or one that modxfer wrote."""
    content: dict[str, Any] = torch.load(folder / FILE, weights_only=False)
    return content


def apply(folder: Path, model: Any) -> None:
    """Add the differences of a file to a model's parameters, and put whole values in their place; all names must be there."""
    content = torch.load(folder / FILE, weights_only=True)
    with torch.no_grad():
        for name, entry in content["diffs"].items():
            parameter = model.get_parameter(name)
            assert parameter.shape == entry["size"]
            indices = np.cumsum(entry["index_steps"], dtype=np.int64)
            where = np.unravel_index(indices, tuple(entry["size"]), order="F")
            parameter[tuple(map(torch.from_numpy, where))] += entry["values"]
        for name, value in content["abs"].items():
            model.get_parameter(name).copy_(value)


def fine_tune(
    model: Any, folder: Path, *, trained: Callable[[str], bool], whole: tuple[str, ...] = (), share: float = 0.4, seed: int = 3
) -> Path:
    """Change a share of the entries of some parameters, replace others whole, and save what was changed."""
    generator = torch.Generator().manual_seed(seed)
    differences, values = {}, {}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator).to(parameter.dtype)
            if whole and name.startswith(whole):
                parameter.add_(noise)
                values[name] = parameter.detach().clone()
            elif trained(name):
                kept = torch.rand(parameter.shape, generator=generator) < share
                differences[name] = noise * 0.3 * kept
                parameter.add_(differences[name])
    assert differences
    return save(folder, differences, values)
