"""Checkpoints on disk: which are whole, which one to go on from, and where a training stood when it was written."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from modxfer.paths import write_aside

_MANIFEST = "complete.json"
_STATE = "trainer_state.json"
"""The trainer's own name for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """One whole checkpoint.

    Attributes:
        folder: Where it is.
        step: Optimiser steps that were made before it.
        micro_batch_size: Examples a forward pass when it was written.
        is_last: Whether the training had come to its end.
        best: The best checkpoint then; None if no value was a number.
    """

    folder: Path
    step: int
    micro_batch_size: int
    is_last: bool
    best: Path | None


def seal(folder: Path) -> None:
    """Mark a checkpoint as whole, when all of it is written.

    Args:
        folder: The checkpoint.
    """
    sizes = {str(path.relative_to(folder)): path.stat().st_size for path in sorted(folder.rglob("*")) if path.is_file()}
    sizes.pop(_MANIFEST, None)
    write_aside(folder / _MANIFEST, json.dumps(sizes, indent=2) + "\n")


def find_last(folder: Path) -> Checkpoint | None:
    """Find the last whole checkpoint of a training.

    Args:
        folder: Where its checkpoints are.

    Returns:
        The checkpoint; None if there is none.
    """
    return max((found for path in _folders(folder) if (found := _read(path))), key=lambda found: found.step, default=None)


def remove_all_but(folder: Path, *, last: Checkpoint | None) -> None:
    """Remove checkpoints that a training does not go on from: half-written ones, and those of another training.

    Args:
        folder: Where the checkpoints are.
        last: The checkpoint that it goes on from; whole ones before it stay. None to begin anew.
    """
    for path in _folders(folder):
        found = _read(path)
        if last is None or found is None or found.step > last.step:
            shutil.rmtree(path, ignore_errors=True)


def change_micro_batch_size(checkpoint: Checkpoint, micro_batch_size: int) -> None:
    """Write another micro batch into a checkpoint: `transformers` 4.57 goes on with the one that it finds there.

    Args:
        checkpoint: The checkpoint.
        micro_batch_size: Examples a forward pass.
    """
    path = checkpoint.folder / _STATE
    state = json.loads(path.read_text(encoding="utf-8"))
    write_aside(path, json.dumps({**state, "train_batch_size": micro_batch_size}, indent=2, sort_keys=True) + "\n")
    seal(checkpoint.folder)


def _folders(folder: Path) -> list[Path]:
    return [path for path in folder.glob("checkpoint-*") if path.is_dir()]


def _read(folder: Path) -> Checkpoint | None:
    """Read a checkpoint; None if it was only half written, or half removed."""
    try:
        sizes = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        if any((folder / name).stat().st_size != size for name, size in sizes.items()):
            return None
        state = json.loads((folder / _STATE).read_text(encoding="utf-8"))
        control = state["stateful_callbacks"]["TrainerControl"]["args"]
        best = state["best_model_checkpoint"] and folder.parent / Path(state["best_model_checkpoint"]).name
        return Checkpoint(
            folder=folder,
            step=state["global_step"],
            micro_batch_size=state["train_batch_size"],
            is_last=state["global_step"] >= state["max_steps"] or control["should_training_stop"],
            best=best or None,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
