"""`modxfer train`."""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from modxfer.cli import options
from modxfer.cli import task_options as tasks
from modxfer.cli.errors import reporting

HOW_TO = """DATA is a file (CoNLL, JSON, CSV, TSV, Parquet), a folder with train, validation and test files, or a data set id as
in Babelscape/wikineural:en. Of a single file a part is held out for validation, and chosen by.

MODULE is a folder, a Hub id or registry:NAME. With --init it belongs to STUDENT already; with --init-from it belongs to
another base model (--from), and is converted first, as `modxfer convert` does it: --layers, --align, --alignment and
--corpus are for that, and `modxfer convert --help` says what they take.

The defaults are those of --preset default; paper has others: 10 epochs (30 for pi), rate 0.00001, batch 64, no patience.

METHOD is lora or bottleneck (that one needs `pip install 'modxfer[adapters]'`). A module that is named has its own.

Checkpoints lie beside the output until it is written; --resume goes on with them after a kill. `accelerate launch -m
modxfer train ...` trains on several GPUs; --batch-size is that of all of them together."""
"""What the help page says below the options."""


LAYERS, ALIGNER = "skip", "auto"


class Preset(StrEnum):
    """Settings to begin with."""

    DEFAULT = "default"
    PAPER = "paper"


class Schedule(StrEnum):
    """How the learning rate falls."""

    LINEAR = "linear"
    COSINE = "cosine"
    CONSTANT = "constant"


class NewHead(StrEnum):
    """What to do with the initialisation's head."""

    KEEP = "keep"
    NEW = "new"


def train(
    model: Annotated[str, typer.Option("--model", metavar="STUDENT", help="The base model: a folder or a Hub id.")],
    task: tasks.TaskOption,
    data: Annotated[str, typer.Option("--data", metavar="DATA", help="What to train on.")],
    validation: Annotated[
        str | None, typer.Option("--validation", metavar="DATA", help="What to choose by.  [default: in DATA, or held out]")
    ] = None,
    test: Annotated[
        str | None, typer.Option("--test", metavar="DATA", help="What to report on.  [default: in DATA, if it is there]")
    ] = None,
    method: Annotated[
        str | None, typer.Option("--method", metavar="METHOD", help="Kind of module.  [default: lora, or MODULE's]")
    ] = None,
    init: Annotated[str | None, typer.Option("--init", metavar="MODULE", help="Begin with this module.")] = None,
    init_from: Annotated[
        str | None, typer.Option("--init-from", metavar="MODULE", help="Convert this module, and begin with it.")
    ] = None,
    teacher: Annotated[
        str | None, typer.Option("--from", metavar="MODEL", help="Its teacher.  [default: what MODULE names]")
    ] = None,
    drop_missing: options.DropMissingOption = False,
    head: Annotated[NewHead, typer.Option("--head", help="The head of MODULE.")] = NewHead.KEEP,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="DIR", help="Folder to write.  [default: STUDENT-TASK-METHOD]")
    ] = None,
    preset: Annotated[Preset, typer.Option("--preset", help="Settings to begin with.")] = Preset.DEFAULT,
    epochs: Annotated[float | None, typer.Option("--epochs", metavar="N", help="Passes over the data.  [default: 10]")] = None,
    max_steps: Annotated[int | None, typer.Option("--max-steps", metavar="N", help="Steps at most.")] = None,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", metavar="RATE", help="The highest one.  [default: 0.001]")
    ] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", metavar="N", help="Examples a step.  [default: 16]")] = None,
    micro_batch_size: Annotated[
        int | None, typer.Option("--micro-batch-size", metavar="N", help="Examples at once.  [default: the batch]")
    ] = None,
    schedule: Annotated[Schedule | None, typer.Option("--schedule", help="How the rate falls.  [default: linear]")] = None,
    warmup: Annotated[
        float | None, typer.Option("--warmup", metavar="PART", help="Part of the steps it rises.  [default: 0.1]")
    ] = None,
    weight_decay: Annotated[float | None, typer.Option("--weight-decay", metavar="W", help="AdamW's.  [default: 0.01]")] = None,
    eval_steps: Annotated[
        int | None, typer.Option("--eval-steps", metavar="N", help="Steps between validations.  [default: an epoch, or a 5th]")
    ] = None,
    patience: Annotated[
        int | None, typer.Option("--patience", metavar="N", help="Validations without gain to stop after.  [default: 5]")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", metavar="N", help="Tokens of an example.  [default: what STUDENT takes]")
    ] = None,
    rank: Annotated[int | None, typer.Option("--rank", metavar="N", help="LoRA: its rank.  [default: 8]")] = None,
    alpha: Annotated[float | None, typer.Option("--alpha", metavar="A", help="LoRA: alpha.  [default: twice the rank]")] = None,
    dropout: Annotated[float | None, typer.Option("--dropout", metavar="P", help="LoRA: dropout.  [default: 0]")] = None,
    targets: Annotated[
        str | None, typer.Option("--targets", metavar="ROLES", help="LoRA: where.  [default: query,value]")
    ] = None,
    size: Annotated[int | None, typer.Option("--size", metavar="N", help="Bottleneck: its units.  [default: a 16th]")] = None,
    text_column: tasks.TextColumnOption = None,
    second_text_column: tasks.SecondTextColumnOption = None,
    label_column: tasks.LabelColumnOption = None,
    tokens_column: tasks.TokensColumnOption = None,
    tags_column: tasks.TagsColumnOption = None,
    language_column: tasks.LanguageColumnOption = None,
    train_split: Annotated[str | None, typer.Option("--train-split", metavar="SPLIT", help="DATA's split to train on.")] = None,
    validation_split: Annotated[
        str | None, typer.Option("--validation-split", metavar="SPLIT", help="The split to choose by.")
    ] = None,
    test_split: Annotated[str | None, typer.Option("--test-split", metavar="SPLIT", help="The split to report on.")] = None,
    holdout: Annotated[float, typer.Option("--holdout", metavar="PART", help="Part of one file to choose by.")] = 0.1,
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", help="Rows to train on at most.")] = None,
    layers: options.LayersOption = LAYERS,
    align: options.AlignOption = ALIGNER,
    alignment: options.AlignmentOption = None,
    corpus: options.CorpusOption = None,
    precision: tasks.PrecisionOption = tasks.Precision.AUTO,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Initialisation, order, dropout.")] = 0,
    report_to: Annotated[
        str | None, typer.Option("--report-to", metavar="NAMES", help="As in transformers: tensorboard,wandb...")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a training that was killed.")] = False,
    keep_checkpoints: Annotated[bool, typer.Option("--keep-checkpoints", help="Leave the checkpoints there.")] = False,
    registry: options.RegistryOption = None,
    force: options.ForceOption = False,
    offline: options.OfflineOption = False,
    device: options.DeviceOption = options.Device.AUTO,
    json: options.JsonOption = False,
    quiet: options.QuietOption = False,
    debug: options.DebugOption = False,
) -> None:
    """Train a module on a base model: a new one, or one that was moved there. Measures it, and writes what it measured.

    Prints the folder of the result; what was done goes to stderr.
    """
    with reporting(json=json, quiet=quiet, debug=debug) as out:
        if init_from is None:
            _refuse_unused(
                {
                    "--from": teacher,
                    "--drop-missing": "" if drop_missing else None,
                    "--layers": layers if layers != LAYERS else None,
                    "--align": align if align != ALIGNER else None,
                    "--alignment": alignment,
                    "--corpus": corpus,
                }
            )

        from modxfer import api
        from modxfer.cli.training_reports import training_summary
        from modxfer.training.data.choice import ColumnChoice, DataChoice
        from modxfer.training.settings import preset as take_preset
        from modxfer.training.train import TrainRequest

        settings = take_preset(
            preset.value,
            task=task,
            epochs=epochs,
            max_steps=max_steps,
            learning_rate=learning_rate,
            batch_size=batch_size,
            micro_batch_size=micro_batch_size,
            schedule=schedule.value if schedule else None,
            warmup=warmup,
            weight_decay=weight_decay,
            eval_steps=eval_steps,
            patience=patience,
            max_tokens=max_tokens,
            precision=precision.value,
            seed=seed,
            device=device.value,
            report_to=tuple(name.strip() for name in report_to.split(",")) if report_to else None,
        )
        roles = [name.strip() for name in targets.split(",")] if targets else None
        given = {"rank": rank, "alpha": alpha, "dropout": dropout, "targets": roles, "size": size}
        request = TrainRequest(
            model=model,
            task=task,
            data=DataChoice(
                data=data,
                validation=validation,
                test=test,
                train_split=train_split,
                validation_split=validation_split,
                test_split=test_split,
                columns=ColumnChoice(
                    text=text_column,
                    text2=second_text_column,
                    label=label_column,
                    tokens=tokens_column,
                    tags=tags_column,
                    language=language_column,
                ),
                holdout=holdout,
                limit_train=limit,
            ),
            method=method,
            options={name: value for name, value in given.items() if value is not None},
            init=init,
            head=head.value,
            settings=settings,
            output=output,
            keep_checkpoints=keep_checkpoints,
            registry=registry,
        )
        choice = api.AlignmentChoice(aligner=align, alignment=alignment, corpus=corpus, device=device.value, registry=registry)
        with out.progress("Training") as report:
            trained = api.train(
                request,
                init_from=init_from,
                teacher=teacher,
                layers=layers,
                align=choice,
                drop_missing=drop_missing,
                force=force,
                resume=resume,
                progress=report,
            )
        if not trained.record:  # another process of the same training writes and reports
            return
        out.warn(trained.warnings)
        out.note(training_summary(trained))
        out.result(trained.as_json(), str(trained.output))


def _refuse_unused(given: Mapping[str, str | None]) -> None:
    """Refuse options of a conversion where nothing is converted: who gives them believes that they do something."""
    from modxfer.errors import UsageError

    for flag, value in given.items():
        if value is not None:
            raise UsageError(
                f"`{f'{flag} {value[:200]}'.strip()}` is for a module that is converted first, and no `--init-from` is given.",
                do=f"Name that module with `--init-from`, or leave `{flag}` out.",
            )
