"""A registry as people keep them: long names, several scores, transfers of transfers, two alignment maps, aliases."""

from pathlib import Path
from typing import Any

from modxfer.registry.entries.folder import Registry
from tests.entries import COMMIT, alignment_entry, base, make_registry, module_entry, sha256, source

LARGE = base("research-group/multilingual-bert-large-cased-v2", hidden=1024, layers=24)
MEDIUM = base("research-group/multilingual-bert-base-cased", hidden=768, layers=12)

REGISTRY_YAML = """format_version: 1
title: Adapters of the Language Technology Group
description: >-
  LoRA modules and bottleneck adapters for named entities, sentiment and paraphrases in thirteen languages, with the
  alignment maps that bring them to smaller models.
homepage: https://huggingface.co/datasets/language-technology/registry
"""

ALIASES = "format_version: 1\nmodules:\n  stable: ner-wikineural-multilingual-large\nalignments:\n  stable: large-to-base\n"

DESCRIPTION = """Finds persons, places, organisations and the rest in running text.

Trained for three epochs on the silver data of nine languages; scores are means over five seeds. It was not tried on speech."""


def _result(metric: str, value: float, dataset: str = "acme/news", **more: Any) -> dict[str, Any]:
    return {
        "metric": metric, "value": value, "dataset": dataset, "dataset_revision": COMMIT, "split": "test",
        "ran_by": "seqeval 1.2.2",
    } | more  # fmt: skip


def _lineage(teacher: str, alignment: str | None, feeds: list[list[list[float]]]) -> dict[str, Any]:
    maps = {"alignment": alignment} if alignment else {}
    return {"teacher": teacher, **maps, "layers": {"mode": "skip", "map": {"encoder": feeds}}}


def sample_entries() -> list[dict[str, Any]]:
    """Describe ten valid entries."""
    halved = [[[2 * layer, 1.0]] for layer in range(12)]
    averaged = [[[2 * layer, 0.5], [2 * layer + 1, 0.5]] for layer in range(6)]
    ner = "language-technology/ner-wikineural-multilingual-large"
    maps = ("language-technology/large-to-base", "language-technology/base-to-student")
    languages = ["de", "en", "es", "fr", "it", "nl", "pl", "pt", "ru"]
    return [
        module_entry(
            ner,
            title="Named entities in nine languages, LoRA on every projection of the attention",
            description=DESCRIPTION,
            base=LARGE,
            head={"task": "token-classification", "labels": 9},
            method={
                "name": "lora", "inner_sizes": [8], "scalings": [2.0], "roles": ["query", "key", "value"],
                "parameters": 1179648,
                "settings": {"dropout": 0.1, "use_rslora": False, "bias": "none"},
            },
            languages=languages,
            results=[
                _result("f1", 0.9312, "Babelscape/wikineural", seeds=5, deviation=0.0041),
                _result("f1", 0.8647, "conll2003", seeds=5, deviation=0.0123),
                _result("f1", 0.4421, "tweebank-ner-with-a-rather-long-name/broad-twitter-corpus"),
                _result("loss", 1.372),
            ],
            authors=[
                {"name": "Ada Müller-Okonkwo", "url": "https://example.com/ada", "github": "ada"},
                {"name": "佐藤 花子", "email": "hanako@example.com"},
            ],
            tags=["ner", "multilingual", "news"],
            homepage="https://example.com/ner",
            citation="Ada Müller-Okonkwo and 佐藤 花子.\nEntities everywhere.\nProceedings of the workshop, 2025.\n",
        ),
        module_entry(
            "language-technology/ner-wikineural-multilingual-base",
            title="Named entities in nine languages, transferred to the base model",
            base=MEDIUM,
            languages=languages,
            results=[_result("f1", 0.9021, "Babelscape/wikineural"), _result("f1", 0.8312, "conll2003")],
            lineage=_lineage(ner, maps[0], halved),
            tags=["ner", "multilingual"],
        ),
        module_entry(
            "language-technology/ner-wikineural-student",
            title="Named entities, transferred to the student",
            languages=languages,
            lineage=_lineage("language-technology/ner-wikineural-multilingual-base", maps[1], averaged),
            tags=["ner", "small"],
        ),
        module_entry(
            "acme/ner-german", title="Named entities, German, continued on letters", base=MEDIUM, languages=["de"],
            lineage=_lineage(ner, maps[0], halved), results=[_result("f1", 0.9105)], license="CC-BY-NC-4.0",
        ),
        module_entry(
            "acme/sentiment-pfeiffer",
            title="Sentiment of product reviews, Pfeiffer adapter",
            base=MEDIUM,
            source=source("acme/sentiment-pfeiffer", "adapter_config.json", "adapter.safetensors"),
            method={"name": "bottleneck", "inner_sizes": [48], "roles": ["ffn_down"], "parameters": 894528},
            format="adapters",
            task="text-classification",
            datasets=[{"name": "acme/reviews", "revision": COMMIT}],
            languages=["en", "pt-BR", "zh-Hant"],
            results=[_result("accuracy", 0.884), _result("f1", 0.8791), _result("mcc", 0.7719)],
            license="MIT",
            tags=["reviews", "sentiment"],
        ),
        module_entry(
            "acme/paraphrase-ia3", title="Paraphrases, IA3", method={"name": "ia3", "roles": ["key", "value", "ffn_down"]},
            task="sentence-similarity", results=[_result("spearman", 0.713), _result("spearman", -0.052, "acme/shuffled")],
            license="Apache-2.0 OR MIT", tags=["paraphrase"],
        ),
        module_entry(
            "acme/language-modelling-prefix", title="Prefix tuning for letters", method={"name": "prefix", "inner_sizes": [30]},
            task="fill-mask", results=[_result("perplexity", 12.84), _result("perplexity", 31.2, "acme/law")], languages=["nl"],
            license="NOASSERTION",
        ),
        module_entry(
            "older/sst-houlsby", title="SST-2, Houlsby adapter of an older registry", results=None, languages=["en"],
            source={"archive": "https://example.com/sst-houlsby.zip", "sha256": sha256("zip"), "size_bytes": 3_581_000},
            method={"name": "bottleneck", "inner_sizes": [24]}, format="adapters", task="text-classification",
            license="AFL-3.0",
        ),
        alignment_entry(
            maps[0],
            title="mBERT large to mBERT base, one-to-one, on nine languages of news",
            teacher=LARGE,
            student=MEDIUM,
            corpus={"name": "Babelscape/wikineural", "fingerprint": sha256("w"), "texts": 3120, "tokens": 20000},
            scores={"mean_correlation": 0.5437, "layers": {f"encoder {n} <- {2 * n}": 0.71 - n / 32 for n in range(12)}},
            tags=["multilingual"],
        ),
        alignment_entry(
            maps[1], title="mBERT base to the student", teacher=MEDIUM,
            scores={"mean_correlation": 0.31, "layers": {"embeddings": 0.62, "encoder 0 <- 0": 0.37, "encoder 1 <- 2": -0.06}},
        ),
    ]  # fmt: skip


def make_sample(root: Path) -> Registry:
    """Write the registry."""
    files = {"registry.yaml": REGISTRY_YAML, "aliases/language-technology.yaml": ALIASES}
    return make_registry(root, *sample_entries(), **files)
