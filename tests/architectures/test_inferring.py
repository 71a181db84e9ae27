"""A family that is not in the table is read off its submodules, rightly or not at all."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import transformers

from modxfer.alignments.layer_maps import layer_map
from modxfer.architectures import FAMILIES, Architecture, Kind, architecture_from_config
from modxfer.architectures.inferring import Skeleton, infer_architecture, skeleton_from_names
from modxfer.converters.convert import convert_module
from modxfer.converters.formats import inspect_files, read_module, write_module
from modxfer.errors import ArchitectureError, ConversionError
from modxfer.registry.structures import inferred_warnings, read_architecture
from tests.builders import load_peft_module, make_peft_module
from tests.planting import assert_differ, assert_same, inputs, make, plant, run

_SIZES: Mapping[str, Any] = {
    "vocab_size": 50,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 36,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
}
_GROUPED = {**_SIZES, "num_key_value_heads": 2}
_BERT_ROLES = ["query", "key", "value", "attention.output.dense", "intermediate.dense", "output.dense"]
_LLAMA_ROLES = ["q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "gate_proj", "down_proj"]

CASES: Mapping[str, tuple[Mapping[str, Any], Any, list[str]]] = {
    "rembert": ({**_SIZES, "input_embedding_size": 12}, transformers.AutoModelForMaskedLM, _BERT_ROLES),
    "xlm-roberta-xl": (_SIZES, transformers.AutoModelForMaskedLM, _BERT_ROLES),
    "stablelm": (_GROUPED, transformers.AutoModelForCausalLM, _LLAMA_ROLES),
    "granite": (_GROUPED, transformers.AutoModelForCausalLM, _LLAMA_ROLES),
    "cohere": (_GROUPED, transformers.AutoModelForCausalLM, _LLAMA_ROLES),
    "starcoder2": (_GROUPED, transformers.AutoModelForCausalLM, [*_LLAMA_ROLES[:4], "c_fc", "c_proj"]),
    "phi": (_SIZES, transformers.AutoModelForCausalLM, ["q_proj", "k_proj", "v_proj", "dense", "fc1", "fc2"]),
}
"""`model_type` to what its tiny config says, a class that predicts tokens with it, and the names of all its roles' matrices."""


def config_of(family: str, **changes: Any) -> Any:
    """Make the config of a tiny model."""
    return transformers.AutoConfig.for_model(family, **{**CASES[family][0], **changes})


def read_saved(folder: Path, config: Any, name: str = "tiny") -> Architecture:
    """Save a config alone, and read the structure that `transformers` makes of it."""
    config.save_pretrained(folder)
    return read_architecture(folder, name=name)


@pytest.mark.parametrize("family", CASES)
def test_a_lora_moves_between_models_of_an_inferred_family(tmp_path: Path, family: str) -> None:
    """On a permuted student of a family that the table lacks, a LoRA on every role computes what it did on the teacher."""
    _, auto_class, targets = CASES[family]
    assert family not in FAMILIES
    config = config_of(family)
    base = read_saved(tmp_path / "base", config)
    teacher = make(config, auto_class)
    planted, given = plant(teacher, base), inputs(config)
    plain = run(teacher, given)
    assert_same(run(planted.student, given), planted.as_student(plain))
    module = make_peft_module(tmp_path / "made", teacher, target_modules=targets)
    moved = convert_module(
        read_module(inspect_files(tmp_path / "made"), base),
        teacher=base,
        student=base,
        layers=layer_map("skip", teacher=base.depths, student=base.depths),
        alignment=planted.alignment,
    )
    (tmp_path / "written").mkdir()
    write_module(moved.module, base, tmp_path / "written")
    student = load_peft_module(tmp_path / "written", planted.student)
    expected = run(module, given)
    assert_differ(expected, plain)
    assert_same(run(student, given), planted.as_student(expected))
    assert moved.dropped == moved.approximated == ()


def test_a_whole_normalisation_stays_in_an_inferred_family(tmp_path: Path) -> None:
    """Gemma normalises with 1 + its weight, which no structure shows: a trained weight goes to no other family."""
    config = transformers.AutoConfig.for_model("gemma", **_GROUPED, head_dim=8)
    base = read_saved(tmp_path / "base", config)
    assert base.family.inferred
    options: dict[str, Any] = {"target_modules": ["q_proj"], "modules_to_save": ["input_layernorm"], "task_type": "CAUSAL_LM"}
    make_peft_module(tmp_path / "made", make(config, transformers.AutoModelForCausalLM), **options)
    module = read_module(inspect_files(tmp_path / "made"), base)
    layers = layer_map("skip", teacher=base.depths, student=base.depths)
    same = convert_module(module, teacher=base, student=base, layers=layers, alignment=None)
    assert same.module.pieces.keys() == module.pieces.keys()
    llama = architecture_from_config({"model_type": "llama", **_GROUPED}, name="llama")
    with pytest.raises(ConversionError, match=r"`decoder\.0\.attention_norm\.base`, and gemma may normalise"):
        convert_module(module, teacher=base, student=llama, layers=layers, alignment=None)


@pytest.mark.parametrize("family", CASES)
def test_files_and_library_tell_the_same(tmp_path: Path, family: str) -> None:
    """The names in a task model's files give what the model without weights gives."""
    config = config_of(family)
    model = make(config, CASES[family][1])
    model.save_pretrained(tmp_path / "whole")
    whole = read_architecture(tmp_path / "whole", name="tiny")
    alone = read_saved(tmp_path / "alone", config)
    assert (whole.dimensions, whole.depths) == (alone.dimensions, alone.depths)
    assert whole.family.stacks == alone.family.stacks
    assert whole.family.final == alone.family.final
    assert whole.family.prefix == alone.family.prefix == model.base_model_prefix
    assert set(whole.family.modules) - {"lm_head", "pooler"} == set(alone.family.modules) - {"lm_head", "pooler"}
    assert whole.family.inferred
    assert alone.family.inferred


def test_a_base_saved_without_its_task_model_is_read(tmp_path: Path) -> None:
    """Where files hold the base model alone, the attribute under which task models hold it is asked of the library."""
    make(config_of("stablelm"), transformers.AutoModel).save_pretrained(tmp_path)
    found = read_architecture(tmp_path, name="tiny")
    assert found.family.prefix == "model"
    assert found.role_path("decoder", 1, "query") == "layers.1.self_attn.q_proj"


def test_it_is_said_that_a_structure_was_inferred(tmp_path: Path) -> None:
    """The sentence names base model and family, and one in the table has none."""
    base = read_saved(tmp_path, config_of("phi"), name="acme/phi-2")
    (tmp_path / "bert").mkdir()
    bert = transformers.AutoConfig.for_model("bert", **_SIZES)
    assert inferred_warnings(base, read_saved(tmp_path / "bert", bert), base) == [
        "`acme/phi-2` is of the family `phi`, which is not in the table: its roles were read off the names and shapes of its "
        "submodules."
    ]


@pytest.mark.parametrize(
    ("family", "sizes", "found"),
    [
        ("albert", {**_SIZES, "embedding_size": 12}, "albert_layers.0.ffn"),
        ("fsmt", {}, "encoder layers and one of decoder layers"),
        ("persimmon", _SIZES, r"query_key_value\.weight \[96, 32\]"),
        ("longformer", {**_SIZES, "attention_window": 4}, "query_global"),
        ("olmo", _SIZES, "0 normalisations"),
        ("mamba", {**_SIZES, "state_size": 4}, "0 stacks"),
    ],
)
def test_an_ambiguous_family_is_refused(tmp_path: Path, family: str, sizes: Mapping[str, Any], found: str) -> None:
    """Shared layers, two stacks, fused matrices, a second attention or none at all: the error says what was found."""
    config = transformers.AutoConfig.for_model(family, **sizes)
    with pytest.raises(ArchitectureError, match=found) as caught:
        read_saved(tmp_path, config, name="acme/odd")
    assert f"`acme/odd` is of the family `{family}`, which is not in the table" in caught.value.what
    assert "CONTRIBUTING" in caught.value.do


def skeleton(**changes: tuple[int, ...] | None) -> Skeleton:
    """List the parameters of a plain decoder of two layers, with some shapes changed (None takes one out)."""
    layer = {
        "self_attn.q_proj": (12, 12),
        "self_attn.k_proj": (6, 12),
        "self_attn.v_proj": (6, 12),
        "self_attn.o_proj": (12, 12),
        "mlp.fc1": (20, 12),
        "mlp.fc2": (12, 20),
    }
    shapes: dict[str, Any] = {f"model.layers.{n}.{path}.weight": shape for n in (0, 1) for path, shape in layer.items()}
    shapes |= {"model.embed_tokens.weight": (50, 12), "model.norm.weight": (12,), "lm_head.weight": (50, 12)}
    shapes |= {key.replace("__", "."): shape for key, shape in changes.items()}
    kept = {key: shape for key, shape in shapes.items() if shape is not None}
    return Skeleton(shapes=kept, prefix="model", kind=Kind.DECODER)


CONFIG = {
    "model_type": "made-up",
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 20,
    "vocab_size": 50,
}


def test_a_plain_decoder_is_read() -> None:
    """What the refusals below change is otherwise read, with numbers for sizes."""
    base = infer_architecture(CONFIG, skeleton(), name="plain")
    assert dict(base.dimensions) == {"hidden": 12, "heads": 12, "kv_heads": 6, "ffn": 20, "vocabulary": 50}
    assert base.depths == {"decoder": 2}
    assert base.family.modules["lm_head"].outside_base


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"model__layers__1__mlp__fc1__weight": (22, 12)}, r"layers\.0 and layers\.1 differ"),
        ({f"model__layers__{n}__mlp__up_proj__weight": (20, 12) for n in (0, 1)}, "2 matrices of a layer could be ffn_up"),
        ({f"model__layers__{n}__mlp__fc2__weight": (20, 12) for n in (0, 1)}, r"mlp\.fc2 has shape \[20, 12\]"),
        ({f"model__layers__{n}__mlp__extra__weight": (12, 12) for n in (0, 1)}, r"mlp\.extra\.weight \[12, 12\]"),
        ({f"model__layers__{n}__self_attn__k_proj__weight": None for n in (0, 1)}, "no matrix of a layer has a name of key"),
        ({f"model__layers__{n}__mlp__fc{m}__weight": (12, 12) for n in (0, 1) for m in (1, 2)}, "square"),
        ({"model__blocks__0__attn__q_proj__weight": (12, 12)}, "2 stacks"),
        ({"model__embed_tokens__weight": (49, 12)}, "vocab_size=50, and its weights have 49"),
        ({"model__embed_tokens__weight": None}, "0 tables of token embeddings"),
        ({"model__embed_tokens__weight": (50, 8)}, "embeddings have 8 units"),
        ({"model__ln_f__weight": (12,)}, "2 normalisations"),
    ],
)
def test_a_structure_that_is_not_clear_is_refused(changes: Mapping[str, Any], found: str) -> None:
    """Each of these could be read in two ways, or contradicts itself."""
    with pytest.raises(ArchitectureError, match=found):
        infer_architecture(CONFIG, skeleton(**changes), name="odd")


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"num_hidden_layers": 12}, "num_hidden_layers=12, and its weights have 2, as where layers share theirs"),
        ({"num_hidden_layers": None}, "how many layers"),
        ({"hidden_size": 16}, "hidden_size=16, and its weights have 12"),
        ({"intermediate_size": 40}, "intermediate_size=40, and its weights have 20"),
        ({"num_attention_heads": 5}, "5 heads do not share evenly"),
        ({"num_key_value_heads": 4}, "4 heads for them"),
        ({"head_dim": 4}, "4 heads of 4"),
        ({"is_encoder_decoder": True}, "decoder layers"),
        ({"is_causal": False}, "what a position has read"),
    ],
)
def test_a_config_that_contradicts_the_weights_is_refused(changes: Mapping[str, Any], found: str) -> None:
    """The config's sizes are held against the shapes."""
    with pytest.raises(ArchitectureError, match=found):
        infer_architecture({**CONFIG, **changes}, skeleton(), name="odd")


@pytest.mark.parametrize(
    ("changes", "prefix"),
    [
        ({"architectures": ["MadeUpForCausalLM"]}, "model"),
        ({"architectures": ["MadeUpModel"]}, None),
        ({"architectures": ["MadeUpForTokenClassification"]}, None),
        ({"architectures": ["MadeUpForCausalLM"], "quantization_config": {"quant_method": "gptq"}}, None),
    ],
)
def test_names_alone_serve_only_where_they_tell_all(changes: Mapping[str, Any], prefix: str | None) -> None:
    """Names of a base model alone, an unknown direction of reading or packed weights are not enough."""
    found = skeleton_from_names({**CONFIG, **changes}, skeleton().shapes)
    assert (found.prefix if found else None) == prefix


def test_an_unknown_word_is_not_looked_up_elsewhere(tmp_path: Path) -> None:
    """A family that neither the table nor `transformers` knows is refused, and no code of its repository is run."""
    config = {"model_type": "made-up", "hidden_size": 12, "auto_map": {"AutoConfig": "configuration_made_up.MadeUpConfig"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "configuration_made_up.py").write_text("raise SystemExit('this was run')\n")
    with pytest.raises(ArchitectureError, match="`made-up`, which is not in the table"):
        read_architecture(tmp_path, name="acme/made-up")
