"""`modxfer evaluate`."""

from typing import Annotated

import typer

from modxfer.cli import options
from modxfer.cli import task_options as tasks
from modxfer.cli.errors import reporting

HOW_TO = """DATA is a file (CoNLL, JSON, CSV, TSV, Parquet), a folder with a test file, or a data set id as in
Babelscape/wikineural:en. With LANG= it says which language rows are in that do not say so themselves, as in de=test.conll.

MODULE and OTHER are folders, Hub ids or registry:NAME. A module without a head has to be trained first, with `modxfer train
--init MODULE`; one that was moved with its head is measured as it is.

Spans count as seqeval counts them: borders and kind must be right. Intervals are 95 % bootstrap intervals over examples; the
comparison is by paired approximate randomisation."""
"""What the help page says below the options."""


def evaluate(
    module: options.ModuleArgument,
    task: tasks.TaskOption,
    data: Annotated[list[str], typer.Option("--data", metavar="[LANG=]DATA", help="What to measure on; may be repeated.")],
    split: Annotated[
        str | None, typer.Option("--split", metavar="SPLIT", help="DATA's split.  [default: test, or the only one]")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="MODEL", help="The base model.  [default: what MODULE names]")
    ] = None,
    compare: Annotated[str | None, typer.Option("--compare", metavar="OTHER", help="A module to compare it with.")] = None,
    labels: Annotated[
        str | None,
        typer.Option("--labels", metavar="A,B,...", help="The head's labels in order, where MODULE does not say."),
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", help="Rows of each DATA at most.")] = None,
    max_tokens: tasks.MaxTokensOption = None,
    text_column: tasks.TextColumnOption = None,
    second_text_column: tasks.SecondTextColumnOption = None,
    label_column: tasks.LabelColumnOption = None,
    tokens_column: tasks.TokensColumnOption = None,
    tags_column: tasks.TagsColumnOption = None,
    language_column: tasks.LanguageColumnOption = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Seed of the draws.")] = 0,
    draws: Annotated[
        int | None,
        typer.Option("--draws", metavar="N", help="Random draws.  [default: 1000; 10000 to compare]"),
    ] = None,
    write: Annotated[bool, typer.Option("--write", help="Put the results into MODULE's card and record.")] = False,
    precision: tasks.PrecisionOption = tasks.Precision.AUTO,
    device: options.DeviceOption = options.Device.AUTO,
    registry: options.RegistryOption = None,
    offline: options.OfflineOption = False,
    json: options.JsonOption = False,
    quiet: options.QuietOption = False,
    debug: options.DebugOption = False,
) -> None:
    """Measure a module on a task's data: metrics with intervals, by label and by language, speed, a comparison."""
    with reporting(json=json, quiet=quiet, debug=debug) as out:
        from modxfer.cli.evaluation_reports import about, measured
        from modxfer.training.data.choice import ColumnChoice
        from modxfer.training.evaluating import EvaluationRequest, evaluate_module
        from modxfer.training.evaluation import DRAWS
        from modxfer.training.evaluation_request import COMPARISON_DRAWS, parse_source, split_labels
        from modxfer.training.settings import TrainingSettings

        request = EvaluationRequest(
            module=module,
            task=task,
            data=[parse_source(text) for text in data],
            model=model,
            split=split,
            columns=ColumnChoice(
                text=text_column,
                text2=second_text_column,
                label=label_column,
                tokens=tokens_column,
                tags=tags_column,
                language=language_column,
            ),
            limit=limit,
            labels=split_labels(labels) if labels is not None else None,
            settings=TrainingSettings(max_tokens=max_tokens, precision=precision.value, seed=seed, device=device.value),
            draws=DRAWS if draws is None else draws,
            comparison_draws=COMPARISON_DRAWS if draws is None else draws,
            compare=compare,
            registry=registry,
            write=write,
        )
        with out.progress("Predicting", unit="batches") as report:
            evaluated = evaluate_module(request, progress=report)
        out.warn(evaluated.warnings)
        out.note(about(evaluated))
        out.result(evaluated.as_json(), *measured(evaluated))
