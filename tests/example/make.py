"""Make the example anew: `python -m tests.example.make` (a few minutes; needs `adapters`), or only its entries: `... entries`.

Two tiny base models learn the words of the demo's sentences, one from the other; modules for named entities are trained on the
larger one; one of them is transferred to the smaller one; all are measured on held-out sentences, and registered.
"""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.example.served import FILES, OWNER, REGISTRY, SEED, STUDENT, TEACHER, serve, serve_example
from tests.hub.server import HubServer


def main() -> None:
    """Make it."""
    server = HubServer().start()
    try:
        with tempfile.TemporaryDirectory() as home:
            os.environ |= {
                "HF_ENDPOINT": server.url,
                "HF_HUB_DISABLE_XET": "1",
                "HF_HOME": home,
                "MODXFER_HOME": f"{home}/modxfer",
            }
            if sys.argv[1:] != ["entries"]:
                shutil.rmtree(FILES / OWNER, ignore_errors=True)
                _make_files(server, Path(home) / "work")
            serve_example(server)
            _register()
    finally:
        server.stop()


def _make_files(server: HubServer, work: Path) -> None:
    """Make base models, modules and alignment map, each published before the next needs it."""
    from modxfer import api
    from modxfer.demo.sentences import make_data
    from modxfer.training.data.choice import DataChoice
    from modxfer.training.evaluating import DataSource, EvaluationRequest, evaluate_module
    from modxfer.training.settings import TrainingSettings
    from modxfer.training.train import TrainRequest, train_module
    from tests.example.bases import make_bases

    sentences = make_data(train=2000, test=500, seed=SEED)
    make_bases(sentences.texts)
    revisions = {name: serve(server, FILES / name, name) for name in (TEACHER, STUDENT)}
    data = work / "data"
    sentences.write(data)

    options: dict[str, tuple[str, dict[str, Any]]] = {
        f"{OWNER}/ner-lora-mini": ("lora", {"rank": 4}),
        f"{OWNER}/ner-adapter-mini": ("bottleneck", {"size": 8}),
    }
    for name, (method, sizes) in options.items():
        trained = train_module(
            TrainRequest(
                model=str(FILES / TEACHER),
                task="ner",
                data=DataChoice(data=str(data), holdout=0.05, seed=SEED),
                method=method,
                options=sizes,
                settings=TrainingSettings(
                    epochs=600.0, max_steps=600, batch_size=32, learning_rate=5e-3, patience=None, max_tokens=64, seed=SEED
                ),
                output=work / name,
            )
        )
        _copy_module(trained.output, FILES / name)
        _name_base(FILES / name, TEACHER, revisions[TEACHER])
        _write_card(FILES / name, TEACHER, trained.evaluations["test"].metrics["f1"])
        serve(server, FILES / name, name)

    moved, mapped = f"{OWNER}/ner-lora-micro", f"{OWNER}/alignment-bert-mini-to-bert-micro"
    corpus = FILES.parent / "sentences.txt"
    corpus.write_text("\n".join(sentences.texts[:1000]) + "\n", encoding="utf-8")
    choice = api.AlignmentChoice(corpus=str(corpus))
    api.compute_alignment(f"{OWNER}/ner-lora-mini", to=STUDENT, align=choice, output=FILES / mapped)
    api.convert(f"{OWNER}/ner-lora-mini", to=STUDENT, align=choice, output=FILES / moved)
    corpus.unlink()
    request = EvaluationRequest(module=str(FILES / moved), task="ner", data=[DataSource(spec=str(data))])
    _add_result(FILES / moved, evaluate_module(request).evaluation.metrics["f1"])
    for name in (moved, mapped):
        _name_hub(FILES / name / "README.md", server.url)
        serve(server, FILES / name, name)


def _copy_module(trained: Path, folder: Path) -> None:
    """Take the module's own files, and not the record and the card: the example is as a stranger would have published it."""
    folder.mkdir(parents=True)
    for path in trained.iterdir():
        if path.name not in ("transfer.json", "README.md"):
            shutil.copyfile(path, folder / path.name)


def _name_hub(card: Path, address: str) -> None:
    """Let a card's links lead to the Hub, and not to the one of this machine."""
    text = card.read_text(encoding="utf-8")
    card.write_text(text.replace(address, "https://huggingface.co"), encoding="utf-8")


def _name_base(folder: Path, base: str, revision: str) -> None:
    """Name the base model as it is on the Hub, where the library wrote the folder of this machine."""
    for path in (folder / "adapter_config.json", folder / "head_config.json"):
        if path.is_file():
            config = json.loads(path.read_text(encoding="utf-8"))
            is_peft = "peft_type" in config
            config |= {"base_model_name_or_path": base, "revision": revision} if is_peft else {"model_name": base}
            path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _data(score: float, base: str) -> Any:
    from huggingface_hub import EvalResult, ModelCardData

    return ModelCardData(
        license="apache-2.0", language="en", base_model=base, pipeline_tag="token-classification",
        model_name="Named entities in the demo's sentences",
        eval_results=[
            EvalResult(
                task_type="token-classification", dataset_type="synthetic", dataset_name="modxfer demo sentences",
                dataset_split="test", metric_type="f1", metric_value=round(score / 100, 4),
            )
        ],
    )  # fmt: skip


def _write_card(folder: Path, base: str, score: float) -> None:
    """Write the card of a module that was trained here."""
    text = (
        "Finds persons, organisations and places. Trained on 1,900 synthetic sentences from a small grammar and measured on "
        "500 others, whose names are held out of training. The score says nothing about real text."
    )
    card = f"---\n{_data(score, base).to_yaml()}\n---\n\n# Named entities in the demo's sentences\n\n{text}\n"
    (folder / "README.md").write_text(card, encoding="utf-8")


def _add_result(folder: Path, score: float) -> None:
    """Add what was measured to the card that a conversion wrote."""
    from huggingface_hub import ModelCard

    card = ModelCard.load(folder / "README.md")
    measured = _data(score, "")
    card.data.eval_results, card.data.model_name = measured.eval_results, measured.model_name
    card.data.pipeline_tag = measured.pipeline_tag
    card.save(folder / "README.md")


def _register() -> None:
    """Make the registry with the commands that its README shows, and give a module a second name."""
    from modxfer.cli import run

    shutil.rmtree(REGISTRY, ignore_errors=True)
    _run(run, "init", str(REGISTRY), "--title", "modxfer's example registry")
    shutil.rmtree(REGISTRY / ".github")  # the same as in examples/workflows
    for name in ("ner-lora-mini", "ner-adapter-mini", "alignment-bert-mini-to-bert-micro", "ner-lora-micro"):
        licence = ["--license", "CC0-1.0"] if name.startswith("alignment") else []
        _run(run, "add", f"{OWNER}/{name}", "--registry", str(REGISTRY), *licence)
    aliases = "# yaml-language-server: $schema=../schema/aliases.json\nformat_version: 1\nmodules: {ner: ner-lora-micro}\n"
    (REGISTRY / "aliases" / f"{OWNER}.yaml").write_text(aliases, encoding="utf-8")
    for folder in ("modules", "alignments", "aliases"):
        (REGISTRY / folder / ".gitkeep").unlink()


def _run(run: Callable[[Sequence[str]], int], *arguments: str) -> None:
    status = run(["registry", *arguments])
    assert status == 0, arguments


if __name__ == "__main__":
    main()
