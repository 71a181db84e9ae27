"""Bottlenecks with `adapters`: starting, saving and loading again, on several families; what is trained; what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from modxfer import api
from modxfer.converters.formats import inspect_files
from modxfer.errors import FormatError, ModxferError, UsageError
from modxfer.training.libraries.adapters import NAME, Adapters
from modxfer.training.libraries.context import trainable_parts
from modxfer.training.libraries.heads import head_labels
from modxfer.training.libraries.library import Library
from tests import builders
from tests.training.libraries.bases import (
    LABELS,
    changed,
    logits,
    save_base,
    save_decoder,
    state_of,
    train_one_step,
    trained,
    wanted,
)

pytestmark = pytest.mark.adapters

CASES = [
    ("bert", "ner"),
    ("distilbert", "nli"),
    ("xlm-roberta", "ner"),
    ("electra", "pi"),
    ("gpt2", "causal-lm"),
    ("llama", "causal-lm"),
]


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Save a base model of every family."""
    folder = tmp_path_factory.mktemp("bases")
    encoders = {family: save_base(folder / family, family) for family in ("bert", "distilbert", "xlm-roberta", "electra")}
    return encoders | {family: save_decoder(folder / family, family) for family in ("gpt2", "llama")}


def test_adapters_is_a_library() -> None:
    """It has what training asks of a library, and writes its own format."""
    assert isinstance(Adapters(), Library)
    assert Adapters().format == "adapters"
    assert Adapters().trainer_class().__name__ == "AdapterTrainer"


@pytest.mark.parametrize(("family", "task"), CASES)
def test_load_gives_what_was_saved(family: str, task: str, bases: dict[str, Path], tmp_path: Path) -> None:
    """A trained module says the same after saving and loading, whatever the seed of the loading."""
    model = changed(Adapters().start(wanted(bases[family], task, method="bottleneck")))
    Adapters().save(model, tmp_path / "module")

    again = Adapters().load(wanted(bases[family], task, seed=5), tmp_path / "module", is_trainable=True)
    frozen = Adapters().load(wanted(bases[family], task, seed=6), tmp_path / "module", is_trainable=False)

    assert torch.equal(logits(model), logits(again))
    assert torch.equal(logits(model), logits(frozen))
    assert set(trained(again)) == set(trained(model))
    assert not trained(frozen)


@pytest.mark.parametrize(("family", "task"), [("bert", "ner"), ("distilbert", "nli"), ("gpt2", "causal-lm")])
def test_start_trains_module_and_head_only(family: str, task: str, bases: dict[str, Path]) -> None:
    """A step changes the bottlenecks and the head, and no parameter of the base model."""
    model = Adapters().start(wanted(bases[family], task))
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}

    train_one_step(model, task)

    moved = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    heads = {name for name in moved if name.startswith("heads.")}
    assert {name for name in moved if f".adapters.{NAME}." not in name} == heads
    assert moved - heads
    assert bool(heads) is (task != "causal-lm")


def test_start_depends_on_the_seed_alone(bases: dict[str, Path]) -> None:
    """Equal seeds give equal tensors whatever was drawn before, other seeds others, and nothing outside is drawn."""
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = trained(Adapters().start(wanted(bases["bert"], seed=4)))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    second, other = (trained(Adapters().start(wanted(bases["bert"], seed=seed))) for seed in (4, 5))

    assert all(torch.equal(first[name], second[name]) for name in first)
    assert all(not torch.equal(first[name], other[name]) for name in first if name.endswith("weight"))


@pytest.mark.parametrize("size", [1, 5, 23, None])
def test_start_has_exactly_the_size_that_was_asked_for(size: int | None, bases: dict[str, Path]) -> None:
    """Sizes that do not divide the hidden size are kept too; the usual one is a sixteenth."""
    model = Adapters().start(wanted(bases["bert"], options={"size": size}))

    shapes = {tuple(parameter.shape) for name, parameter in trained(model).items() if "adapter_down.0.weight" in name}
    assert shapes == {(size or 1, 24)}


@pytest.mark.parametrize("size", [24, 30])
def test_start_refuses_a_bottleneck_that_is_none(size: int, bases: dict[str, Path]) -> None:
    """It must be narrower than the hidden size."""
    with pytest.raises(UsageError, match=rf"`--size {size}` is no bottleneck .* hidden size is 24.*from 1 to 23"):
        Adapters().start(wanted(bases["bert"], options={"size": size}))


def test_start_leaves_the_head_of_a_base_model_behind(tmp_path: Path) -> None:
    """A base model that was saved with a head gets the new one only."""
    base = save_base(tmp_path / "tagger", "bert", auto_class="AutoModelForTokenClassification", labels=4)
    assert list(Adapters().start(wanted(base)).heads) == [NAME]


def test_save_is_the_same_twice_and_changes_nothing(bases: dict[str, Path], tmp_path: Path) -> None:
    """Two saves have equal bytes, and the model trains on as before: the module stays active."""
    model = Adapters().start(wanted(bases["bert"], name="acme/base"))
    said = logits(changed(model))
    model.train()
    before = list(state_of(model))
    for name in ("first", "second"):
        Adapters().save(model, tmp_path / name)

    files = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert files == ["adapter.safetensors", "adapter_config.json", "head_config.json", "model_head.safetensors"]
    assert all((tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes() for name in files)
    assert list(state_of(model)) == before
    assert torch.equal(logits(model.eval()), said)
    for name in ("adapter_config.json", "head_config.json"):
        assert json.loads((tmp_path / "first" / name).read_text())["model_name"] == "acme/base"
    labels = head_labels(tmp_path / "first", inspect_files(tmp_path / "first"))
    assert labels is not None
    assert labels.names == LABELS


@pytest.mark.parametrize("head", ["keep", "drop"])
def test_load_takes_converted_modules(head: str, bases: dict[str, Path], tmp_path: Path) -> None:
    """A module from `convert` loads with its head, or gets a new one that the seed decides, which is trained and saved."""
    teacher = save_base(tmp_path / "teacher", "bert", layers=4)
    Adapters().save(changed(Adapters().start(wanted(teacher))), tmp_path / "module")
    api.convert(
        str(tmp_path / "module"),
        to=str(bases["bert"]),
        teacher=str(teacher),
        align=api.AlignmentChoice(aligner="identity"),
        keep_head=head == "keep",
        output=tmp_path / "converted",
    )
    base = wanted(bases["bert"])
    first = Adapters().load(base, tmp_path / "converted", is_trainable=True)
    second = Adapters().load(wanted(bases["bert"], seed=2), tmp_path / "converted", is_trainable=True)

    assert torch.equal(logits(first), logits(second)) is (head == "keep")
    assert {name for name in trained(first) if name.startswith("heads.")}
    Adapters().save(changed(first), tmp_path / "saved")
    assert torch.equal(logits(Adapters().load(base, tmp_path / "saved", is_trainable=False)), logits(first))


@pytest.mark.parametrize("kind", ["lora", "houlsby"])
def test_load_takes_other_modules_of_adapterhub(kind: str, bases: dict[str, Path], tmp_path: Path) -> None:
    """A LoRA in this format, and a module and head with names of their own, say what they said."""
    import adapters

    config = adapters.LoRAConfig(r=3, alpha=7) if kind == "lora" else adapters.DoubleSeqBnConfig(reduction_factor=4)
    model = adapters.AutoAdapterModel.from_pretrained(str(bases["bert"]))
    options = {"num_labels": 4}
    builders.make_adapters_module(tmp_path / "module", model, config, name="theirs", head="tagging", head_options=options)
    model.active_head = "theirs"

    loaded = Adapters().load(wanted(bases["bert"], seed=7), tmp_path / "module", is_trainable=True)

    assert torch.equal(logits(loaded), logits(model.eval()))
    assert trainable_parts(loaded).trainable < trainable_parts(loaded).total / 4
    Adapters().save(loaded, tmp_path / "saved")
    assert torch.equal(logits(Adapters().load(wanted(bases["bert"]), tmp_path / "saved", is_trainable=True)), logits(loaded))


def test_load_takes_a_new_head_if_asked(bases: dict[str, Path], tmp_path: Path) -> None:
    """The module's own head is left behind for one of another task and with other labels."""
    Adapters().save(Adapters().start(wanted(bases["bert"])), tmp_path / "module")
    new = wanted(bases["bert"], "nli", labels=("a", "b", "c"), new_head=True)

    model = Adapters().load(new, tmp_path / "module", is_trainable=True)

    assert logits(model).shape == (2, 3)
    with pytest.raises(UsageError, match="has a head for TOKEN_CLS, and the task `nli` needs one for SEQ_CLS"):
        Adapters().load(wanted(bases["bert"], "nli"), tmp_path / "module", is_trainable=True)
    with pytest.raises(FormatError, match="has 4 labels, and 2 are needed: `O`, `B-X`"):
        Adapters().load(wanted(bases["bert"], labels=("O", "B-X")), tmp_path / "module", is_trainable=True)


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"hidden": 12}, r"made for `acme/base` with the hidden size 24, and `.*other` has 12"),
        ({"layers": 2}, r"made for `acme/base`, does not fit `.*other`: there is no place for `.*layer\.2"),
        ({"layers": 4}, r"made for `acme/base`, does not fit `.*other`: it lacks `.*layer\.3"),
    ],
)
def test_load_refuses_modules_of_other_bases(sizes: dict[str, Any], said: str, bases: dict[str, Path], tmp_path: Path) -> None:
    """Another width or depth is told with both base models."""
    Adapters().save(Adapters().start(wanted(bases["bert"], name="acme/base")), tmp_path / "module")
    other = save_base(tmp_path / "other", "bert", **sizes)
    with pytest.raises(ModxferError, match=said):
        Adapters().load(wanted(other), tmp_path / "module", is_trainable=True)
