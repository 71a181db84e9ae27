"""Options that the commands about tasks and their data share."""

from enum import StrEnum
from typing import Annotated

import typer


class Precision(StrEnum):
    """What models compute in."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


TaskOption = Annotated[str, typer.Option("--task", metavar="TASK", help="ner, nli, pi, text-classification or causal-lm.")]
PrecisionOption = Annotated[Precision, typer.Option("--precision", help="What to compute in; auto goes by device.")]
MaxTokensOption = Annotated[
    int | None,
    typer.Option("--max-tokens", metavar="N", help="Tokens of an example.  [default: what MODEL takes]"),
]
TextColumnOption = Annotated[
    str | None, typer.Option("--text-column", metavar="NAME", help="The text's column, or the first one's.")
]
SecondTextColumnOption = Annotated[
    str | None, typer.Option("--second-text-column", metavar="NAME", help="The second text's column.")
]
LabelColumnOption = Annotated[str | None, typer.Option("--label-column", metavar="NAME", help="The label's column.")]
TokensColumnOption = Annotated[str | None, typer.Option("--tokens-column", metavar="NAME", help="The words' column.")]
TagsColumnOption = Annotated[str | None, typer.Option("--tags-column", metavar="NAME", help="The tags' column.")]
LanguageColumnOption = Annotated[str | None, typer.Option("--language-column", metavar="NAME", help="The language's column.")]
