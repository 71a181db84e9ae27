"""The whole round over HTTP, each person with a machine of their own.

Pull a teacher module, convert it, push it; convert the next module of the pair with the published alignment map and without any
weights of the models; load what was pushed.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import transformers

from modxfer.registry.cards import python_blocks
from tests.builders import make_peft_module, outputs, tiny_inputs
from tests.hub.remote import Person, Remote
from tests.planted import base_model, draw_plan, make_student, make_teacher, small_text

CARD = "---\nlicense: mit\nlanguage: [en]\ndatasets: []\nbase_model: {teacher}\n---\nA card.\n"


@dataclass(frozen=True, kw_only=True)
class Published:
    """What is on the Hub before anybody runs modxfer, and what is expected of it.

    Attributes:
        teacher: A base model.
        student: The teacher with its units in another order.
        first: A LoRA of the teacher with a head, in the format of `peft`.
        second: Another one.
        logits: What the teacher gives with each, by name.
        ids: On these tokens.
        text: A corpus.
    """

    teacher: str
    student: str
    first: str
    second: str
    logits: dict[str, np.ndarray]
    ids: list[list[int]]
    text: Path


@pytest.fixture
def published(remote: Remote, tmp_path: Path) -> Published:
    """Publish a pair and two modules."""
    folder = make_teacher(tmp_path / "teacher", "bert", seed=3)
    plan = draw_plan(base_model(folder).architecture, heads=3, seed=8)
    teacher = remote.upload("teacher", folder)
    student = remote.upload("student", make_student(tmp_path / "student", folder, plan))
    logits, names = {}, []
    for seed, short in enumerate(("first", "second")):
        model = transformers.AutoModelForTokenClassification.from_pretrained(folder, num_labels=4)
        ids = tiny_inputs(model.config)
        module = make_peft_module(
            tmp_path / short, model, task_type="TOKEN_CLS", target_modules=["query", "dense"], seed=seed, lora_alpha=5 + seed
        )
        name_base(tmp_path / short, teacher)
        names.append(remote.upload(short, tmp_path / short))
        logits[names[-1]] = outputs(module, ids)[0].numpy()
    text = tmp_path / "text.txt"
    text.write_text(small_text(), encoding="utf-8")
    return Published(
        teacher=teacher, student=student, first=names[0], second=names[1], logits=logits, ids=ids.tolist(), text=text
    )


def name_base(folder: Path, name: str) -> None:
    """Let a module belong to a base model on the Hub, and give it a card and what a training run leaves behind."""
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": name}))
    (folder / "README.md").write_text(CARD.format(teacher=name))
    shutil.copy(folder / "adapter_model.safetensors", folder / "adapter_model.bin")
    (folder / "training_args.bin").write_bytes(b"pickle")
    (folder / "checkpoint-5").mkdir()
    (folder / "checkpoint-5" / "optimizer.pt").write_bytes(b"pickle")


def test_round_trip(remote: Remote, published: Published, tmp_path: Path) -> None:
    """One person converts and publishes; another, with an empty home, computes nothing and fetches no base model's weights.

    What they publish loads with plain `peft` and gives the teacher's outputs.
    """
    one = Person(folder=tmp_path / "one", token=remote.token)
    moved, maps = remote.name("moved"), remote.name("map")
    pulled = json.loads(one.modxfer("pull", published.first, "--json"))
    assert set(pulled["files"]) == {"README.md", "adapter_config.json", "adapter_model.safetensors"}
    assert pulled["base_model"]["name"] == published.teacher
    made = json.loads(
        one.modxfer(
            "convert", published.first, "--to", published.student, "--corpus", str(published.text), "--push", moved, "--json"
        )
    )
    assert made["alignment"]["source"] == "computed"
    assert made["pushed"]["licence"] == "mit"
    one.modxfer("align", "push", made["alignment"]["id"][:12], maps, "--license", "cc0-1.0")
    check_loads(one, published, moved, published.first)

    two = Person(folder=tmp_path / "two", token=remote.token)
    other = remote.name("moved-too")
    if remote.server is not None:
        remote.server.clear_log()
    again = json.loads(two.modxfer("convert", published.second, "--to", published.student, "--push", other, "--json"))
    assert again["alignment"]["source"] == "hub"
    assert again["alignment"]["published"]["repository"] == maps
    fetched = [path.name for path in (two.folder / "huggingface" / "hub").glob("models--*/snapshots/*/*")]
    assert "model.safetensors" not in fetched
    assert fetched.count("alignment.safetensors") == 1
    check_loads(two, published, other, published.second)


def check_loads(person: Person, published: Published, name: str, teacher_module: str) -> None:
    """Paste what the card says into Python, and compare the outputs with the teacher's."""
    card = person.python(f"import huggingface_hub as h; print(open(h.hf_hub_download({name!r}, 'README.md')).read())")
    (code,) = python_blocks(card)
    assert name in code
    printed = person.python(
        f"{code}\nimport json, torch\nmodel.eval()\nids = torch.tensor({published.ids})\n"
        "print(json.dumps(model(ids)[0].detach().numpy().tolist()))"
    )
    np.testing.assert_allclose(json.loads(printed.splitlines()[-1]), published.logits[teacher_module], atol=2e-4)
