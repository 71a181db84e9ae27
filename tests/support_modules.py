"""Modules of every sample of the support table, made by the real libraries on tiny models of any family."""

import copy
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch
import transformers

from modxfer.architectures import FAMILIES, Architecture, Kind
from modxfer.converters.formats.peft.targets import known_submodules
from modxfer.converters.support_samples import Sample
from tests.builders import randomise
from tests.planting import Planted, architecture_of, inputs, make, plant, tiny

_CLASSES: Mapping[Kind, tuple[str, str | None]] = {
    Kind.DECODER: ("AutoModelForCausalLM", "CAUSAL_LM"),
    Kind.ENCODER_DECODER: ("AutoModelForSeq2SeqLM", "SEQ_2_SEQ_LM"),
    Kind.ENCODER: ("AutoModel", "FEATURE_EXTRACTION"),
}
"""What a family's modules are made on, and `peft`'s task type for it."""

_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "LORA": {"r": 3, "lora_alpha": 7},
    "ADALORA": {"init_r": 3, "target_r": 2, "lora_alpha": 7, "total_step": 10},
    "PROMPT_TUNING": {"num_virtual_tokens": 3},
    "P_TUNING": {"num_virtual_tokens": 3, "encoder_hidden_size": 11},
    "PREFIX_TUNING": {"num_virtual_tokens": 3},
    "CARTRIDGE": {"num_virtual_tokens": 3},
    "LOHA": {"r": 2, "alpha": 3},
    "LOKR": {"r": 2, "alpha": 3},
    "VERA": {"r": 3},
    "VBLORA": {"r": 2, "num_vectors": 6, "vector_length": 2, "topk": 2},
    "RANDLORA": {"r": 3},
    "FOURIERFT": {"n_frequency": 20},
    "WAVEFT": {"n_frequency": 20},
    "C3A": {"block_size": 2},
    "GRALORA": {"r": 4, "gralora_k": 2, "alpha": 4},
    "MISS": {"r": 2},
    "DELORA": {"r": 3},
    "TINYLORA": {"r": 2},
    "UNILORA": {"r": 2},
    "PSOFT": {"r": 2},
}
"""`peft_type` to options that keep its modules tiny."""

_ROLES = ("query", "value", "attention_output", "ffn_up")


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A teacher, its planted student, its structure, and the folder with its weights."""

    teacher: Any
    base: Architecture
    planted: Planted
    folder: Path
    given: Mapping[str, Any]
    task: str | None


@cache
def _pair(family: str, model_class: str, task: str | None) -> Pair:
    dtype = torch.float32  # neither experts nor PSOFT take float64
    auto_class = getattr(transformers, model_class)
    teacher = make(tiny(family), auto_class, dtype=dtype)
    base = architecture_of(teacher.config)
    folder = Path(mkdtemp(dir=os.environ["HF_HOME"]))  # which goes away with the tests
    teacher.save_pretrained(folder)
    planted = plant(teacher, base)
    given = inputs(teacher.config, dtype=dtype)
    if row_reads_both(family):
        given |= inputs(teacher.config.text_config)
    if "input_ids" in given:  # ELECTRA makes none for tokens that stand before
        given["attention_mask"] = torch.ones_like(given["input_ids"])
    return Pair(teacher=teacher, base=base, planted=planted, folder=folder, given=given, task=task)


def row_reads_both(family: str) -> bool:
    """Say whether a family takes a text and an image."""
    kind = FAMILIES[family].kind
    return kind.reads_images and kind.reads_text


def pair_of(family: str) -> Pair:
    """Give a family's models, made once; the libraries change what they get, so give them copies."""
    row = FAMILIES[family]
    has_task_model = row.kind is not Kind.DECODER or "lm_head" in row.modules
    model_class, task = _CLASSES.get(row.kind, ("", None)) if has_task_model else ("", None)
    model_class = model_class or row.auto_class
    return _pair(family, model_class, task)


def make_sample(sample: Sample, pair: Pair, folder: Path) -> Any:
    """Let `peft` make a module of a sample, all of it random, and save it; gives the model that has it."""
    import peft

    config = dict(sample.config)
    kind = config.pop("peft_type")
    options = {**config, **_OPTIONS.get(kind, {}), **_wheres(sample, pair)}
    if "num_virtual_tokens" in options:
        options |= {"task_type": pair.task or "FEATURE_EXTRACTION", **_sizes(sample, pair)}
    else:
        options["task_type"] = pair.task if pair.task in ("CAUSAL_LM", "SEQ_2_SEQ_LM") else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = copy.deepcopy(pair.teacher)
        config_class = peft.mapping.PEFT_TYPE_TO_CONFIG_MAPPING[kind]
        module = peft.get_peft_model(model, config_class(**options), autocast_adapter_dtype=False)
        module = module.to(next(model.parameters()).dtype)
        randomise((parameter for parameter in module.parameters() if parameter.requires_grad), seed=1)
        module.save_pretrained(str(folder))
    return module.eval()


def _wheres(sample: Sample, pair: Pair) -> dict[str, Any]:
    """Say where a sample's tensors go."""
    kind = sample.config["peft_type"]
    known = known_submodules(pair.base, task=pair.task, inside_task_model=pair.task not in (None, "FEATURE_EXTRACTION"))
    matrices = [path for path, entry in known.items() if any(place.name in _ROLES for place in entry.places)]
    norms = [path for path, entry in known.items() if entry.submodule.elementwise and not entry.place.is_outside]
    embeddings = [path for path, entry in known.items() if entry.place.name == "embeddings"]
    if kind in ("PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "CARTRIDGE"):
        return {}
    if kind == "LN_TUNING":
        return {"target_modules": norms}
    if kind == "IA3":
        inputs_of = [path for path, entry in known.items() if any(place.name == "ffn_down" for place in entry.places)]
        return {"target_modules": [*matrices, *inputs_of], "feedforward_modules": inputs_of}
    if "rank_pattern" in sample.config:
        return {
            "target_modules": matrices,
            "rank_pattern": {matrices[0]: 2},
            "alpha_pattern": {matrices[-1]: 5},
        }
    if sample.outside:
        return {"target_modules": [*matrices, *embeddings]}
    if "modules_to_save" in sample.config:
        return {"target_modules": matrices[:-1], "modules_to_save": [matrices[-1], *norms[:1]]}
    return {"target_modules": matrices}


def parameters_of(sample: Sample, pair: Pair) -> set[str]:
    """Name the parameters in the layers' roles that a sample's fine-tuning changes."""
    known = known_submodules(pair.base, task=pair.task, inside_task_model=pair.task not in (None, "FEATURE_EXTRACTION"))
    ends = ("bias",) if sample.config["parameters"] == "biases" else ("weight", "bias")
    return {f"{path}.{end}" for path, entry in known.items() if not entry.place.is_outside for end in ends}


def _sizes(sample: Sample, pair: Pair) -> dict[str, Any]:
    """Say what peft cannot read from every config."""
    embedded = pair.base.family.modules["embeddings"].writes
    return {
        "token_dim": pair.base.dimensions[embedded if sample.outside else "heads"],
        "num_layers": list(pair.base.depths.values())[-1],
        "num_attention_heads": pair.base.attention_heads,
    }
