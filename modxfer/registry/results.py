"""Putting what was measured of a module into its record and its card."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modxfer.alignments.files import hash_file
from modxfer.converters.formats.needed import CARD, TRANSFER
from modxfer.errors import OutputError, TrainingError, UsageError
from modxfer.paths import home, write_aside
from modxfer.registry.card_results import result_rows
from modxfer.registry.cards import module_card
from modxfer.registry.own_cards import FORMER_CARD, card_path, is_own_card
from modxfer.registry.transfers import as_text, read_transfer
from modxfer.registry.upkeep import locked

_SAME = ("task", "dataset", "metric", "stage", "seed")
"""What says which measurement a row is: a later one takes the place of an earlier one."""


def add_results(folder: Path, results: Sequence[Mapping[str, Any]]) -> None:
    """Write down what was measured of a module, in its `transfer.json` and in its card, unless the card is the user's own.

    The record is written first, and knows the hashes of both cards: whenever this is cut short, the folder verifies, and the
    card is still known to be modxfer's.

    Args:
        folder: A module that modxfer made.
        results: One row a measurement: `task`, `metric`, `value`, `dataset`, `seed`, `ran`, `interval`, `examples`, `stage`.
            Those of the same task, data set, metric, stage and seed are replaced.

    Raises:
        UsageError: modxfer did not make the module.
        FormatError: the folder does not hold what its record says.
        TrainingError: a value is no finite number.
        OutputError: the folder cannot be written.
    """
    check_results(results)
    if not (folder / TRANSFER).is_file():
        raise UsageError(
            f"`{folder}` holds no `{TRANSFER}`, so there is nowhere to write what was measured.",
            do="Name a folder that `modxfer convert` or `modxfer train` wrote, or leave `--write` out.",
        )
    with locked(home(), hashlib.sha256(str(folder.resolve()).encode()).hexdigest()):
        record = read_transfer(folder)
        path = card_path(folder)
        changed = {**record, "results": merge_results(result_rows(record), results)}
        files = dict(record["files"])
        writes_card = path is not None and not is_own_card(path, record)
        card = module_card(changed)
        if path is not None and writes_card:
            files[CARD] = hashlib.sha256(card.encode()).hexdigest()
            changed[FORMER_CARD] = hash_file(path)
        try:
            write_aside(folder / TRANSFER, as_text({**changed, "files": files}))
            if writes_card:
                write_aside(folder / CARD, card)
        except OSError as error:
            raise OutputError(
                f"Cannot write the results into `{folder}`: {error.strerror or error}.",
                do="Free some space, or make the folder writable.",
            ) from error


def merge_results(old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Put new results in the places of those of the same measurement, or at the end.

    Args:
        old: What is there.
        new: What was measured.

    Returns:
        One row a measurement.
    """
    rows = {json.dumps([row.get(key) for key in _SAME], sort_keys=True): row for row in (*old, *new)}
    return list(rows.values())


def check_results(results: Sequence[Mapping[str, Any]]) -> None:
    """Refuse results that are no numbers.

    Args:
        results: The rows.

    Raises:
        TrainingError: one is not.
    """
    for row in results:
        value = row.get("value")
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise TrainingError(
                f"The result `{row.get('metric')}` is {value}, and only finite numbers are written down.",
                do="Look at the loss: the training may have diverged, or the data may not be the module's.",
            )
