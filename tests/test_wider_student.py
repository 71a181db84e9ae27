"""Ground truth for a student of another hidden size: every residual unit is there twice, half of the heads are silent.

Such a student computes what its teacher computes: LayerNorm sees the same mean and variance, what is read twice is read half
each time, and silent heads write nothing. So a module that writes into heads and FFN must give the teacher's outputs exactly.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from modxfer.api import AlignmentChoice, convert
from tests.builders import load_peft_module, make_peft_module, outputs, tiny_inputs
from tests.planted import NEW, base_model, draw_plan, make_student, make_teacher

ROLES = {
    "bert": ["value", "intermediate.dense"],
    "distilbert": ["v_lin", "lin1"],
}


@pytest.mark.parametrize("family", ROLES)
@pytest.mark.parametrize("aligner", ["lsa", "auto"])
def test_a_module_gives_the_teachers_outputs_on_a_student_twice_as_wide(family: str, aligner: str, tmp_path: Path) -> None:
    """Every teacher unit is found once, the other copies and the new heads get nothing, and the logits are the teacher's."""
    teacher = make_teacher(tmp_path / "teacher", family, seed=5)
    plan = draw_plan(base_model(teacher).architecture, heads=3, seed=6)
    rng = np.random.default_rng(7)
    doubled = rng.permutation(np.concatenate([plan.hidden, plan.hidden]))
    silent = np.full(len(plan.layers[0].value), NEW)
    layers = [
        replace(
            layer,
            query=np.concatenate([layer.query, silent]),
            value=np.concatenate([layer.value, silent]),
        )
        for layer in plan.layers
    ]
    wider = replace(plan, hidden=doubled, embedding=doubled, layers=layers)
    student = make_student(tmp_path / "student", teacher, wider)

    classes = transformers.AutoModelForTokenClassification
    model = classes.from_pretrained(teacher, num_labels=4)
    ids = tiny_inputs(model.config)
    tuned = make_peft_module(tmp_path / "module", model, task_type="TOKEN_CLS", target_modules=ROLES[family])
    wanted = outputs(tuned, ids)[0]
    found = convert(
        str(tmp_path / "module"),
        to=str(student),
        teacher=str(teacher),
        output=tmp_path / "converted",
        align=AlignmentChoice(aligner=aligner, tokens=1500),
    )

    base = classes.from_pretrained(student, num_labels=4)
    torch.testing.assert_close(outputs(load_peft_module(tmp_path / "converted", base), ids)[0], wanted, atol=1e-4, rtol=1e-4)
    assert any("no teacher unit serves" in sentence for sentence in found.record["approximated"])
