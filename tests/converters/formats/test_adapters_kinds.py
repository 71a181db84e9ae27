"""The kinds of the `adapters` format, against modules of the real `adapters`, or written by hand for worlds without it."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from modxfer.converters.formats import inspect_files, read_module, write_module
from modxfer.converters.formats.adapters.kinds import all_layers
from modxfer.converters.module import Module, Place
from modxfer.errors import ConversionError, FormatError
from tests.builders import (
    load_adapters_module,
    make_adapters_module,
    outputs,
    tiny_adapter_model,
    tiny_architecture,
    tiny_config,
    tiny_inputs,
    transplant,
)

CONFIG = "adapter_config.json"
WEIGHTS = "adapter.safetensors"
PICKLE = "pytorch_adapter.bin"
FIRST = "encoder.layer.0"

AS_STORED = {
    "gated lora": "lora[r=3,alpha=7,use_gating=True,leave_out=[0]]",
    "dora": "dora[r=3,alpha=7]",
    "ia3": "ia3",
    "flat prefix": "prefix_tuning_flat[prefix_length=5,use_gating=True,shared_gating=False]",
    "prompt": "prompt_tuning[prompt_length=4,combine='prefix_after_bos']",
    "noreft": "noreft[r=3,tied_weights=True,suffix_positions=1,layers=[1]]",
    "language": "seq_bn_inv[reduction_factor=4,inv_adapter_reduction_factor=3]",
}
"""Kinds that are written just as `adapters` stores them."""

WRITTEN_OUT = {
    "compacter": ("compacter[reduction_factor=3,phm_dim=2]", "Compacter: written out as a plain bottleneck"),
    "vera": ("vera[r=3]", "VeRA: multiplied out into a plain LoRA"),
    "prefix": ("prefix_tuning[prefix_length=5,bottleneck_size=6]", "prefix tuning: written flat"),
    "loreft": ("loreft[r=3,suffix_positions=2]", ""),
    "scaled ia3": ("ia3[alpha=3]", ""),
}
"""Kinds that are written in other terms, and the beginning of what is said of that."""


def read(folder: Path, config: Any) -> Module:
    """Read the module in a folder on the base model of a config."""
    return read_module(inspect_files(folder), tiny_architecture(config))


def write(module: Module, config: Any, folder: Path) -> dict[str, Any]:
    """Write a module for the base model of a config; gives the inner config."""
    folder.mkdir()
    write_module(module, tiny_architecture(config), folder)
    inner: dict[str, Any] = json.loads((folder / CONFIG).read_text())["config"]
    return inner


def made(folder: Path, config: Any, kind: Any) -> Any:
    """Make a module on a model with random weights; prefixes do not go into safetensors."""
    model = make_adapters_module(folder, tiny_adapter_model(config), kind, safetensors=False)
    model.set_active_adapters("mine")
    return model


def mam(**options: Any) -> Any:
    """Describe a union of a prefix and a parallel bottleneck."""
    import adapters

    return adapters.MAMConfig(adapters.PrefixTuningConfig(flat=True, prefix_length=5), adapters.ParBnConfig(**options))


@pytest.mark.adapters
@pytest.mark.parametrize("kind", AS_STORED)
def test_round_trip_is_exact(tmp_path: Path, kind: str) -> None:
    """A module read and written again has the same keys, bits and configs."""
    config = tiny_config("bert", layers=2)
    made(tmp_path / "made", config, AS_STORED[kind])
    module = read(tmp_path / "made", config)
    assert module.notes == ()
    write(module, config, tmp_path / "written")
    before, after = torch.load(tmp_path / "made" / PICKLE, weights_only=True), load_file(tmp_path / "written" / WEIGHTS)
    assert set(after) == set(before)
    for key, tensor in after.items():
        np.testing.assert_array_equal(tensor, before[key].numpy(), err_msg=key)
    texts = [json.loads((tmp_path / where / CONFIG).read_text()) for where in ("made", "written")]
    assert texts[0] == texts[1]
    load_adapters_module(tmp_path / "written", tiny_adapter_model(config))


@pytest.mark.adapters
@pytest.mark.parametrize("kind", WRITTEN_OUT)
def test_what_is_written_in_other_terms_computes_the_same(tmp_path: Path, kind: str) -> None:
    """The module is said in terms that can be moved, the reader says so, and the outputs stay; once more changes nothing."""
    config = tiny_config("bert", layers=2)
    name, said = WRITTEN_OUT[kind]
    model = made(tmp_path / "made", config, name)
    if kind == "loreft":  # noise is no orthonormal projection: torch takes signs from the diagonal
        for key, parameter in model.named_parameters():
            if key.endswith("weight.original"):
                parameter.data.fill_diagonal_(-1.0)
        model.save_adapter(str(tmp_path / "made"), "mine", use_safetensors=False)
    module = read(tmp_path / "made", config)
    assert [note[: len(said)] for note in module.notes] == ([said] if said else [])
    write(module, config, tmp_path / "written")
    again = read(tmp_path / "written", config)
    assert again.notes == ()
    assert again.method == module.method
    for place, piece in module.pieces.items():
        for part, tensor in piece.parts.items():
            np.testing.assert_allclose(again.pieces[place].parts[part], tensor, rtol=1e-6, atol=1e-6)
    loaded, ids = load_adapters_module(tmp_path / "written", tiny_adapter_model(config)), tiny_inputs(config)
    for left, right in zip(outputs(model, ids), outputs(loaded, ids), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-4)  # float32 products in another order


@pytest.mark.adapters
@pytest.mark.parametrize(
    "name",
    [
        "compacter[reduction_factor=4]",
        "compacter++[reduction_factor=2]",
        "seq_bn_inv",
        "double_seq_bn_inv",
        "ia3",
        "vera",
        "dora",
        "dvora",
        "prefix_tuning",
        "prefix_tuning_flat",
        "prompt_tuning",
        "loreft",
        "noreft[r=2]",
        "mam",
        "unipelt",
    ],
)
def test_a_config_by_name_is_what_adapters_takes_it_for(tmp_path: Path, name: str) -> None:
    """A config that is only a name has the values that `adapters` gives that name."""
    config = tiny_config("bert", layers=1, hidden=16, heads=2)
    made(tmp_path, config, name)
    whole = json.loads((tmp_path / CONFIG).read_text())
    (tmp_path / CONFIG).write_text(json.dumps({**whole, "config": name}))
    assert inspect_files(tmp_path).config["config"] == whole["config"]


@pytest.mark.adapters
@pytest.mark.parametrize(
    ("kind", "method"),
    [
        ("ia3", "ia3"),
        ("dvora", "lora"),
        ("loreft", "reft"),
        ("seq_bn_inv[reduction_factor=4]", "bottleneck + invertible"),
        ("unipelt", "prefix + bottleneck + lora"),
    ],
)
def test_a_module_says_what_it_is_made_of(tmp_path: Path, kind: str, method: str) -> None:
    """The methods of a union are all named, and the name of a module without one is found in its keys."""
    config = tiny_config("bert", layers=1)
    made(tmp_path, config, kind)
    whole = json.loads((tmp_path / CONFIG).read_text())
    del whole["name"]
    (tmp_path / CONFIG).write_text(json.dumps(whole))
    files = inspect_files(tmp_path)
    assert (files.method, files.name) == (method, "mine")


def shrink(module: Module, layers: Mapping[int, int], config: Any) -> Module:
    """Put random tensors of another base model's widths where a module has some."""
    return transplant(module, tiny_architecture(config), layers)


@pytest.mark.adapters
@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (AS_STORED["dora"], {"leave_out": [2], "r": 3, "use_dora": True}),
        ("prefix_tuning[prefix_length=5,bottleneck_size=6]", {"leave_out": [2], "flat": True, "prefix_length": 5}),
        ("loreft[r=3]", {"layers": [0, 1, 3], "orthogonality": False}),
        ("noreft[r=3,layers=[0,1]]", {"layers": [0, 1, 3], "r": 3}),
        (AS_STORED["prompt"], {"prompt_length": 4}),
        ("compacter[reduction_factor=3,phm_dim=2]", {"leave_out": [2], "phm_layer": False, "reduction_factor": 4}),
        ("seq_bn_inv[reduction_factor=3]", {"inv_adapter": "nice", "inv_adapter_reduction_factor": 2.3}),
    ],
)
def test_a_module_for_another_base_loads(tmp_path: Path, kind: str, expected: dict[str, Any]) -> None:
    """The config says the student's layers and sizes, and `adapters` finds every tensor that it looks for."""
    config, other = tiny_config("bert", layers=3), tiny_config("roberta", hidden=16, ffn=28, heads=2, layers=4)
    made(tmp_path / "made", config, kind)
    module = shrink(read(tmp_path / "made", config), {0: 0, 1: 1, 3: 1}, other)  # layer 2 gets nothing
    inner = write(module, other, tmp_path / "written")
    assert {key: inner[key] for key in expected} == expected
    load_adapters_module(tmp_path / "written", tiny_adapter_model(other))


@pytest.mark.adapters
def test_two_bottlenecks_of_a_union_keep_their_own_settings(tmp_path: Path) -> None:
    """Each piece goes back to the config that it came from, and each config to its own layers."""
    import adapters

    config = tiny_config("bert", layers=2)
    union = adapters.ConfigUnion(
        adapters.DoubleSeqBnConfig(reduction_factor=4, output_adapter=False),
        adapters.ParBnConfig(reduction_factor=6, leave_out=[1]),
    )
    made(tmp_path / "made", config, union)
    other = tiny_config("distilbert", layers=4, hidden=16, heads=2)
    module = shrink(read(tmp_path / "made", config), {1: 0, 2: 1, 3: 1}, other)
    inner = write(module, other, tmp_path / "written")
    first, second = inner["configs"]
    assert (first["leave_out"], first["reduction_factor"], first["is_parallel"]) == ([0], 5, False)
    assert (second["leave_out"], second["reduction_factor"], second["is_parallel"]) == ([0, 2, 3], 6, True)
    load_adapters_module(tmp_path / "written", tiny_adapter_model(other))


@pytest.mark.adapters
def test_a_language_adapter_that_lost_its_invertible_half_says_so(tmp_path: Path) -> None:
    """Without its piece the config asks for no invertible adapter any more."""
    config = tiny_config("bert", layers=2)
    made(tmp_path / "made", config, AS_STORED["language"])
    module = read(tmp_path / "made", config)
    pieces = {place: piece for place, piece in module.pieces.items() if not place.is_outside}
    inner = write(replace(module, pieces=pieces), config, tmp_path / "written")
    assert (inner["inv_adapter"], inner["inv_adapter_reduction_factor"]) == (None, None)
    load_adapters_module(tmp_path / "written", tiny_adapter_model(config))


@pytest.mark.adapters
@pytest.mark.parametrize(
    ("kind", "inner", "said"),
    [
        ("prefix", {"prefix_length": 4}, r"self_prefix.control_trans` in the module \(prefix_length 4\)"),
        ("prefix", {"leave_out": [0]}, r"has the shape \(240,\)"),
        ("prefix", {"use_gating": True}, r"attention.self.prefix_tuning, weight"),
        ("prompt", {"prompt_length": 3}, r"\(5, 12\), and `tiny` needs \(3, 12\)"),
        ("noreft", {"layers": [0]}, r"layer.1.reft_layer.refts.mine"),
        ("noreft", {"tied_weights": True}, r"units.1.learned_source"),
        ("noreft", {"r": 2}, r"the module \(rank 2\)"),
        ("ia3", {"output_lora": True}, r"layer.0.output.dense, output_gain"),
        ("dora", {"use_dora": False}, r"loras.mine.m.weight"),
        ("language", {"inv_adapter_reduction_factor": 2}, r"invertible_adapters, first.down"),
        ("language", {"inv_adapter": None}, r"invertible_adapters.mine"),
        ("vera", {"vera_d": 1, "vera_b": None}, r"loras.mine.vera_D"),
    ],
)
def test_config_and_tensors_must_agree(tmp_path: Path, kind: str, inner: dict[str, Any], said: str) -> None:
    """A config that asks for other tensors than the file holds is refused, and the message says which."""
    config = tiny_config("bert", layers=2)
    kinds = {
        "prefix": "prefix_tuning_flat[prefix_length=5]",
        "prompt": "prompt_tuning[prompt_length=5]",
        "noreft": "noreft[r=3]",
    }
    made(tmp_path, config, kinds.get(kind) or {**AS_STORED, "vera": "vera[r=3]"}[kind])
    whole = json.loads((tmp_path / CONFIG).read_text())
    (tmp_path / CONFIG).write_text(json.dumps({**whole, "config": {**whole["config"], **inner}}))
    with pytest.raises(FormatError, match=said):
        read(tmp_path, config)


@pytest.mark.adapters
def test_copies_of_a_prefix_must_agree(tmp_path: Path) -> None:
    """A prefix is stored once more at every layer; where the copies differ, nobody knows which one holds."""
    config = tiny_config("bert", layers=2)
    made(tmp_path, config, mam(reduction_factor=4))
    tensors = torch.load(tmp_path / PICKLE, weights_only=True)
    key = next(key for key in tensors if "pool" in key)
    torch.save({**tensors, key: tensors[key] + 1}, tmp_path / PICKLE)
    with pytest.raises(FormatError, match="stored twice, with different values"):
        read(tmp_path, config)


@pytest.mark.parametrize(
    ("inner", "kind", "said"),
    [
        ({"architecture": "union", "configs": []}, FormatError, r"`configs` in .* is \[\]"),
        ({"architecture": "union", "configs": [{"architecture": "mtl_lora"}]}, ConversionError, "mtl_lora: MTL-LoRA shares"),
        ({"architecture": "new"}, ConversionError, "the method new: modxfer moves bottleneck, invertible, lora"),
        ({"architecture": "lora", "composition_mode": "other"}, FormatError, "'other', and must be add or scale"),
        ({"architecture": "prefix_tuning", "non_linearity": "mish"}, ConversionError, "the non-linearity 'mish'"),
        ({"architecture": "reft", "layers": "some"}, FormatError, "`layers` in .* is 'some'"),
        ({"architecture": "reft", "layers": "all", "output_reft": False}, FormatError, "`output_reft` in .* is off"),
        ("mam[reduction_factor=4]", FormatError, "changes several configs at once"),
    ],
)
def test_configs_that_cannot_be_read_are_refused(tmp_path: Path, inner: Any, kind: type[Exception], said: str) -> None:
    """A config that modxfer does not understand, or a method that it does not move, is refused before any weight is read."""
    (tmp_path / CONFIG).write_text(json.dumps({"config": inner, "name": "mine", "hidden_size": 12}))
    save_file({"bert.nothing": np.ones(1, np.float32)}, tmp_path / WEIGHTS)
    with pytest.raises(kind, match=said):
        inspect_files(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda place: replace(place, name="key.prefix"), "keys and values have a prefix together"),
        (lambda place: replace(place, layer=1), None),
    ],
)
def test_half_a_prefix_cannot_be_written(tmp_path: Path, change: Callable[[Place], Place], said: str | None) -> None:
    """Keys without values, and layers of two lengths, are no prefix of this format."""
    config = tiny_config("bert", layers=2)
    by_hand(tmp_path / "made", {"architecture": "prefix_tuning", "flat": True, "prefix_length": 2}, prefix_tensors(2))
    module = read(tmp_path / "made", config)
    keep = {place: piece for place, piece in module.pieces.items() if said is None or place.name == "key.prefix"}
    if said is None:
        at = change(Place("encoder", 0, "key.prefix"))
        keep[at] = replace(keep[at], parts={"prefix": keep[at].parts["prefix"][:1]})
    with pytest.raises(ConversionError, match=said or r"prefixes have \[1, 2\] tokens"):
        write(replace(module, pieces=keep), config, tmp_path / "written")


def by_hand(folder: Path, inner: dict[str, Any], tensors: Mapping[str, np.ndarray]) -> None:
    """Write a module's files without `adapters`."""
    folder.mkdir()
    (folder / CONFIG).write_text(json.dumps({"config": inner, "name": "mine", "hidden_size": 12}))
    save_file({key: np.ascontiguousarray(tensor, np.float32) for key, tensor in tensors.items()}, folder / WEIGHTS)


def prefix_tensors(tokens: int) -> dict[str, np.ndarray]:
    """Number all entries of a flat prefix of a two-layer base model of 12 units."""
    flat = np.arange(tokens * 2 * 2 * 12)
    paths = ["bert.prefix_tuning", *(f"bert.encoder.layer.{layer}.attention.self.prefix_tuning.pool" for layer in range(2))]
    return {f"{path}.prefix_tunings.mine.self_prefix.control_trans": flat for path in paths}


def test_a_prefix_is_read_by_token_layer_and_half(tmp_path: Path) -> None:
    """The entries lie token by token, in a token layer by layer, and in a layer the key's before the value's."""
    by_hand(tmp_path / "made", {"architecture": "prefix_tuning", "flat": True, "prefix_length": 3}, prefix_tensors(3))
    config = tiny_config("bert", layers=2)
    module = read(tmp_path / "made", config)
    assert set(module.pieces) == {
        Place(stack, layer, f"{half}.prefix")
        for stack, layer in all_layers(tiny_architecture(config))
        for half in ("key", "value")
    }
    found = module.pieces[Place("encoder", 1, "key.prefix")].parts["prefix"]
    np.testing.assert_array_equal(found, np.arange(3)[:, None] * 48 + 24 + np.arange(12))
    write(module, config, tmp_path / "written")
    before, after = (load_file(tmp_path / where / WEIGHTS) for where in ("made", "written"))
    assert {key: tensor.tolist() for key, tensor in after.items()} == {key: tensor.tolist() for key, tensor in before.items()}


def test_a_vera_is_read_without_adapters(tmp_path: Path) -> None:
    """The plain LoRA of a VeRA is the product of its own and the shared matrices."""
    rng = np.random.default_rng(0)
    sizes = {"vera_D": (2, 2), "vera_B": (12, 12)}
    own = {
        f"bert.{FIRST}.attention.self.{role}.loras.mine.{end}": rng.standard_normal(size)
        for role in ("query", "value")
        for end, size in sizes.items()
    }
    shared = {
        f"bert.shared_parameters.mine.{end}": rng.standard_normal(s) for end, s in (("lora_A", (2, 12)), ("lora_B", (12, 2)))
    }
    inner = {"architecture": "lora", "r": 2, "alpha": 3, "vera_d": 0.1, "vera_b": 0.0}
    by_hand(tmp_path / "made", inner, own | shared)
    config = tiny_config("bert", layers=1)
    piece = read(tmp_path / "made", config).pieces[Place("encoder", 0, "value")]
    value = f"bert.{FIRST}.attention.self.value.loras.mine"
    whole = own[f"{value}.vera_B"] @ shared["bert.shared_parameters.mine.lora_B"]
    whole = whole @ own[f"{value}.vera_D"] @ shared["bert.shared_parameters.mine.lora_A"]
    np.testing.assert_allclose(piece.parts["up"] @ piece.parts["down"], whole, rtol=1e-4, atol=1e-5)
    assert piece.scaling is not None
    assert piece.scaling.factor == 1.5
    written = write(read(tmp_path / "made", config), config, tmp_path / "written")
    assert (written["vera_d"], written["vera_b"]) == (None, None)


def test_two_configs_at_one_place_are_refused(tmp_path: Path) -> None:
    """Two LoRAs on the same submodules would be stored under the same keys."""
    key = f"bert.{FIRST}.attention.self.query.loras.mine"
    tensors = {f"{key}.lora_A": np.ones((2, 12)), f"{key}.lora_B": np.ones((12, 2))}
    lora = {"architecture": "lora", "r": 2, "alpha": 2, "attn_matrices": ["q"]}
    by_hand(tmp_path / "made", {"architecture": "union", "configs": [lora, lora]}, tensors)
    with pytest.raises(FormatError, match=r"both stored under `encoder.layer.0.attention.self.query.loras.mine.lora_A`"):
        read(tmp_path / "made", tiny_config("bert", layers=1))


@pytest.mark.parametrize("configs", [[0, 1], [1, 0]])
def test_configs_told_apart_by_their_layers_alone_are_refused(tmp_path: Path, configs: list[int]) -> None:
    """On a student nothing says which of two LoRAs on the same submodules a piece was."""
    tensors: dict[str, np.ndarray] = {}
    members = []
    for layer in configs:
        key = f"bert.encoder.layer.{layer}.attention.self.query.loras.mine"
        tensors |= {f"{key}.lora_A": np.ones((layer + 1, 12)), f"{key}.lora_B": np.ones((12, layer + 1))}
        members.append({"architecture": "lora", "r": layer + 1, "alpha": 2, "attn_matrices": ["q"], "leave_out": [1 - layer]})
    by_hand(tmp_path / "made", {"architecture": "union", "configs": members}, tensors)
    config = tiny_config("bert", layers=2)
    module = read(tmp_path / "made", config)
    with pytest.raises(ConversionError, match=r"two configs for the lora at `encoder.[01].query`"):
        write(module, config, tmp_path / "written")


def test_a_gain_on_an_input_has_no_place(tmp_path: Path) -> None:
    """`adapters` has gains on what a projection puts out only."""
    gain = {f"bert.{FIRST}.attention.self.key.loras.mine.lora_B": np.ones((12, 1))}
    by_hand(
        tmp_path / "made",
        {"architecture": "lora", "composition_mode": "scale", "r": 1, "alpha": 1, "attn_matrices": ["k"]},
        gain,
    )
    config = tiny_config("bert", layers=1)
    module = read(tmp_path / "made", config)
    place = Place("encoder", 0, "key")
    odd = replace(module.pieces[place], parts={"input_gain": np.ones(12, np.float32)})
    with pytest.raises(ConversionError, match=r"gain on the input of `encoder.0.key`"):
        write(replace(module, pieces={place: odd}), config, tmp_path / "written")
