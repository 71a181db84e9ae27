"""The sizes of the demo: how much data, how many steps, which students."""

from dataclasses import dataclass
from pathlib import Path

from modxfer.demo.descending import Schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class Narrow:
    """Sizes of the incompatible student; everything else it has from the teacher.

    Attributes:
        hidden: Hidden size.
        heads: Attention heads, each as wide as the teacher's.
        ffn: Units inside the FFN.
    """

    hidden: int
    heads: int
    ffn: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoSettings:
    """Everything that decides what the demo computes, but for the seed.

    Attributes:
        teacher: Folder of the teacher; None for the one in the package of the `demo` extra.
        train_sentences: Sentences to train on, some of which are held out to choose the best checkpoint by.
        test_sentences: Sentences to evaluate on.
        max_tokens: Tokens of a text that are used.
        layers: The teacher layers that both students are made from.
        narrow: Sizes of the incompatible student.
        rank: LoRA rank.
        bottleneck: Width of the bottleneck adapter.
        teach: Schedule of the teacher's modules.
        distil: Schedule of the students' distillation.
        fine_tune: Schedule of the students' modules.
        corpus: What to align on, as `--corpus` takes it; None for the text that ships with the package.
        tokens: Matched tokens that an alignment uses at most.
    """

    teacher: Path | None
    train_sentences: int
    test_sentences: int
    max_tokens: int
    layers: tuple[int, ...]
    narrow: Narrow
    rank: int
    bottleneck: int
    teach: Schedule
    distil: Schedule
    fine_tune: Schedule
    corpus: str | None
    tokens: int


FULL = DemoSettings(
    teacher=None,
    train_sentences=1200,
    test_sentences=250,
    max_tokens=64,
    layers=(0, 2, 4),
    narrow=Narrow(hidden=256, heads=8, ffn=1024),
    rank=8,
    bottleneck=48,
    teach=Schedule(steps=150, batch_size=16, learning_rate=3e-3),
    distil=Schedule(steps=120, batch_size=32, learning_rate=5e-4),
    fine_tune=Schedule(steps=50, batch_size=16, learning_rate=3e-3),
    corpus=None,
    tokens=8000,
)
"""What `modxfer demo` runs."""
