"""Ground truth on decoders: a LoRA that `peft` made on a teacher gives the same outputs on its planted student.

The students are made by `tests.planting`; no alignment is computed but in the last test.
"""

import copy
import json
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
import transformers
from safetensors.numpy import load_file, save_file

from modxfer.alignments.alignment_map import AlignmentMap
from modxfer.alignments.compute import compute_alignment
from modxfer.alignments.corpus import open_corpus
from modxfer.alignments.layer_maps import layer_map
from modxfer.alignments.request import AlignmentRequest, RouteUse
from modxfer.architectures import FINAL, Architecture, Point, Route, Side, Site
from modxfer.converters.convert import convert_module
from modxfer.converters.formats import inspect_files, read_module, write_module
from modxfer.converters.methods import route_of_role
from modxfer.converters.module import BaseReference, Module, Place
from modxfer.errors import ConversionError
from tests.architectures.test_decoders import CASES
from tests.builders import load_peft_module, make_peft_module, randomise
from tests.planted import base_model, save_base, small_text, tiny_tokenizer
from tests.planting import (
    Planted,
    alignment_of,
    architecture_of,
    assert_differ,
    assert_same,
    inputs,
    make,
    plant,
    run,
    tiny,
)

CAUSAL, CLASSIFIER = transformers.AutoModelForCausalLM, transformers.AutoModelForSequenceClassification


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A teacher, its planted student and its structure."""

    teacher: Any
    base: Architecture
    planted: Planted


@cache
def _pair(case: str, auto_class: Any) -> Pair:
    model_type, changes = CASES[case]
    teacher = make(tiny(model_type, **changes), auto_class)
    base = architecture_of(teacher.config)
    return Pair(teacher=teacher, base=base, planted=plant(teacher, base))


def pair_of(case: str, auto_class: Any) -> Pair:
    """Give a case's models, fresh: `peft` changes those that it gets."""
    known = _pair(case, auto_class)
    planted = replace(known.planted, student=copy.deepcopy(known.planted.student))
    return replace(known, teacher=copy.deepcopy(known.teacher), planted=planted)


def linear_names(base: Architecture) -> list[str]:
    """Name all matrices in the layers, as `target_modules` does."""
    rows = [row for _, layer, _, row in base.roles() if layer is not None and not row.elementwise]
    return sorted({row.path for row in rows})


def convert(module: Module, base: Architecture, alignment: AlignmentMap | None, student: Architecture | None = None) -> Module:
    """Convert a module along the identity layer map."""
    student = student or base
    conversion = convert_module(
        module,
        teacher=base,
        student=student,
        layers=layer_map("skip", teacher=base.depths, student=student.depths),
        alignment=alignment,
    )
    assert conversion.dropped == ()
    reference = BaseReference(name="student", model_type=student.model_type, hidden_size=student.dimensions["hidden"])
    return replace(conversion.module, base=reference)


def check(case: str, auto_class: Any, folder: Path, **options: Any) -> None:
    """Make a LoRA on a case's teacher, convert it, load it on the student, and hold the outputs against each other."""
    pair = pair_of(case, auto_class)
    given = inputs(pair.teacher.config)
    plain = run(pair.teacher, given)
    assert_same(run(pair.planted.student, given), plain)
    made = make_peft_module(folder / "teacher", pair.teacher, **options)
    expected = run(made, given)
    module = read_module(inspect_files(folder / "teacher"), pair.base)
    assert {place.role for place in module.pieces if not place.is_head} <= {role for _, _, role, _ in pair.base.roles()}
    converted = convert(module, pair.base, pair.planted.alignment)
    (folder / "student").mkdir()
    write_module(converted, pair.base, folder / "student")
    loaded = load_peft_module(folder / "student", pair.planted.student)
    assert_same(run(loaded, given), expected)
    with loaded.disable_adapter():
        assert_differ(run(loaded, given), expected)


@pytest.mark.parametrize("case", CASES)
def test_lora_on_every_matrix_gives_the_teachers_outputs(case: str, tmp_path: Path) -> None:
    """A LoRA on all matrices of the layers computes on the student what it did on the teacher, fused matrices included."""
    base = _pair(case, CAUSAL).base
    check(case, CAUSAL, tmp_path, task_type="CAUSAL_LM", target_modules=linear_names(base), use_rslora=True)


@pytest.mark.parametrize("case", [*(case for case in CASES if "," not in case), "opt, norm behind", "falcon, by head"])
def test_lora_on_the_usual_matrices_and_its_head_give_the_teachers_outputs(case: str, tmp_path: Path) -> None:
    """A LoRA on query and value, and the sequence classifier that was trained with it, give the teacher's logits."""
    base = _pair(case, CLASSIFIER).base
    roles = base.family.stacks["decoder"].roles
    targets = sorted({roles[role].path.rpartition(".")[2] for role in ("query", "value")})
    check(case, CLASSIFIER, tmp_path, task_type="SEQ_CLS", target_modules=targets, rank_pattern={rf"1\..*{targets[0]}": 2})


def written(folder: Path, module: Module, base: Architecture) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Write a module, and read its config and its tensors as they are."""
    folder.mkdir()
    write_module(module, base, folder)
    config: dict[str, Any] = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    return config, load_file(folder / "adapter_model.safetensors")


def test_lora_on_a_fused_matrix_is_split_and_comes_back_bit_for_bit(tmp_path: Path) -> None:
    """GPT-2's `c_attn` makes three pieces in memory, and the same tensors as before when they are written again."""
    pair = pair_of("gpt2", CAUSAL)
    make_peft_module(tmp_path / "teacher", pair.teacher, target_modules=["c_attn"], task_type="CAUSAL_LM")
    module = read_module(inspect_files(tmp_path / "teacher"), pair.base)
    assert {place.name for place in module.pieces} == {"query", "key", "value"}
    whole = load_file(tmp_path / "teacher" / "adapter_model.safetensors")
    for place, piece in module.pieces.items():
        up = whole[f"base_model.model.transformer.h.{place.layer}.attn.c_attn.lora_B.weight"]
        start = 24 * ("query", "key", "value").index(place.name)
        np.testing.assert_array_equal(piece.parts["up"], up[start : start + 24])
    config, tensors = written(tmp_path / "student", convert(module, pair.base, None), pair.base)
    assert (config["target_modules"], config["fan_in_fan_out"], config["r"]) == (["c_attn"], True, 3)
    assert tensors.keys() == whole.keys()
    for key, tensor in whole.items():
        np.testing.assert_array_equal(tensors[key], tensor)


def test_separate_loras_become_one_on_a_fused_matrix(tmp_path: Path) -> None:
    """LoRAs on `q_proj` and `v_proj` become one of twice the rank on `qkv_proj`: their updates, and none for keys."""
    teacher = make(tiny("llama", hidden_size=32, head_dim=8), CAUSAL)
    base, student = architecture_of(teacher.config), architecture_of(tiny("phi3"))
    targets = ["q_proj", "v_proj"]
    make_peft_module(tmp_path / "teacher", teacher, target_modules=targets, task_type="CAUSAL_LM", lora_alpha=6)
    module = read_module(inspect_files(tmp_path / "teacher"), base)
    config, tensors = written(tmp_path / "student", convert(module, base, None, student), student)
    assert (config["target_modules"], config["r"], config["lora_alpha"]) == (["qkv_proj"], 6, 12)
    for layer in range(2):
        key = f"base_model.model.model.layers.{layer}.self_attn.qkv_proj"
        down, up = tensors[f"{key}.lora_A.weight"], tensors[f"{key}.lora_B.weight"]
        assert (down.shape, up.shape) == ((6, 32), (64, 6))
        query, value = (module.pieces[Place("decoder", layer, role)].parts for role in ("query", "value"))
        expected = np.concatenate([query["up"] @ query["down"], np.zeros((16, 32)), value["up"] @ value["down"]])
        np.testing.assert_allclose(up @ down, expected, rtol=1e-12, atol=1e-12)  # zeros are summed up with the rest
    load_peft_module(tmp_path / "student", make(tiny("phi3"), CAUSAL))
    back = read_module(inspect_files(tmp_path / "student"), student)
    assert {place.name for place in back.pieces} == {"query", "key", "value"}


def fused(teacher: Any) -> Any:
    """Give the Phi-3 that has a Llama's weights, query, key and value in one matrix and gate and up in another."""
    student = make(tiny("phi3", rms_norm_eps=teacher.config.rms_norm_eps), CAUSAL)
    state = dict(teacher.state_dict())
    for layer in range(2):
        for whole, parts in (("self_attn.qkv", ("q", "k", "v")), ("mlp.gate_up", ("gate", "up"))):
            block, _, name = whole.partition(".")
            rows = [state.pop(f"model.layers.{layer}.{block}.{part}_proj.weight") for part in parts]
            state[f"model.layers.{layer}.{block}.{name}_proj.weight"] = torch.cat(rows)
    student.load_state_dict(state)
    return student


def test_separate_loras_compute_the_same_on_fused_matrices(tmp_path: Path) -> None:
    """A LoRA on all matrices of a Llama gives the same outputs on the Phi-3 that has its weights."""
    teacher = make(tiny("llama", hidden_size=32, head_dim=8), CAUSAL)
    student, base = fused(teacher), architecture_of(teacher.config)
    given = inputs(teacher.config)
    assert_same(run(student, given), run(teacher, given))
    made = make_peft_module(tmp_path / "teacher", teacher, target_modules="all-linear", task_type="CAUSAL_LM")
    expected = run(made, given)
    module = read_module(inspect_files(tmp_path / "teacher"), base)
    student_base = architecture_of(student.config)
    written(tmp_path / "student", convert(module, base, None, student_base), student_base)
    assert_same(run(load_peft_module(tmp_path / "student", student), given), expected)


def test_gains_on_some_roles_compute_the_same_on_fused_matrices(tmp_path: Path) -> None:
    """(IA)3 on some of a Llama's matrices, as is usual, gives the same outputs on the Phi-3 that has its weights."""
    teacher = make(tiny("llama", hidden_size=32, head_dim=8), CAUSAL)
    student, base = fused(teacher), architecture_of(teacher.config)
    given = inputs(teacher.config)
    options: dict[str, Any] = {
        "target_modules": ["k_proj", "v_proj", "up_proj", "down_proj"],
        "feedforward_modules": ["down_proj"],
    }
    made = peft.get_peft_model(teacher, peft.IA3Config(task_type="CAUSAL_LM", **options)).eval()
    randomise((parameter for parameter in made.parameters() if parameter.requires_grad), seed=3)
    made.save_pretrained(str(tmp_path / "teacher"))
    expected = run(made, given)
    module = read_module(inspect_files(tmp_path / "teacher"), base)
    student_base = architecture_of(student.config)
    config, _ = written(tmp_path / "student", convert(module, base, None, student_base), student_base)
    assert config["target_modules"] == ["down_proj", "gate_up_proj", "qkv_proj"]
    loaded = load_peft_module(tmp_path / "student", student)
    assert_same(run(loaded, given), expected)
    with loaded.disable_adapter():
        assert_differ(run(loaded, given), expected)


def test_loras_with_biases_on_some_roles_of_a_fused_matrix(tmp_path: Path) -> None:
    """LoRAs whose up-projections have biases become one, which adds nothing to the role that has none."""
    teacher = make(tiny("qwen2", hidden_size=24, num_attention_heads=3, num_key_value_heads=3), CAUSAL)
    base, student = architecture_of(teacher.config), architecture_of(tiny("gpt2"))
    options: dict[str, Any] = {"target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM", "lora_bias": True}
    make_peft_module(tmp_path / "teacher", teacher, **options)
    module = read_module(inspect_files(tmp_path / "teacher"), base)
    _, tensors = written(tmp_path / "student", convert(module, base, None, student), student)
    query, value = (module.pieces[Place("decoder", 1, role)].parts["bias"] for role in ("query", "value"))
    whole = tensors["base_model.model.transformer.h.1.attn.c_attn.lora_B.bias"]
    np.testing.assert_array_equal(whole, np.concatenate([query, np.zeros(24), value]))
    load_peft_module(tmp_path / "student", make(tiny("gpt2"), CAUSAL))


def test_loras_on_plain_matrices_load_on_transposed_ones(tmp_path: Path) -> None:
    """From Llama to GPT-2, whose matrices are stored transposed, the config says so: `peft` loads it without a warning."""
    teacher = make(tiny("llama", num_attention_heads=3, num_key_value_heads=3), CAUSAL)
    base, student = architecture_of(teacher.config), architecture_of(tiny("gpt2"))
    targets = ["q_proj", "v_proj", "up_proj", "down_proj"]
    make_peft_module(tmp_path / "teacher", teacher, target_modules=targets, task_type="CAUSAL_LM")
    module = read_module(inspect_files(tmp_path / "teacher"), base)
    assert module.config["fan_in_fan_out"] is False
    config, _ = written(tmp_path / "student", convert(module, base, None, student), student)
    assert config["fan_in_fan_out"] is True
    load_peft_module(tmp_path / "student", make(tiny("gpt2"), CAUSAL))


def with_repeated_keys(teacher: Any) -> Any:
    """Give a Llama that has a key head for every query head, each a copy of the one that served it."""
    student = make(tiny("llama", num_key_value_heads=4), CAUSAL)
    state = teacher.state_dict()
    rows = torch.from_numpy(REPEATED)
    repeated = {key: value[rows] if "k_proj" in key or "v_proj" in key else value for key, value in state.items()}
    student.load_state_dict(repeated)
    return student


REPEATED = np.repeat(np.arange(16).reshape(2, 8), 2, axis=0).reshape(-1)
"""The teacher's key unit of each of the student's, where the student has two key heads for each of the teacher's."""


def repeated_sites(base: Architecture, keys: np.ndarray) -> dict[Site, np.ndarray]:
    """State all units to be the same but those of key heads."""
    sites = {}
    for stack, layer, role, _ in base.roles():
        for side in Side:
            site = Site(stack, layer, Point(role, side))
            is_key = role in ("key", "value") and side is Side.OUTPUT
            sites[site] = keys if is_key else np.arange(base.width(site))
    return sites


def test_student_with_more_key_heads(tmp_path: Path) -> None:
    """From grouped queries to a key head for each query head: with the heads repeated, the outputs are the teacher's."""
    teacher = make(tiny("llama"), CAUSAL)
    student = with_repeated_keys(teacher)
    bases = architecture_of(teacher.config), architecture_of(student.config)
    given = inputs(teacher.config)
    assert_same(run(student, given), run(teacher, given))
    made = make_peft_module(tmp_path / "teacher", teacher, target_modules=linear_names(bases[0]), task_type="CAUSAL_LM")
    expected = run(made, given)
    module = read_module(inspect_files(tmp_path / "teacher"), bases[0])
    alignment = alignment_of(repeated_sites(bases[1], REPEATED), *bases)
    _, tensors = written(tmp_path / "student", convert(module, bases[0], alignment, bases[1]), bases[1])
    assert tensors["base_model.model.model.layers.0.self_attn.k_proj.lora_B.weight"].shape == (32, 3)
    assert_same(run(load_peft_module(tmp_path / "student", student), given), expected)


def test_student_with_fewer_key_heads(tmp_path: Path) -> None:
    """From a key head for each query head to grouped queries: every student unit gets the rows of the unit that serves it."""
    teacher = make(tiny("llama", num_key_value_heads=4), CAUSAL)
    bases = architecture_of(teacher.config), architecture_of(tiny("llama"))
    keys = np.random.default_rng(3).permutation(32)[:16]
    make_peft_module(tmp_path / "teacher", teacher, target_modules=["k_proj", "v_proj"], task_type="CAUSAL_LM")
    module = read_module(inspect_files(tmp_path / "teacher"), bases[0])
    alignment = alignment_of(repeated_sites(bases[1], keys), *bases)
    _, tensors = written(tmp_path / "student", convert(module, bases[0], alignment, bases[1]), bases[1])
    for layer, role, name in ((0, "key", "k_proj"), (1, "value", "v_proj")):
        up = tensors[f"base_model.model.model.layers.{layer}.self_attn.{name}.lora_B.weight"]
        np.testing.assert_array_equal(up, module.pieces[Place("decoder", layer, role)].parts["up"][keys])
    load_peft_module(tmp_path / "student", make(tiny("llama"), CAUSAL))


@pytest.mark.parametrize("path", ["block_sparse_moe.experts.0.w1", "mlp.gate"])
def test_loras_on_experts_are_refused(path: str, tmp_path: Path) -> None:
    """A LoRA on an expert or on a router is refused, and the message says why."""
    pair = pair_of("mixtral", CAUSAL)
    make_peft_module(tmp_path, pair.teacher, target_modules=["q_proj"], task_type="CAUSAL_LM")
    file = tmp_path / "adapter_model.safetensors"
    save_file({key.replace("self_attn.q_proj", path): value for key, value in load_file(file).items()}, file)
    with pytest.raises(ConversionError, match=rf"`model\.layers\.0\.{path}`.* cannot be moved: it is one of several experts"):
        read_module(inspect_files(tmp_path), pair.base)


def test_replaced_normalisation_keeps_its_meaning(tmp_path: Path) -> None:
    """A whole normalisation moves between two Gemmas as it is; to a Llama, whose weight is the gain itself, it is refused."""
    teacher = make(tiny("gemma2"), CAUSAL)
    base = architecture_of(teacher.config)
    make_peft_module(tmp_path, teacher, target_modules=["q_proj"], modules_to_save=["input_layernorm"], task_type="CAUSAL_LM")
    module = read_module(inspect_files(tmp_path), base)
    same = convert(module, base, None, architecture_of(tiny("gemma3_text")))
    place = Place("decoder", 1, "attention_norm.base")
    np.testing.assert_array_equal(same.pieces[place].parts["weight"], module.pieces[place].parts["weight"])
    with pytest.raises(
        ConversionError, match=r"`decoder\.0\.attention_norm\.base`, and gemma2 normalises with 1 \+ its weight"
    ):
        convert(module, base, None, architecture_of(tiny("llama")))


def test_bias_that_the_student_lacks_is_refused(tmp_path: Path) -> None:
    """Biases that Qwen 2 has and Llama has not are not written, where `peft` would pass over them without a word."""
    teacher = make(tiny("qwen2"), CAUSAL)
    base, student = architecture_of(teacher.config), architecture_of(tiny("llama", hidden_size=32))
    make_peft_module(tmp_path / "teacher", teacher, target_modules=["q_proj"], bias="lora_only", task_type="CAUSAL_LM")
    module = read_module(inspect_files(tmp_path / "teacher"), base)
    written(tmp_path / "again", convert(module, base, None), base)
    with pytest.raises(ConversionError, match=r"the bias of `decoder\.0\.query`, and the student has none there"):
        written(tmp_path / "student", convert(module, base, None, student), student)


@pytest.mark.parametrize("case", ["gpt2", "opt"])
def test_alignment_recovers_a_decoders_permutation(case: str, tmp_path: Path) -> None:
    """Run on text, a decoder and its planted student show every permutation: fused outputs, and those of a flattened FFN."""
    activation = {"opt": {"activation_function": "gelu"}}  # behind ReLU some units are always 0, which all look the same
    config = tiny(case, vocab_size=len(tiny_tokenizer()), **activation.get(case, {}))
    teacher = make(config, dtype=torch.float32)
    base = architecture_of(teacher.config)
    planted = plant(teacher, base)
    folders = save_base(tmp_path / "teacher", teacher), save_base(tmp_path / "student", planted.student)
    (tmp_path / "text.txt").write_text(small_text(), encoding="utf-8")
    routes = [route_of_role("query"), route_of_role("ffn_up"), route_of_role("ffn_down")]
    uses = [RouteUse(route=route, reads=True, writes=True, updates=True) for route in routes]
    head = RouteUse(route=Route(reads=FINAL, writes=FINAL), reads=True, writes=True, updates=False)
    layers = layer_map("skip", teacher=base.depths, student=base.depths)
    alignment = compute_alignment(
        AlignmentRequest.of(layers, inside=uses, outside=[head]),
        teacher=base_model(folders[0]),
        student=base_model(folders[1]),
        corpus=open_corpus(str(tmp_path / "text.txt")),
        tokens=800,
        aligner="lsa",
    )
    assert len(alignment.maps) == 2 * 6 + 1  # three inputs and three outputs a layer, and the final state
    for pair, site_map in alignment.maps.items():
        np.testing.assert_array_equal(site_map.assignment, planted.units[pair.student], err_msg=str(pair))
