"""`examples/plans/make_students.py`, run as its users run it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from modxfer.demo.teacher import find_teacher

ROOT = Path(__file__).parents[2]

CONLL = """0\tShe\tO
1\tlives\tO
2\tin\tO
3\tOslo\tB-LOC

0\tNobody\tO
1\tknows\tO
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command from the project's folder."""
    command = [sys.executable, "examples/plans/make_students.py", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_make_students_writes_two_students_and_the_teacher(tmp_path: Path) -> None:
    """All three load with the teacher's vocabulary, in their sizes; the matching one has its words, the other one its own."""
    text = tmp_path / "two.conllu"
    text.write_text(CONLL, encoding="utf-8")
    done = run("--text", str(text), "--output", str(tmp_path / "students"), "--minutes", "0.01")
    assert done.returncode == 0, done.stderr

    models: dict[str, Any] = {
        name: transformers.AutoModel.from_pretrained(tmp_path / "students" / name)
        for name in ("teacher", "matching", "incompatible")
    }
    configs = {name: model.config for name, model in models.items()}
    sizes = {name: (config.num_hidden_layers, config.hidden_size) for name, config in configs.items()}
    assert sizes == {"teacher": (6, 384), "matching": (3, 384), "incompatible": (4, 256)}
    words = {name: model.embeddings.word_embeddings.weight for name, model in models.items()}
    assert torch.equal(words["matching"], words["teacher"])
    assert words["incompatible"].shape == (len(words["teacher"]), 256)
    tokens = transformers.AutoTokenizer.from_pretrained(find_teacher())("Oslo is cold")["input_ids"]
    for name in ("matching", "incompatible"):
        assert transformers.AutoTokenizer.from_pretrained(tmp_path / "students" / name)("Oslo is cold")["input_ids"] == tokens
        card = (tmp_path / "students" / name / "README.md").read_text(encoding="utf-8")
        assert "two.conllu`, sha256" in card
        assert "2 texts, without labels (" in card


def test_make_students_refuses_an_output_that_exists(tmp_path: Path) -> None:
    """The folder's name is in the message, and nothing is computed."""
    (tmp_path / "students").mkdir()
    (tmp_path / "students" / "mine.txt").touch()
    done = run("--output", str(tmp_path / "students"))
    assert done.returncode == 1
    assert "students" in done.stderr
    assert [path.name for path in (tmp_path / "students").iterdir()] == ["mine.txt"]
