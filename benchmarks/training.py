"""Fine-tuning against the plain trainers of `transformers` and `adapters`: same model, data, batches, order and settings."""

import contextlib
import io
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modxfer.alignments.corpus import open_corpus
from modxfer.training.data.encoding import Encoded, encode, make_collator
from modxfer.training.data.rows import TaggedRow
from modxfer.training.fitting.fit import fit
from modxfer.training.libraries.choosing import library_for_method
from modxfer.training.libraries.context import quiet
from modxfer.training.libraries.library import Library, Wanted
from modxfer.training.limits import load_tokenizer
from modxfer.training.settings import TrainingSettings
from modxfer.training.tallies import tally
from modxfer.training.tasks import TASKS

TASK = TASKS["ner"]
LABELS = ("O", "B-WORD", "I-WORD")
MAX_TOKENS = 64
VALIDATION_ROWS = 48


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """Examples trained on in a second, checkpoints and looks at the validation split included.

    Attributes:
        ours: Median of ours.
        theirs: Median of the plain trainer's.
        ratio: Median of the ratios of neighbouring runs, ours by theirs.
        lowest: Smallest of those ratios.
        highest: Largest of those ratios.
    """

    ours: float
    theirs: float
    ratio: float
    lowest: float
    highest: float


def devices() -> tuple[str, ...]:
    """List what can be measured here.

    Returns:
        "cpu", and "cuda" where there is an accelerator.
    """
    import torch

    return ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)


def compare_with_plain_trainer(
    base: Path, *, method: str, device: str, steps: int = 24, batch_size: int = 16, runs: int = 5
) -> Throughput:
    """Train a module with modxfer and with the library's own trainer, in turn, after one warm-up each.

    Args:
        base: The base model's folder.
        method: "lora" or "bottleneck".
        device: "cpu" or "cuda".
        steps: Optimiser steps of a run; the validation split is looked at before the first, after half of them, and at the end.
        batch_size: Examples a step.
        runs: Counted runs of each.

    Returns:
        The throughputs.
    """
    library = library_for_method(method)
    tokenizer = load_tokenizer(base)
    train, validation = _encode(tokenizer)
    settings = TrainingSettings(
        max_steps=steps,
        batch_size=batch_size,
        eval_steps=steps // 2,
        patience=None,
        max_tokens=MAX_TOKENS,
        precision="fp32" if device == "cpu" else "bf16",
        device=device,
    )
    wanted = Wanted(base=base, task=TASK, labels=LABELS, method=method, attention="eager" if device == "cpu" else None)
    work = _Work(library=library, wanted=wanted, tokenizer=tokenizer, train=train, validation=validation, settings=settings)
    with quiet():
        pairs = [(work.seconds(work.ours), work.seconds(work.plain)) for _ in range(runs + 1)][1:]
    examples = steps * batch_size
    ratios = [plain / ours for ours, plain in pairs]
    return Throughput(
        ours=examples / statistics.median(ours for ours, _ in pairs),
        theirs=examples / statistics.median(plain for _, plain in pairs),
        ratio=statistics.median(ratios),
        lowest=min(ratios),
        highest=max(ratios),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """One training, to be done either way."""

    library: Library
    wanted: Wanted
    tokenizer: Any
    train: Encoded
    validation: Encoded
    settings: TrainingSettings

    def seconds(self, run: Callable[[Any, Path], None]) -> float:
        """Time a run, without making its model."""
        model = self.library.start(self.wanted)
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            start = time.perf_counter()
            run(model, Path(folder))
            return time.perf_counter() - start

    def ours(self, model: Any, folder: Path) -> None:
        """Train with modxfer."""
        fit(
            model,
            self.library,
            task=TASK,
            train=self.train,
            validation=self.validation,
            tokenizer=self.tokenizer,
            settings=self.settings,
            work=folder,
            score=lambda predictions: tally(TASK, self.validation, predictions).values(),
        )

    def plain(self, model: Any, folder: Path) -> None:
        """Train with the library's own trainer, which looks at the validation split and keeps the best checkpoint too."""
        import transformers

        settings = self.settings
        arguments = transformers.TrainingArguments(
            output_dir=str(folder),
            max_steps=settings.max_steps or 0,
            per_device_train_batch_size=settings.batch_size,
            per_device_eval_batch_size=settings.batch_size,
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
            warmup_steps=round(settings.warmup * (settings.max_steps or 0)),
            lr_scheduler_type=settings.schedule,
            eval_strategy="steps",
            eval_steps=settings.eval_steps,
            eval_on_start=True,
            save_strategy="steps",
            save_steps=settings.eval_steps or 0,
            save_total_limit=1,
            load_best_model_at_end=True,
            metric_for_best_model="f1",
            logging_steps=settings.eval_steps or 0,
            report_to=[],
            seed=settings.seed,
            bf16=settings.precision == "bf16",
            use_cpu=settings.device == "cpu",
            disable_tqdm=True,
        )
        trainer = _trainer_class(self.library)(
            model=model,
            args=arguments,
            train_dataset=list(self.train.examples),
            eval_dataset=list(self.validation.examples),
            data_collator=make_collator(TASK, self.tokenizer),
            compute_metrics=_f1,
        )
        trainer.train()


def _trainer_class(library: Library) -> Any:
    if library.format == "adapters":
        import adapters

        return adapters.AdapterTrainer
    import transformers

    return transformers.Trainer


def _f1(outputs: Any) -> dict[str, float]:
    """Score spans as the examples of `transformers` do it."""
    from seqeval.metrics import f1_score

    predicted = outputs.predictions.argmax(axis=-1)
    rows = list(zip(predicted.tolist(), outputs.label_ids.tolist(), strict=True))
    kept = [[(LABELS[a], LABELS[b]) for a, b in zip(*row, strict=True) if b >= 0] for row in rows]
    found, true = ([[pair[index] for pair in row] for row in kept] for index in (0, 1))
    return {"f1": float(f1_score(true, found))}


def _encode(tokenizer: Any) -> tuple[Encoded, Encoded]:
    """Tag the text that ships with the package: words with a capital letter are spans."""
    rows = [_tag(text.split()) for text in open_corpus(None).texts()]
    splits: Sequence[Sequence[TaggedRow]] = (rows[VALIDATION_ROWS:], rows[:VALIDATION_ROWS])
    train, validation = (encode(part, tokenizer, task=TASK, labels=LABELS, max_tokens=MAX_TOKENS) for part in splits)
    return train, validation


def _tag(words: list[str]) -> TaggedRow:
    tags = ["B-WORD" if word[:1].isupper() else "O" for word in words]
    return TaggedRow(words=tuple(words), tags=tuple(tags))
