"""The tasks that modules are trained for and measured on: one row each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from modxfer.errors import UsageError

Kind = Literal["tagging", "classification", "causal-lm"]
"""What a row of the data is: words with a tag each, one or two texts with a label, or a text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One task.

    Attributes:
        name: What users call it.
        title: What it is, in words.
        kind: What a row of its data is.
        texts: How many texts a row may have; empty for tagging, whose rows are words.
        metric: The metric that checkpoints are chosen by, and that tables show.
        is_higher_better: Whether more of that metric is better.
        peft_type: `peft`'s task type.
        model_class: The class of `transformers` that has a head for it.
        hub_task: The Hub's name of the task.
    """

    name: str
    title: str
    kind: Kind
    texts: tuple[int, ...]
    metric: str
    is_higher_better: bool
    peft_type: str
    model_class: str
    hub_task: str


def _classification(name: str, title: str, *, texts: tuple[int, ...], metric: str = "accuracy") -> Task:
    return Task(
        name=name,
        title=title,
        kind="classification",
        texts=texts,
        metric=metric,
        is_higher_better=True,
        peft_type="SEQ_CLS",
        model_class="AutoModelForSequenceClassification",
        hub_task="text-classification",
    )


TASKS: Mapping[str, Task] = {
    task.name: task
    for task in (
        Task(
            name="ner",
            title="named entity recognition",
            kind="tagging",
            texts=(),
            metric="f1",
            is_higher_better=True,
            peft_type="TOKEN_CLS",
            model_class="AutoModelForTokenClassification",
            hub_task="token-classification",
        ),
        _classification("nli", "natural language inference", texts=(2,)),
        _classification("pi", "paraphrase identification", texts=(2,)),
        _classification("text-classification", "classification of one text or of a pair", texts=(1, 2)),
        Task(
            name="causal-lm",
            title="language modelling, left to right",
            kind="causal-lm",
            texts=(1,),
            metric="perplexity",
            is_higher_better=False,
            peft_type="CAUSAL_LM",
            model_class="AutoModelForCausalLM",
            hub_task="text-generation",
        ),
    )
}
"""Name to task: the whole table."""


def find_task(name: str) -> Task:
    """Find a task by its name.

    Args:
        name: The name.

    Returns:
        The task.

    Raises:
        UsageError: there is none of that name.
    """
    if name not in TASKS:
        raise UsageError(f"There is no task `{name}`.", do=f"Use one of {', '.join(TASKS)} with `--task`.")
    return TASKS[name]
