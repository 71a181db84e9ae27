"""Where a training keeps its checkpoints until it is done, so that one that was killed can go on."""

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modxfer.errors import OutputError, UsageError
from modxfer.paths import write_aside

REQUEST = "request.json"

_SUFFIX = "-checkpoints"
_CHECKPOINTS = "checkpoints/checkpoint-*"  # as `transformers` calls them
_LOGS = "checkpoints/runs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workplace:
    """The folder of one training's checkpoints.

    Attributes:
        folder: The folder; beside the output, so that a full disk shows early.
        is_resumed: Whether a training that was begun here goes on.
    """

    folder: Path
    is_resumed: bool

    def remove(self) -> None:
        """Remove the folder with all that is in it, but for what TensorBoard shows: that is put beside it."""
        logs = self.folder / _LOGS
        try:
            if logs.is_dir():
                shutil.copytree(
                    logs, self.folder.with_name(self.folder.name.removesuffix(_SUFFIX) + "-runs"), dirs_exist_ok=True
                )
        except OSError:
            return  # better too much is left than too little
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextlib.contextmanager
    def until_done(self) -> Iterator[None]:
        """Keep the folder if the block does not end well, but only if there is a checkpoint in it to go on from.

        Yields:
            Nothing.
        """
        try:
            yield
        except BaseException:
            if not any(self.folder.glob(_CHECKPOINTS)):
                self.remove()
            raise


def place_of(output: Path) -> Path:
    """Name the folder of a training's checkpoints.

    Args:
        output: Where the module is to be written.

    Returns:
        The folder beside it.
    """
    return output.parent / f"{output.name}{_SUFFIX}"


def open_workplace(output: Path, *, asked: Mapping[str, Any], resume: bool, force: bool, is_main: bool) -> Workplace:
    """Make the folder of a training's checkpoints, or find the one of a training that was begun.

    Args:
        output: Where the module is to be written.
        asked: All that decides the training's result, as plain values.
        resume: Go on with what was begun; where nothing was, begin.
        force: Begin anew where something was begun.
        is_main: Whether this process looks after the folder; others of one training take it as it will be.

    Returns:
        The folder.

    Raises:
        OutputError: something was begun there, and neither going on nor beginning anew was asked for; or the folder is someone
            else's; or it cannot be written.
        UsageError: something else was begun there.
    """
    folder = place_of(output)
    if not is_main:
        return Workplace(folder=folder, is_resumed=resume)
    if folder.is_dir() and not (folder / REQUEST).exists() and any(folder.iterdir()):
        raise OutputError(
            f"`{folder}` is where the checkpoints go, and it holds something else.",
            do="Move that away, or name another place with `--output`.",
        )
    request = json.loads(json.dumps(asked))
    begun = _read(folder / REQUEST)
    if folder.exists() and resume and begun is not None:
        _check_same(begun, request, folder)
        return Workplace(folder=folder, is_resumed=True)
    if folder.exists() and not (resume or force):
        raise OutputError(
            f"A training that did not end left its checkpoints in `{folder}`.",
            do="Go on with it with `--resume`, or begin anew with `--force`.",
        )
    shutil.rmtree(folder, ignore_errors=True)
    try:
        write_aside(folder / REQUEST, json.dumps(request, indent=2) + "\n")
    except OSError as error:
        raise OutputError(
            f"Cannot write `{folder}`: {error.strerror or error}.", do="Name a place that can be written with `--output`."
        ) from error
    return Workplace(folder=folder, is_resumed=False)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def _check_same(begun: Mapping[str, Any], asked: Mapping[str, Any], folder: Path) -> None:
    others = sorted(key for key in {*begun, *asked} if begun.get(key) != asked.get(key))
    if others:
        raise UsageError(
            f"The training in `{folder}` was begun with another {' and another '.join(f'`{key}`' for key in others)}.",
            do="Give the same as then, or begin anew with `--force`.",
        )
