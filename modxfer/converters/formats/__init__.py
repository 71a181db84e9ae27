"""Formats: how a module lies on disk. All foreign file names, config keys and tensor keys stop here."""

from modxfer.converters.formats.adapters.heads import adapters_head_shape, static_task
from modxfer.converters.formats.heads import HeadShape, head_shape
from modxfer.converters.formats.inspection import inspect_files
from modxfer.converters.formats.reading import read_module
from modxfer.converters.formats.reformatting import reformat
from modxfer.converters.formats.writing import write_module

FORMATS = ("peft", "adapters", "diff")
"""What a module's format can be."""

__all__ = [
    "FORMATS",
    "HeadShape",
    "adapters_head_shape",
    "head_shape",
    "inspect_files",
    "read_module",
    "reformat",
    "static_task",
    "write_module",
]
