"""Every kind of `peft` module: what the real `peft` saves is read, written for other structures and loaded, or refused."""

import json
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from modxfer.converters.formats import inspect_files, read_module, write_module
from modxfer.converters.formats.peft.convertible import CONVERTIBLE
from modxfer.converters.formats.peft.table import KINDS, REFUSED, method_of
from modxfer.converters.fusing import fuse_pieces
from modxfer.converters.methods import LORA, route_of_role
from modxfer.converters.module import Module, Piece, Place, Scaling
from modxfer.errors import ConversionError, FormatError
from tests.builders import randomise, transplant, warnings_fail
from tests.planting import architecture_of, inputs, make, run, tiny

CAUSAL = transformers.AutoModelForCausalLM


def save(folder: Path, model: Any, config: Any, **options: Any) -> Any:
    """Let `peft` put a module on a model, fill what it trains with noise and save it; gives the `PeftModel`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = peft.get_peft_model(model, config)
        randomise((parameter for parameter in module.parameters() if parameter.requires_grad), seed=3)
        module.eval().save_pretrained(str(folder), **options)
    return module


def load(folder: Path, model: Any) -> Any:
    """Let `peft` load a module; a warning, or a missing tensor, fails."""
    with warnings_fail("Unsupported layer type|.*merging LoRA weights won't be possible"):
        module = peft.PeftModel.from_pretrained(model, str(folder))
    result: Any = peft.set_peft_model_state_dict(module, peft.load_peft_weights(str(folder), device="cpu"))
    assert [key for key in result.missing_keys if re.search(r"lora_|ia3_|ln_tuning|modules_to_save", key)] == []
    return module.eval()


def read(folder: Path, config: Any) -> Module:
    """Read a module on a tiny base model."""
    return read_module(inspect_files(folder), architecture_of(config))


def written(folder: Path, module: Module, config: Any, layers: Mapping[int, int] | None = None) -> dict[str, Any]:
    """Write a module with random tensors of another base model's widths; gives the config."""
    student = architecture_of(config)
    folder.mkdir()
    layers = layers or {0: 0, 1: 1}
    write_module(transplant(module, student, layers), student, folder)
    said: dict[str, Any] = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    return said


def edit(folder: Path, **changes: Any) -> None:
    """Change keys of a module's config; None takes one out."""
    path = folder / "adapter_config.json"
    config = {**json.loads(path.read_text(encoding="utf-8")), **changes}
    kept = {key: value for key, value in config.items() if key not in changes or value is not None}
    path.write_text(json.dumps(kept), encoding="utf-8")


def change_tensors(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the tensors of a module in place."""
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def test_every_type_of_peft_is_decided() -> None:
    """Each `peft_type` is a kind that is moved, one that `peft` makes a LoRA of, or refused for a reason."""
    assert {kind.value for kind in peft.PeftType} <= {*KINDS, *CONVERTIBLE, *REFUSED}
    assert not {*KINDS, *CONVERTIBLE} & {*REFUSED}
    assert not {*KINDS} & {*CONVERTIBLE}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_type_says_why_in_one_sentence(name: str) -> None:
    """The message has the config's word for the method, and one sentence that says why."""
    with pytest.raises(ConversionError, match=f"describes the method '{name}', which modxfer does not move: ") as caught:
        method_of({"peft_type": name}, where="the config")
    assert re.fullmatch(r"the config [^.]+\.", caught.value.what)


def test_ia3_says_in_the_students_names_which_gains_are_on_inputs(tmp_path: Path) -> None:
    """From a fused matrix to separate ones and back, gains on inputs stay on inputs, and `peft` takes the config."""
    options: dict[str, Any] = {"target_modules": ["c_attn", "mlp.c_fc", "mlp.c_proj"], "feedforward_modules": ["mlp.c_proj"]}
    save(tmp_path / "gpt2", make(tiny("gpt2"), CAUSAL), peft.IA3Config(task_type="CAUSAL_LM", **options))
    module = read(tmp_path / "gpt2", tiny("gpt2"))
    said = written(tmp_path / "llama", module, tiny("llama"))
    assert set(said["target_modules"]) == {"q_proj", "k_proj", "v_proj", "up_proj", "down_proj"}
    assert said["feedforward_modules"] == ["down_proj"]
    load(tmp_path / "llama", make(tiny("llama"), CAUSAL))
    back = written(tmp_path / "back", read(tmp_path / "llama", tiny("llama")), tiny("gpt2"))
    assert (set(back["target_modules"]), back["feedforward_modules"]) == ({"c_attn", "c_fc", "mlp.c_proj"}, ["mlp.c_proj"])
    load(tmp_path / "back", make(tiny("gpt2"), CAUSAL))


def test_ia3_on_some_layers_only_is_named_by_path(tmp_path: Path) -> None:
    """Where one name means both gains on inputs and on outputs, the config names each submodule by itself."""
    options: dict[str, Any] = {"target_modules": r".*\.(0|1)\..*query", "feedforward_modules": r".*\.0\..*query"}
    config = tiny("bert")
    save(tmp_path / "bert", make(config), peft.IA3Config(**options))
    module = read(tmp_path / "bert", config)
    assert {part for piece in module.pieces.values() for part in piece.parts} == {"input_gain", "output_gain"}
    said = written(tmp_path / "other", module, tiny("distilbert"))
    assert said["feedforward_modules"] == ["0.attention.q_lin"]
    load(tmp_path / "other", make(tiny("distilbert")))
    swapped = written(tmp_path / "swapped", module, config, {0: 1, 1: 0})
    assert swapped["feedforward_modules"] == ["encoder.layer.1.attention.self.query"]
    load(tmp_path / "swapped", make(config))


@pytest.mark.parametrize("made", [peft.PrefixTuningConfig, peft.CartridgeConfig])
def test_a_prefix_is_said_in_the_students_heads(tmp_path: Path, made: Any) -> None:
    """The config has the student's layers, key heads and their width, and the model runs with them."""
    save(tmp_path / "gpt2", make(tiny("gpt2"), CAUSAL), made(task_type="CAUSAL_LM", num_virtual_tokens=4))
    config = tiny("llama", num_hidden_layers=3)
    said = written(tmp_path / "llama", read(tmp_path / "gpt2", tiny("gpt2")), config, {0: 0, 1: 1, 2: 1})
    assert (said["num_layers"], said["num_attention_heads"], said["token_dim"]) == (3, 2, 16)
    run(load(tmp_path / "llama", make(config, CAUSAL)), inputs(config))


def test_a_prefix_for_some_layers_is_refused(tmp_path: Path) -> None:
    """`peft` gives all layers a prefix: one that would get none is named."""
    save(tmp_path / "gpt2", make(tiny("gpt2"), CAUSAL), peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4))
    module = read(tmp_path / "gpt2", tiny("gpt2"))
    with pytest.raises(ConversionError, match=r"no prefix for `decoder\.1\.key\.prefix`, `decoder\.1\.value\.prefix`, and"):
        written(tmp_path / "llama", module, tiny("llama"), {0: 0})


@pytest.mark.parametrize("family", ["distilbert", "mpnet", "deberta-v2", "modernbert"])
def test_a_prefix_for_a_model_without_a_past_is_refused(tmp_path: Path, family: str) -> None:
    """What would load on the student and then not run is not written."""
    save(tmp_path / "bert", make(tiny("bert")), peft.PrefixTuningConfig(task_type="FEATURE_EXTRACTION", num_virtual_tokens=4))
    module = read(tmp_path / "bert", tiny("bert"))
    with pytest.raises(ConversionError, match=f"cannot run a prefix module on `tiny` \\({family}\\): it takes no keys"):
        written(tmp_path / "other", module, tiny(family, num_hidden_layers=2) if family != "distilbert" else tiny(family))


def test_a_prompt_fits_a_base_whose_config_peft_cannot_read(tmp_path: Path) -> None:
    """`peft` does not find DistilBERT's sizes in its config, so the module's says them all."""
    save(tmp_path / "bert", make(tiny("bert")), peft.PromptTuningConfig(task_type="FEATURE_EXTRACTION", num_virtual_tokens=4))
    said = written(tmp_path / "distilbert", read(tmp_path / "bert", tiny("bert")), tiny("distilbert"))
    assert (said["num_layers"], said["num_attention_heads"], said["token_dim"]) == (2, 3, 24)
    run(load(tmp_path / "distilbert", make(tiny("distilbert"))), inputs(tiny("distilbert")))


def test_a_prompt_has_the_width_of_the_embeddings(tmp_path: Path) -> None:
    """Where the embeddings have a width of their own (ELECTRA), that is the prompt's, and the model runs with it."""
    save(tmp_path / "bert", make(tiny("bert")), peft.PromptTuningConfig(task_type="FEATURE_EXTRACTION", num_virtual_tokens=4))
    config = tiny("electra")
    said = written(tmp_path / "electra", read(tmp_path / "bert", tiny("bert")), config)
    assert said["token_dim"] == 10
    module = load(tmp_path / "electra", make(config))
    assert module.prompt_encoder.default.embedding.weight.shape == (4, 10)


def test_a_prompt_of_an_old_peft_has_its_head(tmp_path: Path) -> None:
    """Old configs have no `modules_to_save` for prompts, and the head is saved all the same."""
    teacher = make(tiny("bert"), transformers.AutoModelForSequenceClassification)
    save(tmp_path / "old", teacher, peft.PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=4))
    edit(tmp_path / "old", modules_to_save=None)
    module = read(tmp_path / "old", tiny("bert"))
    assert module.head is not None
    assert Place("", -1, "head.output") in module.pieces
    written(tmp_path / "new", module, tiny("bert"))
    load(tmp_path / "new", make(tiny("bert"), transformers.AutoModelForSequenceClassification))


@pytest.mark.parametrize("made", [peft.PromptTuningConfig, peft.PromptEncoderConfig])
def test_a_prompt_of_an_encoder_decoder_has_tokens_for_both(tmp_path: Path, made: Any) -> None:
    """Encoder and decoder have as many virtual tokens each, all of which are moved."""
    teacher = make(tiny("t5"), transformers.AutoModelForSeq2SeqLM)
    save(
        tmp_path / "t5",
        teacher,
        made(task_type="SEQ_2_SEQ_LM", num_virtual_tokens=3, encoder_hidden_size=8)
        if made is peft.PromptEncoderConfig
        else made(task_type="SEQ_2_SEQ_LM", num_virtual_tokens=3),
    )
    module = read(tmp_path / "t5", tiny("t5"))
    assert module.pieces[Place("", -1, "embeddings.prompt")].parts["prompt"].shape == (6, 24)
    written(tmp_path / "bart", module, tiny("bart"))
    load(tmp_path / "bart", make(tiny("bart"), transformers.AutoModelForSeq2SeqLM))


def test_a_prefix_of_an_encoder_decoder_is_refused(tmp_path: Path) -> None:
    """What `peft` makes of a prefix for two stacks is not what its file says."""
    teacher = make(tiny("bart"), transformers.AutoModelForSeq2SeqLM)
    save(tmp_path / "bart", teacher, peft.PrefixTuningConfig(task_type="SEQ_2_SEQ_LM", num_virtual_tokens=3))
    with pytest.raises(ConversionError, match="a prefix for an encoder-decoder"):
        inspect_files(tmp_path / "bart")


def test_a_prompt_that_contradicts_its_config_is_refused(tmp_path: Path) -> None:
    """The number of virtual tokens must be the tensor's, and the tensor must be there."""
    config = peft.PromptTuningConfig(task_type="FEATURE_EXTRACTION", num_virtual_tokens=4)
    save(tmp_path, make(tiny("bert")), config)
    edit(tmp_path, num_virtual_tokens=5)
    with pytest.raises(FormatError, match=r"`prompt_embeddings`.*\(4, 24\).*\(5, 24\)"):
        read(tmp_path, tiny("bert"))
    change_tensors(tmp_path, lambda tensors: tensors.update(other=tensors.pop("prompt_embeddings")))
    with pytest.raises(FormatError, match="no `prompt_embeddings`"):
        read(tmp_path, tiny("bert"))


@pytest.mark.parametrize(
    "options",
    [
        {"target_modules": ["q_proj", "embed_tokens"]},
        {"target_modules": ["q_proj", "lm_head"]},
        {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]},
        {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
        {"target_modules": ["q_proj"]},
    ],
)
def test_an_enlarged_vocabulary_is_said(tmp_path: Path, options: dict[str, Any]) -> None:
    """A module that was trained with tokens added is refused with both numbers, and with what to do."""
    teacher = make(tiny("llama"), CAUSAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        teacher.resize_token_embeddings(53)
    config = peft.LoraConfig(task_type="CAUSAL_LM", r=2, **options)
    save(tmp_path, teacher, config, save_embedding_layers=True)
    with pytest.raises(FormatError, match="has 53 tokens, and `tiny` has 50") as caught:
        read(tmp_path, tiny("llama"))
    assert "--from" in str(caught.value)
    if "embed_tokens" not in str(options["target_modules"]) or "modules_to_save" in options:
        return
    assert read(tmp_path, tiny("llama", vocab_size=53)).pieces


def test_embeddings_that_nothing_asks_for_are_refused(tmp_path: Path) -> None:
    """Embeddings saved beside a LoRA elsewhere may be trained or not: the message says how to save the module."""
    save(tmp_path, make(tiny("llama"), CAUSAL), peft.LoraConfig(r=2, target_modules=["q_proj"]), save_embedding_layers=True)
    with pytest.raises(FormatError, match=r"model\.embed_tokens\.weight.*neither") as caught:
        read(tmp_path, tiny("llama"))
    assert "save_embedding_layers=False" in str(caught.value)


def test_a_copy_of_frozen_embeddings_is_left_out(tmp_path: Path) -> None:
    """Beside a LoRA on embeddings `peft` stores the teacher's own, which are no part of the module."""
    save(tmp_path, make(tiny("llama"), CAUSAL), peft.LoraConfig(r=2, target_modules=["embed_tokens"]))
    assert "base_model.model.model.embed_tokens.base_layer.weight" in load_file(tmp_path / "adapter_model.safetensors")
    module = read(tmp_path, tiny("llama"))
    assert [(str(place), set(piece.parts)) for place, piece in module.pieces.items()] == [("embeddings", {"down", "up"})]
    assert module.pieces[Place("", -1, "embeddings")].parts["down"].shape == (2, 50)


def test_a_frozen_weight_elsewhere_is_refused(tmp_path: Path) -> None:
    """No other weight of the base model belongs into a module."""
    save(tmp_path, make(tiny("llama"), CAUSAL), peft.LoraConfig(r=2, target_modules=["q_proj"]))
    key = "base_model.model.model.layers.0.self_attn.q_proj.base_layer.weight"
    change_tensors(tmp_path, lambda tensors: tensors.update({key: torch.ones(32, 24)}))
    with pytest.raises(FormatError, match=re.escape(key.removeprefix("base_model.model."))):
        read(tmp_path, tiny("llama"))


@pytest.mark.parametrize(("option", "part"), [("use_dora", "magnitude"), ("lora_bias", "bias")])
def test_a_lora_lacks_no_tensor_that_its_config_asks_for(tmp_path: Path, option: str, part: str) -> None:
    """DoRA without a magnitude, or a LoRA without its bias, is incomplete, and a LoRA with one too many is no LoRA."""
    options: dict[str, Any] = {"r": 2, "target_modules": ["query"], option: True}
    save(tmp_path, make(tiny("bert")), peft.LoraConfig(**options))
    assert {part for piece in read(tmp_path, tiny("bert")).pieces.values() for part in piece.parts} == {"down", "up", part}
    edit(tmp_path, **{option: False})
    with pytest.raises(FormatError, match=f"has the tensors `{part}`, `down`, `up`|has the tensors `down`, `{part}`, `up`"):
        read(tmp_path, tiny("bert"))


def test_a_magnitude_for_part_of_a_fused_matrix_is_refused(tmp_path: Path) -> None:
    """DoRA on queries alone cannot be said on a matrix that all roles share; a LoRA's bias can, with nothing for the others."""
    options: dict[str, Any] = {"r": 2, "target_modules": ["query", "value"]}
    save(tmp_path / "dora", make(tiny("bert")), peft.LoraConfig(use_dora=True, **options))
    module = replace(read(tmp_path / "dora", tiny("bert")))
    moved = {replace(place, stack="decoder"): piece for place, piece in module.pieces.items()}
    with pytest.raises(ConversionError, match="replaces `magnitude` of some of the roles"):
        written(tmp_path / "gpt2", replace(module, pieces=moved), tiny("gpt2"))


def test_fused_pieces_carry_biases_and_scalings() -> None:
    """On the whole matrix a LoRA with a bias adds what those of the roles added, each with its own scaling."""
    rng = np.random.default_rng(0)

    def piece(alpha: float, height: int) -> Piece:
        parts = {"down": rng.normal(size=(2, 5)), "up": rng.normal(size=(height, 2)), "bias": rng.normal(size=height)}
        return Piece(method=LORA, route=route_of_role("query"), parts=parts, scaling=Scaling(rank=2, alpha=alpha))

    def added(whole: Piece, given: np.ndarray) -> np.ndarray:
        assert whole.scaling is not None
        inner: np.ndarray = whole.parts["up"] @ (whole.parts["down"] @ given) + whole.parts["bias"]
        return whole.scaling.factor * inner

    first, last = piece(3.0, 4), piece(5.0, 3)
    members = [(np.arange(4), first), (np.arange(4, 6), None), (np.arange(6, 9), last)]
    fused = fuse_pieces(members, height=9, where="here")
    given = rng.normal(size=5)
    expected = np.concatenate([added(first, given), np.zeros(2), added(last, given)])
    np.testing.assert_allclose(added(fused, given), expected)
