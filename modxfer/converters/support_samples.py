"""The methods of the support table, each told by a config, and what the libraries themselves cannot do."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from modxfer.converters.formats.adapters.table import REFUSED as ADAPTERS_REFUSED
from modxfer.converters.formats.peft.convertible import CONVERTIBLE
from modxfer.converters.formats.peft.table import REFUSED as PEFT_REFUSED


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One method in one format.

    Attributes:
        method: What users call it.
        format: "peft", "adapters" or "diff".
        config: A config of it, as far as that decides what the method is; in `adapters` under the key `config`.
        roles: The roles in the layers that it needs.
        outside: The roles outside the layers that it needs.
        how: What becomes of it, where that is not plain; of an approximate one, what is approximated.
        is_exact: Whether the module computes on a permuted student what it computed on the teacher.
        refused: Why its format moves it on no base model, as a sentence's end; empty if it moves it on some.
    """

    method: str
    format: str
    config: Mapping[str, Any]
    roles: frozenset[str] = frozenset()
    outside: frozenset[str] = frozenset()
    how: str = ""
    is_exact: bool = True
    refused: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """What a library itself cannot do.

    Attributes:
        format: The library's format.
        methods: The methods.
        families: The families.
        why: The reason, as a sentence.
    """

    format: str
    methods: frozenset[str]
    families: frozenset[str]
    why: str

    def covers(self, sample: Sample, family: str) -> bool:
        """Say whether a cell is meant.

        Args:
            sample: The method.
            family: The family's `model_type`.

        Returns:
            Whether it is.
        """
        return sample.format == self.format and sample.method in self.methods and family in self.families


_EMBEDDINGS = frozenset({"embeddings"})
_KEYS = frozenset({"key", "value"})

_AS_LORA = "`peft` makes a LoRA of it, exact where a LoRA can say it; else, or with `--rank`, the error is measured and stated."
_OWN_NORMS = (
    "Its magnitudes stand for the norms of the teacher's rows, and a student with other norms gets the teacher's; a fused "
    "matrix needs those of all its roles."
)
_HALVES = "It keeps two halves of the units apart: it moves where the map does too (`--align identity`), and is refused else."
_SAME_TOKENS = "Tokens are paired by the two tokenizers; whole rows need a student that has no token of its own."


def _peft(method: str, kind: str, config: Mapping[str, Any] | None = None, **fields: Any) -> Sample:
    return Sample(method=method, format="peft", config={"peft_type": kind, **(config or {})}, **fields)


def _adapters(method: str, config: str | Mapping[str, Any], **fields: Any) -> Sample:
    return Sample(method=method, format="adapters", config={"config": config}, **fields)


def _peft_samples() -> Iterator[Sample]:
    yield _peft("LoRA", "LORA")
    yield _peft("rsLoRA", "LORA", {"use_rslora": True})
    yield _peft("LoRA, ranks and alphas by layer", "LORA", {"rank_pattern": {"0": 2}, "alpha_pattern": {"1": 5}})
    yield _peft("LoRA with biases", "LORA", {"lora_bias": True})
    yield _peft("DoRA", "LORA", {"use_dora": True}, how=_OWN_NORMS)
    yield _peft("LoRA on embeddings", "LORA", outside=_EMBEDDINGS, how=_SAME_TOKENS)
    yield _peft("LoRA and whole submodules", "LORA", {"modules_to_save": []}, how=_SAME_TOKENS)
    yield _peft("AdaLoRA", "ADALORA", how="It is written as a plain LoRA.")
    yield _peft("(IA)³", "IA3", roles=_KEYS)
    yield _peft(
        "normalisation tuning", "LN_TUNING", how="Only between normalisations that both have biases, or both have none."
    )
    yield _peft("prompt tuning", "PROMPT_TUNING", outside=_EMBEDDINGS)
    yield _peft("P-tuning", "P_TUNING", outside=_EMBEDDINGS, how="What its network puts out is stored, and moved.")
    yield _peft("prefix tuning", "PREFIX_TUNING", roles=_KEYS, how="What its network puts out is stored, and moved.")
    yield _peft("Cartridge", "CARTRIDGE", roles=_KEYS)
    for kind, name in CONVERTIBLE.items():
        yield _peft(_TITLES.get(kind, name), kind, how=_AS_LORA, is_exact=False)
    for kind, why in PEFT_REFUSED.items():
        yield _peft(_TITLES.get(kind, kind.lower().replace("_", " ")), kind, refused=why)


_TITLES: Mapping[str, str] = {
    "C3A": "C3A",
    "DELORA": "DeLoRA",
    "FOURIERFT": "FourierFT",
    "GRALORA": "GraLoRA",
    "LOHA": "LoHa",
    "LOKR": "LoKr",
    "MISS": "MiSS",
    "PSOFT": "PSOFT",
    "RANDLORA": "RandLoRA",
    "TINYLORA": "TinyLoRA",
    "UNILORA": "UniLoRA",
    "VBLORA": "VB-LoRA",
    "VERA": "VeRA",
    "WAVEFT": "WaveFT",
    "ADAMSS": "AdaMSS",
    "ADAPTION_PROMPT": "adaption prompt (LLaMA-Adapter)",
    "BEFT": "BEFT",
    "BOFT": "BOFT",
    "BONE": "Bone",
    "CPT": "context-aware prompt tuning",
    "DEFT": "DEFT",
    "FROD": "FRoD",
    "GLORA": "GLoRA",
    "HIRA": "HiRA",
    "HRA": "HRA",
    "LILY": "Lily",
    "MTL_LORA": "MTL-LoRA",
    "OFT": "OFT",
    "OSF": "OSF",
    "PEANUT": "PEANuT",
    "POLY": "Polytropon",
    "PVERA": "PVeRA",
    "ROAD": "RoAd",
    "SHIRA": "SHiRA",
    "TRAINABLE_TOKENS": "trainable tokens",
    "XLORA": "X-LoRA",
}
"""`peft_type` to what the method is called."""


def _adapters_samples() -> Iterator[Sample]:
    yield _adapters("bottleneck, sequential (Pfeiffer)", "seq_bn")
    yield _adapters("bottleneck, double (Houlsby)", "double_seq_bn")
    yield _adapters("bottleneck, parallel", "par_bn")
    yield _adapters("bottleneck, parallel, learned scaling", "scaled_par_bn")
    yield _adapters("Compacter", "compacter", how="It is written as a plain bottleneck, which has more parameters.")
    yield _adapters("Compacter++", "compacter++", how="It is written as a plain bottleneck, which has more parameters.")
    yield _adapters("language adapter (MAD-X)", "seq_bn_inv", how=_HALVES)
    yield _adapters("LoRA", "lora")
    yield _adapters("DoRA", "dora", how=_OWN_NORMS)
    yield _adapters("VeRA", "vera", how="It is written as a plain LoRA.")
    yield _adapters("(IA)³", "ia3")
    yield _adapters("prefix tuning", "prefix_tuning", how="It is written flat: what its network puts out.")
    yield _adapters("prompt tuning", "prompt_tuning")
    yield _adapters("LoReFT", "loreft")
    yield _adapters("NoReFT", "noreft", how="`adapters` saves a DiReFT as one of these, and it is moved as such.")
    yield _adapters("MAM", "mam")
    yield _adapters("UniPELT", "unipelt")
    for architecture, why in ADAPTERS_REFUSED.items():
        title = _TITLES.get(architecture.upper(), architecture)
        yield _adapters(title, {"architecture": architecture}, refused=why)


SAMPLES: tuple[Sample, ...] = (
    *_peft_samples(),
    *_adapters_samples(),
    _adapters("AdapterFusion", "seq_bn", how="Its layers are where the bottlenecks are that they fuse."),
    Sample(method="bias-only (BitFit)", format="diff", config={"parameters": "biases"}),
    Sample(method="sparse differences (LT-SFT)", format="diff", config={"parameters": "all"}, how=_SAME_TOKENS),
)
"""Every method in every format that stores it."""


def _limit(format: str, methods: Iterable[str], families: Iterable[str], why: str) -> Limit:
    return Limit(format=format, methods=frozenset(methods), families=frozenset(families), why=why)


LIMITS: tuple[Limit, ...] = (
    _limit(
        "peft",
        ("C3A", "DeLoRA", "FourierFT", "LoHa", "LoKr", "MiSS", "PSOFT", "WaveFT"),
        ("gpt2",),
        "`peft` does not put it on the `Conv1D` layers of GPT-2, or makes no LoRA of it there.",
    ),
    _limit(
        "adapters", ("Compacter", "Compacter++"), ("clip",), "Its shared matrices fit one width, and the two towers have two."
    ),
    _limit(
        "adapters",
        ("Compacter", "Compacter++", "VeRA"),
        ("clip_vision_model", "clip_text_model"),
        "`adapters` stores only a part of such a module.",
    ),
    _limit("adapters", ("VeRA",), ("gpt2",), "`adapters` cannot run it on a fused matrix."),
    _limit(
        "adapters", ("VeRA",), ("llama", "mistral", "clip"), "Its shared matrices do not fit projections of different widths."
    ),
)
"""What the libraries themselves cannot do, beside what a family's row says that it lacks."""
