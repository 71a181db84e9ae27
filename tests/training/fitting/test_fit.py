"""Fine-tuning: the best checkpoint, the same result after a kill, losses that are no numbers, full memory, full disks."""

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modxfer.errors import OutputError, TrainingError
from tests.training.fitting import small

METHODS = ("lora", pytest.param("bottleneck", marks=pytest.mark.adapters))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a tiny base model with dropout."""
    return small.write_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a tiny base model without dropout."""
    return small.write_base(tmp_path_factory.mktemp("steady"), dropout=0.0)


class Killed(BaseException):
    """What a test stops a training with, as a kill would: nothing of ours catches it."""


def kill_at(step: int) -> Any:
    """Give a progress that stops the training as soon as a step was made."""

    def progress(done: int, total: int, text: str) -> None:
        if done == step:
            raise Killed

    return progress


def assert_same(
    first: dict[str, torch.Tensor], second: dict[str, torch.Tensor], *, rtol: float = 0.0, atol: float = 0.0
) -> None:
    """Compare parameters, bit for bit unless a tolerance is given."""
    assert first.keys() == second.keys()
    assert first
    for name, tensor in first.items():
        torch.testing.assert_close(tensor, second[name], rtol=rtol, atol=atol)


@pytest.mark.parametrize("method", METHODS)
def test_fit_ends_with_the_best_checkpoint_in_the_model(method: str, base: Path, tmp_path: Path) -> None:
    """The model has the weights of the checkpoint that did best, which the library itself reads back; it is ready for use."""
    model = small.start(base, method=method)
    before = small.trained(model)
    results = iter([10.0, 20.0, 90.0, 30.0, 90.0])  # at steps 0, 3, 6, 9 and 12
    fitted = small.train(model, tmp_path, method=method, score=lambda _: {"f1": next(results)})

    assert (fitted.best_step, fitted.best_value, fitted.steps, fitted.stopped_early) == (6, 90.0, 12, False)
    assert fitted.curve == ((0, 10.0), (3, 20.0), (6, 90.0), (9, 30.0), (12, 90.0))
    assert [step for step, _ in fitted.losses] == [3, 6, 9, 12]
    assert not model.training
    after = small.trained(model)
    assert any(not torch.equal(after[name], before[name]) for name in before if "lora_" in name or "adapters." in name)
    assert any(not torch.equal(after[name], before[name]) for name in before if "head" in name or "classifier" in name)
    assert_same(after, read_checkpoint(base, tmp_path / "checkpoints" / "checkpoint-6", method))


def read_checkpoint(base: Path, checkpoint: Path, method: str) -> dict[str, torch.Tensor]:
    """Read a trainer's checkpoint into a fresh model, by the library alone."""
    model = small.start(base, method=method, seed=7)
    if method == "lora":
        model.load_adapter(str(checkpoint), model.active_adapter)
    else:
        (name,) = model.adapters_config.adapters
        model.load_adapter(str(checkpoint / name))
        model.active_head = name
    return small.trained(model)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("step", [4, 10])
def test_fit_that_was_killed_goes_on_to_the_same_result(method: str, step: int, base: Path, tmp_path: Path) -> None:
    """With dropout, and in the middle of an epoch of 7 steps as in the next: the same weights to the bit, the same curve."""
    whole = small.start(base, method=method)
    expected = small.train(whole, tmp_path / "whole", method=method)
    with pytest.raises(Killed):
        small.train(small.start(base, method=method), tmp_path / "killed", method=method, progress=kill_at(step))

    again = small.start(base, method=method)
    torch.manual_seed(99)
    fitted = small.train(again, tmp_path / "killed", method=method, resume=True)

    assert fitted.resumed_from == step - step % 3 - 3 * (step % 3 == 0)
    assert (fitted.curve, fitted.losses, fitted.best_step) == (expected.curve, expected.losses, expected.best_step)
    assert_same(small.trained(again), small.trained(whole))


def test_fit_that_was_killed_at_its_end_is_not_trained_further(base: Path, tmp_path: Path) -> None:
    """Going on with a training that had stopped early gives its best weights and its curve, and makes no step."""
    results = iter([10.0, 90.0, 20.0, 30.0])  # at steps 0, 3, 6 and 9; the patience is two looks
    whole = small.start(base)
    expected = small.train(whole, tmp_path, patience=2, score=lambda _: {"f1": next(results)})
    again = small.start(base, seed=7)
    fitted = small.train(again, tmp_path, patience=2, resume=True, progress=kill_at(10))

    assert expected.stopped_early
    assert (expected.steps, expected.best_step) == (9, 3)
    assert (fitted.curve, fitted.steps, fitted.best_step) == (expected.curve, 9, 3)
    assert (fitted.stopped_early, fitted.resumed_from, fitted.examples_per_second) == (True, 9, 0.0)
    assert_same(small.trained(again), small.trained(whole))


def test_fit_goes_on_from_the_last_checkpoint_that_is_whole(base: Path, tmp_path: Path) -> None:
    """A checkpoint whose writing was cut short, and one that was half removed, are passed over and removed."""
    small.train(small.start(base), tmp_path)
    folder = tmp_path / "checkpoints"
    steps = sorted(int(path.name.partition("-")[2]) for path in folder.iterdir())
    (folder / f"checkpoint-{steps[-1]}" / "complete.json").unlink()
    optimizer = folder / f"checkpoint-{steps[-2]}" / "optimizer.pt"
    optimizer.write_bytes(optimizer.read_bytes()[:100])
    fitted = small.train(small.start(base), tmp_path, resume=True, progress=refuse_folders(folder, steps[-2:]))

    assert len(steps) == 3
    assert fitted.resumed_from == steps[0]


def refuse_folders(folder: Path, steps: list[int]) -> Any:
    """Give a progress that fails if, at the first step, one of these checkpoints is still there."""
    seen: list[int] = []

    def progress(done: int, total: int, text: str) -> None:
        seen.append(done)
        if len(seen) == 1:
            assert not [step for step in steps if (folder / f"checkpoint-{step}").exists()]

    return progress


def test_fit_begins_anew_where_resuming_was_not_asked_for(base: Path, tmp_path: Path) -> None:
    """Checkpoints of an older training are removed, and not mixed up with its own."""
    stale = tmp_path / "checkpoints" / "checkpoint-99"
    stale.mkdir(parents=True)
    fitted = small.train(small.start(base), tmp_path, max_steps=2, eval_steps=2)

    assert fitted.resumed_from is None
    assert [path.name for path in stale.parent.iterdir()] == ["checkpoint-2"]


def test_fit_stops_at_a_loss_that_is_no_number(base: Path, tmp_path: Path) -> None:
    """The error names the step, and where the last good checkpoint is; none with such weights is ever written."""
    model = small.start(base)
    calls = []

    def poison(_: Any, inputs: Any, output: Any) -> Any:
        calls.append(model.training)
        return output * float("nan") if calls.count(True) == 5 and model.training else output

    model.get_base_model().bert.embeddings.register_forward_hook(poison)
    folder = tmp_path / "checkpoints"
    with pytest.raises(TrainingError, match=r"The loss is `nan` at step 5 of 12") as caught:
        small.train(model, tmp_path)

    assert f"kept in `{folder / 'checkpoint-3'}`; lower `--learning-rate`, or use `--precision fp32`" in str(caught.value)
    assert [path.name for path in folder.iterdir()] == ["checkpoint-3"]


def test_fit_stops_at_weights_that_are_no_numbers(base: Path, tmp_path: Path) -> None:
    """A gradient that is no number spoils the weights, though every loss so far is one: nothing is saved."""
    model = small.start(base)
    next(p for p in model.parameters() if p.requires_grad).register_hook(lambda gradient: gradient * float("nan"))
    with pytest.raises(TrainingError, match=r"no numbers any more at step 1 of 4\. No checkpoint was written yet"):
        small.train(model, tmp_path, max_steps=4, eval_steps=1)

    assert not list(tmp_path.glob("checkpoints/*"))


def limit_rows(model: Any, rows: int, *, is_training: bool, after: int = 0) -> None:
    """Let a model run out of memory where more rows than this come in at once, from some forward pass on."""
    passes = []

    def check(_: Any, inputs: Any, named: Any) -> None:
        if model.training is is_training:
            passes.append(len(named["input_ids"]))
            if len(passes) > after and passes[-1] > rows:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB.")

    model.register_forward_pre_hook(check, with_kwargs=True)


def test_fit_that_runs_out_of_memory_makes_the_same_steps_in_smaller_pieces(steady: Path, tmp_path: Path) -> None:
    """It begins anew, or goes on from a checkpoint: the weights are those of small pieces from the start."""
    small_pieces, at_once = small.start(steady), small.start(steady)
    expected = small.train(small_pieces, tmp_path / "small", max_steps=5, micro_batch_size=2)
    small.train(at_once, tmp_path / "once", max_steps=5)
    for after, name in ((0, "anew"), (4, "going-on")):
        model = small.start(steady)
        limit_rows(model, 3, is_training=True, after=after)
        fitted = small.train(model, tmp_path / name, max_steps=5)

        assert (fitted.micro_batch_size, fitted.accumulation, fitted.resumed_from) == (2, 4, None)
        np.testing.assert_allclose(np.array(fitted.curve), np.array(expected.curve))
        # Four rows at once are added up in another order than two and two: float32, over 5 steps of Adam.
        assert_same(small.trained(model), small.trained(small_pieces), rtol=1e-3, atol=1e-4)
        assert_same(small.trained(model), small.trained(at_once), rtol=1e-3, atol=1e-4)


def test_fit_says_what_to_do_when_a_single_row_is_too_much(base: Path, tmp_path: Path) -> None:
    """Pieces are halved down to one row; where that is too much, there is nothing left to halve."""
    model = small.start(base)
    limit_rows(model, 0, is_training=True)
    with pytest.raises(TrainingError, match=r"single example at a time\. Cut examples shorter with `--max-tokens`"):
        small.train(model, tmp_path)


def test_fit_looks_at_fewer_rows_at_once_when_memory_runs_out_there(base: Path, tmp_path: Path) -> None:
    """Memory that runs out at the validation split leaves the training's own pieces as they are."""
    model = small.start(base)
    limit_rows(model, 5, is_training=False)
    fitted = small.train(model, tmp_path, max_steps=2)

    assert (fitted.micro_batch_size, [step for step, _ in fitted.curve]) == (8, [0, 2])


@pytest.mark.parametrize(
    ("file", "words"),
    [("optimizer.pt", "the disk seems to be full"), ("trainer_state.json", "The disk is full while writing a checkpoint")],
)
def test_fit_says_that_the_disk_is_full(file: str, words: str, base: Path, tmp_path: Path) -> None:
    """A checkpoint that cannot be written ends the training; the one before it is whole, and can be gone on from."""
    folder = tmp_path / "checkpoints"

    def fill_disk(done: int, total: int, text: str) -> None:
        if done == 1 and not (folder / "checkpoint-2").exists():
            (folder / "checkpoint-2").mkdir(parents=True)
            (folder / "checkpoint-2" / file).symlink_to("/dev/full")

    with pytest.raises(OutputError, match=words) as caught:
        small.train(small.start(base), tmp_path, max_steps=2, eval_steps=1, progress=fill_disk)
    assert str(folder) in str(caught.value)
    assert "Free some space, then go on with `--resume`." in str(caught.value)
    assert small.train(small.start(base), tmp_path, max_steps=2, eval_steps=1, resume=True).resumed_from == 1


@pytest.mark.parametrize("method", METHODS)
def test_fit_learns_the_same_from_a_batch_in_one_piece_and_in_many(method: str, steady: Path, tmp_path: Path) -> None:
    """Rows of different length have different numbers of labels: the mean is over labels, not over pieces."""
    models = {micro: small.start(steady, method=method) for micro in (None, 1)}
    for micro, model in models.items():
        small.train(model, tmp_path / str(micro), method=method, micro_batch_size=micro, max_steps=1, warmup=0.0)
        model.train()
    # One step of Adam is nearly the sign of the gradient: only the same gradient gives the same step.
    assert_same(small.trained(models[None]), small.trained(models[1]), rtol=1e-4, atol=1e-5)


def test_fit_frees_the_optimiser(base: Path, tmp_path: Path) -> None:
    """Neither the optimiser nor gradients outlive the training, and the model's own forward pass is back."""
    model = small.start(base)
    small.train(model, tmp_path, max_steps=1, precision="bf16")
    gc.collect()
    held = [thing for thing in gc.get_objects() if issubclass(type(thing), torch.optim.Optimizer)]
    ours = {id(parameter) for parameter in model.parameters()}

    assert not [p for optimizer in held for group in optimizer.param_groups for p in group["params"] if id(p) in ours]
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.forward.__func__ is type(model).forward


def test_fit_looks_once_an_epoch_and_five_times_at_least(base: Path, tmp_path: Path) -> None:
    """An epoch has 7 steps: 14 steps are looked at every 2; the last one is looked at in any case."""
    fitted = small.train(small.start(base), tmp_path, epochs=2.0, max_steps=None, eval_steps=None)
    assert [step for step, _ in fitted.curve] == [0, 2, 4, 6, 8, 10, 12, 14]
    cut = small.train(small.start(base), tmp_path, max_steps=5, eval_steps=4)
    assert [step for step, _ in cut.curve] == [0, 4, 5]


def test_fit_reports_every_step_with_loss_and_metric(base: Path, tmp_path: Path) -> None:
    """Progress says how far it is, and what was measured last."""
    reports: list[tuple[int, int, str]] = []
    fitted = small.train(small.start(base), tmp_path, max_steps=2, progress=lambda *report: reports.append(report))
    first, last = fitted.curve[0][1], fitted.curve[-1][1]

    assert [done for done, _, _ in reports] == [0, 1, 2, 2]
    assert {total for _, total, _ in reports} == {2}
    assert reports[0][2] == f"f1 {first:.1f}"
    assert reports[-1][2] == f"loss {fitted.losses[-1][1]:.2f}, f1 {last:.1f}"


def test_fit_writes_nothing_to_the_terminal(base: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The trainers' own words, bars and warnings stay away."""
    model = small.start(base)
    capfd.readouterr()
    small.train(model, tmp_path, max_steps=2)
    assert capfd.readouterr() == ("", "")
