"""LoRA with `peft`: starting, saving and loading again, on several families; what is trained; what is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from modxfer import api
from modxfer.architectures import architecture_from_config, read_config
from modxfer.converters.formats import inspect_files, read_module
from modxfer.errors import FormatError, ModxferError, UsageError
from modxfer.training.libraries.context import trainable_parts
from modxfer.training.libraries.heads import head_labels
from modxfer.training.libraries.library import Library
from modxfer.training.libraries.peft import Peft
from tests import builders
from tests.training.libraries.bases import (
    changed,
    logits,
    save_base,
    save_decoder,
    state_of,
    train_one_step,
    trained,
    wanted,
)

CASES = [
    ("bert", "ner"),
    ("bert", "nli"),
    ("distilbert", "ner"),
    ("distilbert", "nli"),
    ("xlm-roberta", "nli"),
    ("electra", "ner"),
    ("camembert", "pi"),
    ("gpt2", "causal-lm"),
    ("llama", "causal-lm"),
    ("llama", "nli"),
]


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Save a base model of every family."""
    folder = tmp_path_factory.mktemp("bases")
    families = ("bert", "distilbert", "xlm-roberta", "electra", "camembert")
    encoders = {family: save_base(folder / family, family) for family in families}
    return encoders | {family: save_decoder(folder / family, family) for family in ("gpt2", "llama")}


def test_peft_is_a_library() -> None:
    """It has what training asks of a library, and writes its own format."""
    assert isinstance(Peft(), Library)
    assert Peft().format == "peft"
    assert Peft().trainer_class().__name__ == "Trainer"


@pytest.mark.parametrize(("family", "task"), CASES)
def test_load_gives_what_was_saved(family: str, task: str, bases: dict[str, Path], tmp_path: Path) -> None:
    """A trained module says the same after saving and loading, whatever the seed of the loading."""
    model = changed(Peft().start(wanted(bases[family], task)))
    Peft().save(model, tmp_path / "module")

    again = Peft().load(wanted(bases[family], task, seed=5), tmp_path / "module", is_trainable=True)
    frozen = Peft().load(wanted(bases[family], task, seed=6), tmp_path / "module", is_trainable=False)

    assert torch.equal(logits(model), logits(again))
    assert torch.equal(logits(model), logits(frozen))
    assert set(trained(again)) == set(trained(model))
    assert not trained(frozen)


@pytest.mark.parametrize(("family", "task"), [("bert", "ner"), ("distilbert", "nli"), ("gpt2", "causal-lm")])
def test_start_trains_module_and_head_only(family: str, task: str, bases: dict[str, Path]) -> None:
    """A step changes the LoRA and the head, and no parameter of the base model."""
    model = Peft().start(wanted(bases[family], task))
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}

    train_one_step(model, task)

    moved = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    heads = {name for name in moved if ".modules_to_save." in name}
    assert {name for name in moved if "lora_" not in name} == heads
    assert any("lora_B" in name for name in moved)
    assert bool(heads) is (task != "causal-lm")


def test_start_depends_on_the_seed_alone(bases: dict[str, Path]) -> None:
    """Equal seeds give equal tensors whatever was drawn before, other seeds others, and nothing outside is drawn."""
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = trained(Peft().start(wanted(bases["bert"], seed=4)))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    second, other = (trained(Peft().start(wanted(bases["bert"], seed=seed))) for seed in (4, 5))

    assert all(torch.equal(first[name], second[name]) for name in first)
    drawn = [name for name in first if "lora_A" in name or name.endswith("classifier.modules_to_save.default.weight")]
    assert len(drawn) == 7
    assert all(not torch.equal(first[name], other[name]) for name in drawn)


def test_start_gives_a_new_head_where_the_base_has_one(bases: dict[str, Path], tmp_path: Path) -> None:
    """The head of a base model that was saved with one is not taken over, even if its size fits."""
    base = save_base(tmp_path / "tagger", "bert", auto_class="AutoModelForTokenClassification", labels=4)
    started = [trained(Peft().start(wanted(folder))) for folder in (base, bases["bert"])]

    assert all(torch.equal(started[0][name], started[1][name]) for name in started[1])


def test_save_is_the_same_twice_and_changes_nothing(bases: dict[str, Path], tmp_path: Path) -> None:
    """Two saves have equal bytes, and the model trains on as before."""
    targets = ["value", "ffn_up", "query", "attention_output", "key"]
    model = Peft().start(wanted(bases["bert"], name="acme/base", revision="a" * 40, options={"targets": targets}))
    model.train()
    before, said = list(state_of(model)), logits(model.eval())
    model.train()
    for name in ("first", "second"):
        Peft().save(model, tmp_path / name)

    files = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert files == ["adapter_config.json", "adapter_model.safetensors"]
    assert all((tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes() for name in files)
    assert list(state_of(model)) == before
    assert torch.equal(logits(model.eval()), said)
    config = json.loads((tmp_path / "first" / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("acme/base", "a" * 40)
    assert config["target_modules"] == ["attention.output.dense", "intermediate.dense", "key", "query", "value"]


@pytest.mark.parametrize("targets", [["ffn_down"], ["key", "attention_output"], ["query", "intermediate.dense"]])
def test_start_puts_loras_where_targets_say(targets: list[str], bases: dict[str, Path], tmp_path: Path) -> None:
    """Roles mean their submodules in every layer and nothing else; our own reader finds them there, with rank and alpha."""
    options = {"targets": targets, "rank": 3, "alpha": 5}
    Peft().save(Peft().start(wanted(bases["bert"], options=options)), tmp_path / "module")

    architecture = architecture_from_config(read_config(bases["bert"]), name="tiny")
    module = read_module(inspect_files(tmp_path / "module"), architecture)

    roles = {"ffn_up" if name == "intermediate.dense" else name for name in targets}
    found = {(place.layer, place.name) for place in module.pieces if not place.is_head}
    assert found == {(layer, role) for layer in range(3) for role in roles}
    scalings = [piece.scaling for piece in module.pieces.values() if piece.scaling]
    assert {(scaling.rank, scaling.alpha) for scaling in scalings} == {(3, 5.0)}


def test_start_refuses_targets_that_are_nowhere(bases: dict[str, Path], tmp_path: Path) -> None:
    """A name that means nothing is refused even beside one that does, and the roles are listed."""
    with pytest.raises(UsageError, match=r"`nonsense` is no role and no submodule .* attention_output, ffn_down, ffn_up"):
        Peft().start(wanted(bases["bert"], options={"targets": ["query", "nonsense"]}))


def test_start_refuses_two_way_language_models(bases: dict[str, Path], tmp_path: Path) -> None:
    """A bidirectional encoder models no language from left to right; a head that is missing is told too."""
    base = save_base(tmp_path / "masked", "bert", auto_class="AutoModelForMaskedLM")
    with pytest.raises(UsageError, match=r"masked` \(bert\) is no language model from left to right"):
        Peft().start(wanted(base, "causal-lm"))
    with pytest.raises(FormatError, match=r"no weights.*`causal-lm` needs, such as `cls.predictions"):
        Peft().start(wanted(bases["bert"], "causal-lm"))


def test_start_refuses_a_base_model_that_lacks_weights(bases: dict[str, Path], tmp_path: Path) -> None:
    """Layers that the files do not hold would be random: they are named."""
    base = shutil.copytree(bases["bert"], tmp_path / "base")
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 4}))
    with pytest.raises(FormatError, match=r"for 16 parameters .*`bert.encoder.layer.3"):
        Peft().start(wanted(base))


def test_a_pooler_that_the_base_lacks_travels_with_the_module(tmp_path: Path) -> None:
    """It is new, so it is trained and saved: a loading under another seed says the same."""
    base = save_base(tmp_path / "masked", "bert", auto_class="AutoModelForMaskedLM")
    model = changed(Peft().start(wanted(base, "nli")))
    Peft().save(model, tmp_path / "module")

    again = Peft().load(wanted(base, "nli", seed=9), tmp_path / "module", is_trainable=True)

    assert any("pooler" in name for name in trained(model))
    assert torch.equal(logits(again), logits(model))


def test_load_does_not_measure_with_a_pooler_that_nobody_trained(tmp_path: Path) -> None:
    """A head that reads a pooler which neither the base nor the module has is refused, but for training it anew."""
    from safetensors.torch import load_file, save_file

    base = save_base(tmp_path / "masked", "bert", auto_class="AutoModelForMaskedLM")
    Peft().save(changed(Peft().start(wanted(base, "nli"))), tmp_path / "module")
    file = tmp_path / "module" / "adapter_model.safetensors"
    save_file({key: tensor for key, tensor in load_file(file).items() if "pooler" not in key}, file)

    with pytest.raises(FormatError, match=r"does not fit .*it lacks `bert\.pooler\.dense`"):
        Peft().load(wanted(base, "nli"), tmp_path / "module", is_trainable=False)
    assert any("pooler" in name for name in trained(Peft().load(wanted(base, "nli"), tmp_path / "module", is_trainable=True)))


@pytest.mark.parametrize("head", ["keep", "drop"])
def test_load_takes_converted_modules(head: str, bases: dict[str, Path], tmp_path: Path) -> None:
    """A module from `convert` loads with its head, or gets a new one that the seed decides, which is trained and saved."""
    teacher = save_base(tmp_path / "teacher", "bert", layers=4)
    Peft().save(changed(Peft().start(wanted(teacher))), tmp_path / "module")
    api.convert(
        str(tmp_path / "module"),
        to=str(bases["bert"]),
        teacher=str(teacher),
        align=api.AlignmentChoice(aligner="identity"),
        keep_head=head == "keep",
        output=tmp_path / "converted",
    )
    first, second = (
        Peft().load(wanted(bases["bert"], seed=seed), tmp_path / "converted", is_trainable=True) for seed in (1, 2)
    )

    assert torch.equal(logits(first), logits(second)) is (head == "keep")
    assert {name for name in trained(first) if "classifier" in name}
    changed(first)
    Peft().save(first, tmp_path / "saved")
    again = Peft().load(wanted(bases["bert"], seed=3), tmp_path / "saved", is_trainable=False)
    assert torch.equal(logits(again), logits(first))
    assert json.loads((tmp_path / "saved" / "adapter_config.json").read_text())["task_type"] == "TOKEN_CLS"
    labels = head_labels(tmp_path / "saved", inspect_files(tmp_path / "saved"))
    assert labels is not None
    assert labels.count == 4


@pytest.mark.parametrize("targets", [["query", "value"], r".*\.(query|value)", "all-linear"])
def test_load_takes_modules_of_bare_base_models(targets: list[str] | str, bases: dict[str, Path], tmp_path: Path) -> None:
    """A LoRA that was trained without a task's head does the same to the hidden states under one."""
    config = builders.tiny_config("bert", hidden=24)
    bare = builders.tiny_model(config)
    module = builders.make_peft_module(tmp_path / "module", bare, target_modules=targets, exclude_modules=["pooler.dense"])
    bare_base = tmp_path / "bare"
    builders.tiny_model(config).save_pretrained(bare_base)

    model = Peft().load(wanted(bare_base), tmp_path / "module", is_trainable=True)

    ids = builders.tiny_inputs(config)
    with torch.no_grad():
        inner = model.get_base_model().bert(ids).last_hidden_state
        torch.testing.assert_close(inner, module(ids).last_hidden_state, rtol=0, atol=1e-6)
    assert {name for name in trained(model) if "classifier" in name}


def test_load_takes_a_new_head_if_asked(bases: dict[str, Path], tmp_path: Path) -> None:
    """The module's own head is left behind for one with other labels."""
    Peft().save(changed(Peft().start(wanted(bases["bert"]))), tmp_path / "module")
    new = wanted(bases["bert"], "nli", labels=("a", "b", "c"), new_head=True)

    model = Peft().load(new, tmp_path / "module", is_trainable=True)

    assert logits(model).shape == (2, 3)
    with pytest.raises(UsageError, match="has a head for TOKEN_CLS, and the task `nli` needs one for SEQ_CLS"):
        Peft().load(wanted(bases["bert"], "nli"), tmp_path / "module", is_trainable=True)
    with pytest.raises(FormatError, match="has 4 labels, and 2 are needed: `O`, `B-X`"):
        Peft().load(wanted(bases["bert"], labels=("O", "B-X")), tmp_path / "module", is_trainable=True)


@pytest.mark.parametrize(
    ("family", "sizes", "said"),
    [
        ("bert", {"hidden": 12}, r"made for `acme/base`, does not fit `.*other`: `.*` has the shape .*24.*12"),
        ("bert", {"layers": 2}, r"does not fit `.*other`: there is no place for `.*layer\.2"),
        ("bert", {"layers": 4}, r"does not fit `.*other`: it lacks `.*layer\.3"),
        ("distilbert", {}, r"cannot put a LoRA on `.*other` as `.*module` says: `.*odules"),
    ],
)
def test_load_refuses_modules_of_other_bases(
    family: str, sizes: dict[str, Any], said: str, bases: dict[str, Path], tmp_path: Path
) -> None:
    """Another width, depth or family is told with both base models."""
    Peft().save(Peft().start(wanted(bases["bert"], name="acme/base")), tmp_path / "module")
    other = save_base(tmp_path / "other", family, **sizes)
    with pytest.raises(ModxferError, match=said):
        Peft().load(wanted(other), tmp_path / "module", is_trainable=True)


def test_load_refuses_a_module_that_lost_a_tensor(bases: dict[str, Path], tmp_path: Path) -> None:
    """What `peft` would only warn of, and initialise, is an error that names the tensor."""
    from safetensors.torch import load_file, save_file

    Peft().save(Peft().start(wanted(bases["bert"])), tmp_path / "module")
    file = tmp_path / "module" / "adapter_model.safetensors"
    tensors = load_file(file)
    gone = next(key for key in sorted(tensors) if "lora_B" in key)
    save_file({key: tensor for key, tensor in tensors.items() if key != gone}, file)
    with pytest.raises(FormatError, match=rf"it lacks `{gone}`"):
        Peft().load(wanted(bases["bert"]), tmp_path / "module", is_trainable=True)


def test_trainable_parts_count_each_parameter_once(bases: dict[str, Path]) -> None:
    """LoRA of rank 8 on two projections of three layers, and a head of four labels; the base model's own beside them."""
    parts = trainable_parts(Peft().start(wanted(bases["bert"])))

    module = 3 * 2 * 8 * (24 + 24) + 4 * 24 + 4
    base = sum(p.numel() for p in builders.tiny_model(builders.tiny_config("bert", hidden=24)).parameters())
    assert parts.trainable == module
    assert parts.total == module + base - (24 * 24 + 24)  # a tagger has no pooler
