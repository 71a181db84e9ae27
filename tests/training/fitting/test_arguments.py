"""How a training goes, and what is asked for that cannot be had."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from modxfer.errors import UsageError
from modxfer.training.fitting.arguments import plan_course
from modxfer.training.fitting.devices import choose_precision, training_device, usual_attention
from modxfer.training.settings import TrainingSettings

SETTINGS = TrainingSettings(batch_size=8, device="cpu", precision="fp32")


@pytest.mark.parametrize(
    ("changes", "steps", "eval_steps", "warmup_steps"),
    [
        ({"epochs": 10.0}, 70, 7, 7),  # once an epoch
        ({"epochs": 2.0}, 14, 2, 1),  # at least five times
        ({"epochs": 0.5}, 4, 1, 0),
        ({"epochs": 10.0, "max_steps": 3}, 3, 1, 0),
        ({"epochs": 1.0, "max_steps": 100}, 7, 1, 0),  # the epochs end it first
        ({"epochs": 10.0, "eval_steps": 1000, "warmup": 0.5}, 70, 70, 35),
    ],
)
def test_plan_course_counts_steps(changes: dict[str, Any], steps: int, eval_steps: int, warmup_steps: int) -> None:
    """50 rows in batches of 8 are 7 steps an epoch."""
    course = plan_course(replace(SETTINGS, **changes), examples=50)
    assert (course.steps, course.eval_steps, course.warmup_steps, course.batch_size) == (steps, eval_steps, warmup_steps, 8)


def test_plan_course_shares_the_batch_among_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The batch is that of all processes; one that cannot be shared is refused, and so are pieces that do not fit a share."""
    for name, value in {"LOCAL_RANK": "0", "RANK": "0", "WORLD_SIZE": "4"}.items():
        monkeypatch.setenv(name, value)
    course = plan_course(SETTINGS, examples=50)
    assert (course.processes, course.batch_size, course.steps) == (4, 2, 70)
    with pytest.raises(UsageError, match="A batch of 6 cannot be shared by 4 processes"):
        plan_course(replace(SETTINGS, batch_size=6), examples=50)
    with pytest.raises(UsageError, match="cannot be cut into pieces of 4"):
        plan_course(replace(SETTINGS, micro_batch_size=4), examples=50)


def test_plan_course_is_alone_on_a_cluster_that_only_sets_the_worlds_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a launcher's rank nobody waits for other processes."""
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert plan_course(SETTINGS, examples=50).processes == 1


@pytest.mark.parametrize(("wish", "device"), [("fp16", "cpu"), ("fp16", "mps"), ("bf16", "mps")])
def test_choose_precision_refuses_what_the_device_cannot_do(wish: Any, device: str) -> None:
    """An explicit wish is never silently changed."""
    with pytest.raises(UsageError, match=f"`--precision {wish}` does not go with the device `{device}`"):
        choose_precision(wish, device)


def test_choose_precision_takes_a_wish_that_can_be_had() -> None:
    """Slow is not impossible: a CPU computes in bf16; a GPU of Apple's is trained in fp32."""
    assert choose_precision("bf16", "cpu") == "bf16"
    assert choose_precision("fp32", "mps") == choose_precision("auto", "mps") == "fp32"
    assert choose_precision("auto", "cpu") in ("fp32", "bf16")


def test_training_device_refuses_a_device_that_is_not_there() -> None:
    """The device that was asked for is used, or refused."""
    missing = "mps" if torch.cuda.is_available() else "cuda"
    with pytest.raises(UsageError, match=f"The device `{missing}` is not available"):
        training_device(replace(SETTINGS, device=missing))
    assert training_device(SETTINGS) == "cpu"
    assert usual_attention("cpu") == "eager"
