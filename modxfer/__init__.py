"""modxfer: move PEFT modules from the base model they were trained on to another one.

Public names are loaded when they are first used, so that importing the package costs nothing.
"""

import importlib
import typing

if typing.TYPE_CHECKING:
    from modxfer.alignments.files import read_alignment as read_alignment
    from modxfer.alignments.files import write_alignment as write_alignment
    from modxfer.api import AlignmentChoice as AlignmentChoice
    from modxfer.api import Converted as Converted
    from modxfer.api import FoundAlignment as FoundAlignment
    from modxfer.api import Pulled as Pulled
    from modxfer.api import PushChoice as PushChoice
    from modxfer.api import Pushed as Pushed
    from modxfer.api import compute_alignment as compute_alignment
    from modxfer.api import convert as convert
    from modxfer.api import evaluate as evaluate
    from modxfer.api import find_alignment_map as find_alignment_map
    from modxfer.api import pull as pull
    from modxfer.api import pull_alignment as pull_alignment
    from modxfer.api import push as push
    from modxfer.api import push_alignment as push_alignment
    from modxfer.api import train as train
    from modxfer.errors import ModxferError as ModxferError
    from modxfer.registry.inspection import inspect as inspect
    from modxfer.registry.reports import BaseReport as BaseReport
    from modxfer.registry.reports import ModuleReport as ModuleReport
    from modxfer.registry.shared_map import AlignmentMap as AlignmentMap
    from modxfer.training.data.choice import ColumnChoice as ColumnChoice
    from modxfer.training.data.choice import DataChoice as DataChoice
    from modxfer.training.evaluation_request import DataSource as DataSource
    from modxfer.training.evaluation_request import Evaluated as Evaluated
    from modxfer.training.evaluation_request import EvaluationRequest as EvaluationRequest
    from modxfer.training.settings import TrainingSettings as TrainingSettings
    from modxfer.training.train import Trained as Trained
    from modxfer.training.train import TrainRequest as TrainRequest

    __version__: str

_HOMES = {
    "AlignmentChoice": "modxfer.api",
    "AlignmentMap": "modxfer.registry.shared_map",
    "BaseReport": "modxfer.registry.reports",
    "ColumnChoice": "modxfer.training.data.choice",
    "Converted": "modxfer.api",
    "DataChoice": "modxfer.training.data.choice",
    "DataSource": "modxfer.training.evaluation_request",
    "Evaluated": "modxfer.training.evaluation_request",
    "EvaluationRequest": "modxfer.training.evaluation_request",
    "FoundAlignment": "modxfer.api",
    "ModuleReport": "modxfer.registry.reports",
    "ModxferError": "modxfer.errors",
    "Pulled": "modxfer.api",
    "PushChoice": "modxfer.api",
    "Pushed": "modxfer.api",
    "TrainRequest": "modxfer.training.train",
    "Trained": "modxfer.training.train",
    "TrainingSettings": "modxfer.training.settings",
    "compute_alignment": "modxfer.api",
    "convert": "modxfer.api",
    "evaluate": "modxfer.api",
    "find_alignment_map": "modxfer.api",
    "inspect": "modxfer.registry.inspection",
    "pull": "modxfer.api",
    "pull_alignment": "modxfer.api",
    "push": "modxfer.api",
    "push_alignment": "modxfer.api",
    "read_alignment": "modxfer.alignments.files",
    "train": "modxfer.api",
    "write_alignment": "modxfer.alignments.files",
}
"""Public name to the module that it lives in."""

__all__ = [
    "AlignmentChoice",
    "AlignmentMap",
    "BaseReport",
    "ColumnChoice",
    "Converted",
    "DataChoice",
    "DataSource",
    "Evaluated",
    "EvaluationRequest",
    "FoundAlignment",
    "ModuleReport",
    "ModxferError",
    "Pulled",
    "PushChoice",
    "Pushed",
    "TrainRequest",
    "Trained",
    "TrainingSettings",
    "__version__",
    "compute_alignment",
    "convert",
    "evaluate",
    "find_alignment_map",
    "inspect",
    "pull",
    "pull_alignment",
    "push",
    "push_alignment",
    "read_alignment",
    "train",
    "write_alignment",
]


def __getattr__(name: str) -> typing.Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("modxfer")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"modxfer has no `{name}`; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return __all__
