"""Brief distillation: a student learns to give the teacher's hidden states, block by block of layers. Runs models."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import transformers

from modxfer.demo.descending import Progress, Schedule, descend, draw_batches, pad
from modxfer.demo.students import Cut


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """A batch of text with what the teacher made of it.

    Attributes:
        ids: Token ids, shape (texts, tokens).
        mask: 1 for tokens, 0 for padding, of the same shape.
        states: The teacher's hidden states of the embeddings and after every block, float16, each of shape (tokens without
            padding, units).
    """

    ids: torch.Tensor
    mask: torch.Tensor
    states: tuple[torch.Tensor, ...]


def prepare_lessons(
    teacher: transformers.BertModel,
    texts: Sequence[str],
    tokenizer: Any,
    *,
    layers: Sequence[int],
    batch_size: int,
    max_tokens: int,
) -> list[Lesson]:
    """Run the teacher once over all text. Student layer i stands for the teacher layers from `layers[i]` to the next one.

    Args:
        teacher: The teacher.
        texts: The text.
        tokenizer: Its tokenizer.
        layers: The first teacher layer of each block.
        batch_size: Texts a batch; texts of like length are put together.
        max_tokens: Tokens of a text to use, special tokens included.

    Returns:
        The batches, the shortest texts first.
    """
    rows = sorted(tokenizer(list(texts), truncation=True, max_length=max_tokens)["input_ids"], key=len)
    levels = (0, *layers[1:], teacher.config.num_hidden_layers)
    lessons = []
    with torch.no_grad():  # not inference mode: a student that learns its embeddings needs the ids again
        for start in range(0, len(rows), batch_size):
            batch = rows[start : start + batch_size]
            ids = torch.from_numpy(pad(batch, tokenizer.pad_token_id))
            mask = torch.from_numpy(pad([[1] * len(row) for row in batch], 0))
            hidden = teacher(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
            states = tuple(hidden[level][mask.bool()].half() for level in levels)
            lessons.append(Lesson(ids=ids, mask=mask, states=states))
    return lessons


def pick_blocks(lessons: Sequence[Lesson], prepared: Sequence[int], *, layers: Sequence[int]) -> list[Lesson]:
    """Take the lessons of a student with fewer blocks from lessons that were prepared for more.

    Args:
        lessons: The lessons.
        prepared: The first teacher layer of each block that they were prepared for.
        layers: The first teacher layer of each of the student's blocks, all of them in `prepared`.

    Returns:
        The lessons; nothing is copied.
    """
    kept = [0, *(prepared.index(layer) for layer in layers[1:]), len(prepared)]
    return [replace(lesson, states=tuple(lesson.states[index] for index in kept)) for lesson in lessons]


def distil(
    student: transformers.BertModel,
    lessons: Sequence[Lesson],
    *,
    cut: Cut | None,
    schedule: Schedule,
    seed: int,
    progress: Progress,
) -> None:
    """Train a student, in place, to give the teacher's hidden states through a learned projection.

    The loss is the squared error relative to the variance of the teacher's states, averaged over embeddings and blocks.
    A student that was cut out of the teacher keeps its embeddings of words and positions; one as wide as the teacher needs no
    projection. A student with weights of its own learns its embeddings too, through a projection that starts at random.

    Args:
        student: The student.
        lessons: Text and the teacher's hidden states.
        cut: Which units the student was made of: where the projection starts. None for a student with weights of its own.
        schedule: How long and how fast; a batch is a lesson.
        seed: Seed of the order.
        progress: Called after every step.
    """
    width = lessons[0].states[0].shape[1]
    projection = _choose_projection(student.config.hidden_size, width, cut)
    for embedding in (student.embeddings.word_embeddings, student.embeddings.position_embeddings):
        embedding.requires_grad_(cut is None)
    order = draw_batches(len(lessons), 1, seed=seed)

    def loss() -> torch.Tensor:
        (index,) = next(order)
        return _distance(student, lessons[index], projection)

    parameters = [p for p in [*student.parameters(), *projection.parameters()] if p.requires_grad]
    descend(parameters, loss, schedule=schedule, progress=progress)
    student.requires_grad_(True)


def start_projection(cut: Cut, width: int) -> torch.nn.Linear:
    """Make the projection that puts every student unit where its teacher unit is, and 0 elsewhere.

    Args:
        cut: Which units the student was made of.
        width: The teacher's hidden size.

    Returns:
        A linear layer from the student's units to the teacher's.
    """
    projection = torch.nn.Linear(len(cut.hidden), width)
    with torch.no_grad():
        projection.weight.zero_()
        projection.bias.zero_()
        projection.weight[torch.from_numpy(cut.hidden), torch.arange(len(cut.hidden))] = 1.0
    return projection


def _choose_projection(hidden: int, width: int, cut: Cut | None) -> torch.nn.Module:
    if cut is None:
        return torch.nn.Linear(hidden, width)
    return start_projection(cut, width) if hidden != width else torch.nn.Identity()


def _distance(student: transformers.BertModel, lesson: Lesson, projection: torch.nn.Module) -> torch.Tensor:
    """Squared error relative to the variance of the teacher's states, mean over the levels."""
    hidden = student(input_ids=lesson.ids, attention_mask=lesson.mask, output_hidden_states=True).hidden_states
    errors = []
    for own, states in zip(hidden, lesson.states, strict=True):
        wanted = states.float()
        error = (projection(own[lesson.mask.bool()]) - wanted).square().mean()
        errors.append(error / wanted.var(dim=0).mean())
    return torch.stack(errors).mean()
