"""Every error that modxfer raises on purpose.

    ModxferError
    ├── UsageError          the request contradicts itself or names nothing that exists (exit status 2)
    ├── ArchitectureError   a base model's config or family is unknown or contradicts itself
    ├── FormatError         a file of a module, a base model or an alignment map is not what it says it is
    ├── CorpusError         text that cannot be read, or is too little
    ├── DataError           a task's data: not readable, not what the task needs, or not what the head knows
    ├── TrainingError       a training or an experiment that cannot go on
    ├── AlignmentError      statistics or maps that do not fit the two base models
    ├── ConversionError     a module that cannot be moved, or would arrive incomplete
    ├── StoreError          the local store cannot be read or written
    ├── EntryError          a registry or one of its entries is not what it must be
    ├── HubError            the Hub refuses, cannot be reached, or holds something else than it says
    ├── OutputError         a result cannot be written where it was asked for
    └── DependencyError     an optional package is needed for this and not installed

A message has two sentences: what is wrong and where, then what to do about it.
"""

from typing import ClassVar


class ModxferError(Exception):
    """Root of all errors that modxfer raises on purpose.

    Args:
        what: One sentence: what is wrong, with the value found, the value needed, and where.
        do: One sentence: what to do next (a flag, a command, a file).
    """

    exit_status: ClassVar[int] = 1

    def __init__(self, what: str, *, do: str) -> None:
        super().__init__(f"{what} {do}")
        self.what = what
        self.do = do


class UsageError(ModxferError):
    """The request contradicts itself or names something that does not exist."""

    exit_status: ClassVar[int] = 2


class ArchitectureError(ModxferError):
    """A base model's config is unreadable, of an unknown family, or contradicts itself."""


class FormatError(ModxferError):
    """A file is not what its name, header or config says it is."""


class CorpusError(ModxferError):
    """Text that cannot be read, or is too little for the statistics asked for."""


class DataError(ModxferError):
    """A task's data: it cannot be read, is not what the task needs, or has labels that the head does not know."""


class TrainingError(ModxferError):
    """A training or an experiment that cannot go on."""


class AlignmentError(ModxferError):
    """Statistics or maps that do not fit the two base models."""


class ConversionError(ModxferError):
    """A module that cannot be moved to the student, or would arrive incomplete."""


class StoreError(ModxferError):
    """The local store cannot be read or written."""


class EntryError(ModxferError):
    """A registry or one of its entries is not there, or not what it must be."""


class HubError(ModxferError):
    """The Hub refuses a request, cannot be reached, or holds something else than it says."""


class OutputError(ModxferError):
    """A result cannot be written where it was asked for."""


class DependencyError(ModxferError):
    """An optional package is needed for this and is not installed."""
