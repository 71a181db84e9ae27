"""LoRA and (IA)3 from one format to the other, against both real libraries."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ml_dtypes import bfloat16

from modxfer.converters.formats import head_shape, inspect_files, read_module, reformat, write_module
from modxfer.converters.formats.adapters.configs import ADAPTERS_VERSION, BOTTLENECK_DEFAULTS, LORA_DEFAULTS
from modxfer.converters.formats.reformatting import IA3_DEFAULTS, PEFT_DEFAULTS, PEFT_VERSION
from modxfer.converters.module import Module
from modxfer.errors import ConversionError
from tests.builders import (
    ADAPTERS_FAMILIES,
    TASKS,
    load_adapters_module,
    load_peft_module,
    make_adapters_module,
    make_peft_module,
    outputs,
    targets,
    tiny_adapter_model,
    tiny_architecture,
    tiny_config,
    tiny_inputs,
    tiny_model,
)


def read(folder: Path, config: Any) -> Module:
    """Read the module in a folder on the base model of a config."""
    return read_module(inspect_files(folder), tiny_architecture(config))


def copy_base(source: Any, destination: Any, prefix: str) -> None:
    """Give one library's model the base weights of the other's; a pooler may be missing."""
    weights = {key.removeprefix(f"{prefix}."): tensor for key, tensor in source.items()}
    base = getattr(destination, prefix)
    result = base.load_state_dict({k: v for k, v in weights.items() if k in base.state_dict()}, strict=False)
    assert [key for key in result.missing_keys if not key.startswith(("pooler.", "prompt_tuning."))] == []


@pytest.mark.adapters
@pytest.mark.parametrize(
    "options", [{"use_rslora": True}, {"layers_to_transform": [0, 2], "lora_alpha": 6}], ids=["rs", "some"]
)
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("family", ADAPTERS_FAMILIES)
def test_both_formats_compute_the_same(tmp_path: Path, family: str, task: str, options: dict[str, Any]) -> None:
    """A LoRA with a head gives the same outputs in `peft`, in `adapters`, and in `peft` again."""
    config = tiny_config(family, layers=3)
    architecture, base = tiny_architecture(config), tiny_model(config, task=task)
    weights = {key: tensor.clone() for key, tensor in base.state_dict().items()}
    names = targets(family, "query", "value", "intermediate.dense")
    made = make_peft_module(tmp_path / "made", base, task_type=task, target_modules=names, **options)
    for name in ("adapters", "again"):
        (tmp_path / name).mkdir()

    module = read(tmp_path / "made", config)
    there, notes = reformat(module, architecture, format="adapters")
    assert notes == []
    for place, piece in module.pieces.items():  # one factor for all: it goes into the config, not into the tensors
        for part, tensor in piece.parts.items():
            np.testing.assert_array_equal(there.pieces[place].parts[part], tensor)
    write_module(there, architecture, tmp_path / "adapters")
    model = tiny_adapter_model(config)
    copy_base(weights, model, architecture.family.prefix)
    load_adapters_module(tmp_path / "adapters", model)

    back, notes = reformat(read(tmp_path / "adapters", config), architecture, format="peft")
    assert notes == []
    write_module(back, architecture, tmp_path / "again")
    loaded = load_peft_module(tmp_path / "again", tiny_model(config, task=task))

    ids = tiny_inputs(config)
    for left, middle, right in zip(outputs(made, ids), outputs(model, ids), outputs(loaded, ids), strict=True):
        # two implementations add in another order: some ulps of float32 through three layers
        torch.testing.assert_close(left, middle, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(left, right, atol=1e-5, rtol=1e-4)


def test_alphas_that_differ_go_into_the_tensors(tmp_path: Path) -> None:
    """`adapters` has one alpha: a LoRA with another keeps its update, and a note says so."""
    config = tiny_config("bert", layers=2)
    make_peft_module(tmp_path, tiny_model(config), alpha_pattern={"query": 14})
    before = read(tmp_path, config)
    after, notes = reformat(before, tiny_architecture(config), format="adapters")
    assert len(notes) == 1
    assert "2.33333, 4.66667" in notes[0]
    assert len({piece.scaling for piece in after.pieces.values()}) == 1
    for place, piece in before.pieces.items():
        other = after.pieces[place]
        assert piece.scaling is not None
        assert other.scaling is not None
        update = piece.scaling.factor * piece.parts["up"] @ piece.parts["down"]
        torch.testing.assert_close(
            torch.from_numpy(update), torch.from_numpy(other.scaling.factor * other.parts["up"] @ other.parts["down"])
        )


def test_alphas_that_differ_keep_the_size_of_bfloat16_updates(tmp_path: Path) -> None:
    """What goes into the tensors is rounded once: no update is larger or smaller on the whole, and one of alpha 0 stays 0."""
    config = tiny_config("bert", layers=2)
    make_peft_module(tmp_path, tiny_model(config), lora_alpha=8, alpha_pattern={"query": 13, "layer.1.attention.self.value": 0})
    before = read(tmp_path, config)
    pieces = {
        place: replace(piece, parts={part: tensor.astype(bfloat16) for part, tensor in piece.parts.items()})
        for place, piece in before.pieces.items()
    }
    after, _ = reformat(replace(before, pieces=pieces), tiny_architecture(config), format="adapters")
    for place, piece in pieces.items():
        other = after.pieces[place]
        assert piece.scaling is not None
        assert other.scaling is not None
        assert other.parts["up"].dtype == bfloat16
        size, expected = (
            one.scaling.factor * np.abs(one.parts["up"].astype(np.float64)).sum() for one in (other, piece) if one.scaling
        )
        assert size == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rank_pattern": {"query": 2}}, r"ranks \[2, 3\]"),
        ({"target_modules": ["attention.output.dense"]}, r"`encoder\.0\.attention_output`"),
        ({"target_modules": r".*(0\..*query|1\..*key)"}, "`key`, `query`"),
        ({"bias": "lora_only"}, r"`encoder\.0\.query\.base`"),
    ],
)
def test_what_adapters_cannot_say_is_refused(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    """Ranks by layer, other submodules and trained biases have no words in a config of `adapters`."""
    config = tiny_config("bert", layers=2)
    make_peft_module(tmp_path, tiny_model(config), **options)
    with pytest.raises(ConversionError, match=said):
        reformat(read(tmp_path, config), tiny_architecture(config), format="adapters")


def test_families_without_classes_are_refused(tmp_path: Path) -> None:
    """`adapters` has no class for CamemBERT."""
    config = tiny_config("camembert", layers=1)
    make_peft_module(tmp_path, tiny_model(config))
    with pytest.raises(ConversionError, match="`camembert`"):
        reformat(read(tmp_path, config), tiny_architecture(config), format="adapters")


@pytest.mark.adapters
@pytest.mark.parametrize("family", ["bert", "distilbert"])
def test_ia3_computes_the_same_in_both_formats(tmp_path: Path, family: str) -> None:
    """Gains on outputs give the same outputs in `adapters`, in `peft`, and in `adapters` again."""
    config = tiny_config(family, layers=3)
    architecture, model = tiny_architecture(config), tiny_adapter_model(config)
    weights = {key: tensor.clone() for key, tensor in model.base_model.state_dict().items()}
    kind = "ia3[alpha=3,output_lora=True,leave_out=[1]]"
    make_adapters_module(tmp_path / "made", model, kind, head="tagging", head_options={"num_labels": 5, "layers": 1})
    for name in ("peft", "again"):
        (tmp_path / name).mkdir()

    there, notes = reformat(read(tmp_path / "made", config), architecture, format="peft")
    assert notes == []
    write_module(there, architecture, tmp_path / "peft")
    task = tiny_model(config, task="TOKEN_CLS")
    getattr(task, architecture.family.prefix).load_state_dict(weights, strict=False)
    loaded = load_peft_module(tmp_path / "peft", task)

    back, notes = reformat(read(tmp_path / "peft", config), architecture, format="adapters")
    assert notes == []
    write_module(back, architecture, tmp_path / "again")
    again = tiny_adapter_model(config)
    load_adapters_module(tmp_path / "again", again)
    ids = tiny_inputs(config)
    expected = outputs(model, ids)[0]
    for found in (outputs(loaded, ids)[0], outputs(again, ids)[0]):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)  # float32 through three layers
    again.set_active_adapters(None)
    assert (outputs(again, ids)[0] - expected).abs().max() > 1e-2


def test_gains_on_inputs_cannot_go_to_adapters(tmp_path: Path) -> None:
    """`adapters` has gains on what a projection puts out only."""
    import peft

    config = tiny_config("bert", layers=1)
    gains = peft.IA3Config(target_modules=["key", "output.dense"], feedforward_modules=["output.dense"])
    peft.get_peft_model(tiny_model(config), gains).save_pretrained(str(tmp_path))
    with pytest.raises(ConversionError, match="gains on what a projection puts out, and none on what it takes in"):
        reformat(read(tmp_path, config), tiny_architecture(config), format="adapters")


@pytest.mark.adapters
@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("prefix_tuning_flat", "`peft` counts a prefix among the positions"),
        ("prompt_tuning", "`peft` makes tokens of a prompt"),
        ("noreft", "`peft` has nothing that works on the positions"),
        ("lora[use_gating=True]", "`peft` has no gates"),
        ("dora", "DoRA in `adapters` scales a projection's bias"),
        ("seq_bn_inv[reduction_factor=4]", "method bottleneck . invertible, which `peft` .*`peft` has no bottlenecks"),
    ],
)
def test_what_means_something_else_in_peft_is_refused(tmp_path: Path, kind: str, said: str) -> None:
    """Where the libraries compute another thing from the same tensors, nothing is written, and the reason is said."""
    config = tiny_config("bert", layers=1)
    make_adapters_module(tmp_path, tiny_adapter_model(config), kind, safetensors=False)
    with pytest.raises(ConversionError, match=said):
        reformat(read(tmp_path, config), tiny_architecture(config), format="peft")


@pytest.mark.adapters
def test_a_bottleneck_cannot_become_peft(tmp_path: Path) -> None:
    """`peft` has no bottlenecks."""
    config = tiny_config("bert", layers=1)
    make_adapters_module(tmp_path, tiny_adapter_model(config), "seq_bn[reduction_factor=4]")
    with pytest.raises(ConversionError, match="bottleneck"):
        reformat(read(tmp_path, config), tiny_architecture(config), format="peft")


@pytest.mark.adapters
@pytest.mark.parametrize(
    ("family", "head", "options", "kept"),
    [
        ("bert", "tagging", {"layers": 1}, True),
        ("bert", "tagging", {"layers": 2}, False),
        ("bert", "classification", {"layers": 1, "use_pooler": True}, True),
        ("bert", "classification", {"layers": 2}, False),
        ("roberta", "classification", {"layers": 2}, True),
        ("roberta", "classification", {"layers": 2, "activation_function": "relu"}, False),
        ("distilbert", "classification", {"layers": 2, "activation_function": "relu"}, True),
    ],
)
def test_heads_go_to_peft_only_where_its_model_has_the_same(
    tmp_path: Path, family: str, head: str, options: dict[str, Any], kept: bool
) -> None:
    """A head that the family's task model computes in another way is dropped, with a note that says how they differ."""
    config = tiny_config(family, layers=1)
    make_adapters_module(
        tmp_path / "made", tiny_adapter_model(config), "lora", head=head, head_options={**options, "num_labels": 5}
    )
    module, notes = reformat(read(tmp_path / "made", config), tiny_architecture(config), format="peft")
    assert (module.head is not None) == kept
    assert any(place.is_head for place in module.pieces) == kept
    assert [note.startswith("The head was dropped: it has ") for note in notes] == ([] if kept else [True])
    (tmp_path / "written").mkdir()
    write_module(module, tiny_architecture(config), tmp_path / "written")
    task = {"tagging": "TOKEN_CLS", "classification": "SEQ_CLS"}[head]
    load_peft_module(tmp_path / "written", tiny_model(config, task=task))


def test_the_same_format_changes_nothing(tmp_path: Path) -> None:
    """A module that is in the format already is given back as it is."""
    config = tiny_config("bert", layers=1)
    make_peft_module(tmp_path, tiny_model(config))
    module = read(tmp_path, config)
    same, notes = reformat(module, tiny_architecture(config), format="peft")
    assert same is module
    assert notes == []
    with pytest.raises(ConversionError, match="`onnx`"):
        reformat(replace(module), tiny_architecture(config), format="onnx")


def test_peft_defaults_are_those_of_the_library() -> None:
    """The config that is written has the keys and values that the installed `peft` gives a LoRA."""
    import peft

    theirs = peft.LoraConfig().to_dict()
    assert peft.__version__ == PEFT_VERSION == theirs["peft_version"]
    differ = {key for key in {*theirs, *PEFT_DEFAULTS} if theirs.get(key, "?") != PEFT_DEFAULTS.get(key, "?")}
    assert differ - {"inference_mode", "target_modules", "peft_type"} == set()
    gains = peft.IA3Config().to_dict()
    differ = {key for key in {*gains, *IA3_DEFAULTS} if gains.get(key, "?") != IA3_DEFAULTS.get(key, "?")}
    assert differ - {"inference_mode", "target_modules", "feedforward_modules", "peft_type"} == set()


@pytest.mark.adapters
def test_adapters_defaults_are_those_of_the_library() -> None:
    """Missing keys mean what the installed `adapters` takes them to mean."""
    import adapters

    assert f"adapters.{adapters.__version__}" == ADAPTERS_VERSION
    assert adapters.LoRAConfig().to_dict() == dict(LORA_DEFAULTS)
    required = {"mh_adapter": True, "output_adapter": True, "reduction_factor": 2, "non_linearity": "relu"}
    assert adapters.BnConfig(**required).to_dict() == {**BOTTLENECK_DEFAULTS, **required}


@pytest.mark.parametrize("family", ["roberta", "xlm-roberta", "camembert", "electra", "distilbert"])
def test_head_shapes_name_the_real_activation(family: str) -> None:
    """The activation in the table is the one that the family's head for sequences really applies."""
    config = tiny_config(family, layers=1)
    architecture = tiny_architecture(config)
    shape = head_shape(architecture, "SEQ_CLS")
    assert shape is not None
    model, ids = tiny_model(config, task="SEQ_CLS"), tiny_inputs(config)
    seen: dict[str, torch.Tensor] = {}
    paths = architecture.family.heads["SEQ_CLS"]
    for part, path in paths.items():

        def keep(_: Any, inputs: Any, output: Any, part: str = part) -> None:
            seen.update({f"{part} in": inputs[0], f"{part} out": output})

        model.get_submodule(path).register_forward_hook(keep)
    outputs(model, ids)
    activation = {"tanh": torch.tanh, "relu": torch.relu, "gelu": torch.nn.functional.gelu}[str(shape.activation)]
    torch.testing.assert_close(activation(seen["dense out"]), seen["output in"])
