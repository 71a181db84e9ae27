"""Arguments and options that several commands share."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

DEFAULT_TOKENS = 20_000
"""As in `modxfer.api`, which is slow to import; a test compares them."""


class Head(StrEnum):
    """What to do with a module's prediction head."""

    KEEP = "keep"
    DROP = "drop"


class Format(StrEnum):
    """How a module is stored."""

    PEFT = "peft"
    ADAPTERS = "adapters"


class Device(StrEnum):
    """Where base models run."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"


ModuleArgument = Annotated[str, typer.Argument(metavar="MODULE", help="A folder, a Hub id or registry:NAME.")]
ToOption = Annotated[str, typer.Option("--to", metavar="MODEL", help="The student: a folder or a Hub id.")]
FromOption = Annotated[
    str | None,
    typer.Option("--from", metavar="MODEL", help="The teacher.  [default: what MODULE names]"),
]
LayersOption = Annotated[str, typer.Option("--layers", metavar="LAYERS", help="Layer map.")]
AlignOption = Annotated[str, typer.Option("--align", metavar="ALIGNER", help="How units are matched.")]
AlignmentOption = Annotated[
    str | None,
    typer.Option("--alignment", metavar="MAP", help="Map to use.  [default: see below]"),
]
CorpusOption = Annotated[
    str | None,
    typer.Option("--corpus", metavar="CORPUS", help="What to align on.  [default: see below]"),
]
ColumnOption = Annotated[
    str | None,
    typer.Option("--column", metavar="NAME", help="The text's column.  [default: text, tokens...]"),
]
TokensOption = Annotated[int, typer.Option("--tokens", metavar="N", help="Most matched tokens to use.")]
DeviceOption = Annotated[Device, typer.Option("--device", help="Where base models run.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace an output that exists.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Do everything but change files.")]
OfflineOption = Annotated[bool, typer.Option("--offline", help="Use what is on this machine; ask no Hub.")]
DropMissingOption = Annotated[bool, typer.Option("--drop-missing", help="Leave behind what the student has no role for.")]
LicenceOption = Annotated[
    str | None,
    typer.Option("--license", metavar="LICENSE", help="Its licence.  [default: the teacher module's]"),
]
MapLicenceOption = Annotated[
    str | None,
    typer.Option("--license", metavar="LICENSE", help="Its licence.  [default: what its card says]"),
]
CopyOption = Annotated[
    Path | None,
    typer.Option("--output", metavar="DIR", help="Folder for a copy.  [default: the cache only]"),
]
PrivateOption = Annotated[bool, typer.Option("--private", help="Make a new repository private.")]
NameArgument = Annotated[str, typer.Argument(metavar="ID", help="The Hub id, as in organisation/name; made if there is none.")]
CreatePrOption = Annotated[bool, typer.Option("--create-pr", help="Open a pull request instead of changing the branch.")]
BranchOption = Annotated[str, typer.Option("--revision", metavar="BRANCH", help="The branch; made if there is none.")]
MessageOption = Annotated[
    str | None, typer.Option("--message", metavar="TEXT", help="The commit's message.  [default: says what it is]")
]
ParentOption = Annotated[
    str | None,
    typer.Option("--parent-commit", metavar="HASH", help="Refuse unless the branch is at this commit."),
]
PushDryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show files, sizes and card; change nothing.")]

RegistryOption = Annotated[
    str | None,
    typer.Option("--registry", metavar="REGISTRY", help="The registry.  [default: MODXFER_REGISTRY]"),
]

JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
QuietOption = Annotated[bool, typer.Option("--quiet", help="Print results and errors only.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Print the traceback of an error.")]

HOW_TO = """LAYERS is skip (the first layer of each block), last, avg, avg-delta, teacher layers as in 0,2,4, or a JSON
file, which names the stacks of an encoder-decoder: {"encoder": [0, 2], "decoder": [0, 2]}.

MAP is a folder, the start of an id in the store (`modxfer align list`), a Hub id or registry:NAME. Without one, in this
order: the stored map, one that was pulled, one in the registry (if --registry or MODXFER_REGISTRY names one), one that the
owners of module and models (or those in MODXFER_TRUST) publish, a new one.

NAME is the id of an entry, as in acme/ner, of the registry that --registry or MODXFER_REGISTRY names: a folder, or a data
set on the Hub as in hf://datasets/acme/modules. What comes by it is held against the sizes and hashes in the entry.

ALIGNER is auto (it measures, and says why), identity, lsa (one-to-one), paper (lsa at the input) or linear.

CORPUS is a file (text, CoNLL, JSON, CSV, Parquet), a folder of such files or a data set id; for encoders of images a folder
of images. Without one it is the data set that MODULE's card names, else text that comes with modxfer."""
"""What the help pages of commands that align say below their options."""
