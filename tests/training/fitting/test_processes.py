"""Several processes that train together."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from modxfer.training.fitting.processes import is_main_process, num_processes, wait_for_all
from tests.training.fitting import small

SCRIPT = """
import json, sys
from dataclasses import asdict, replace
from pathlib import Path

import torch

from modxfer.training.fitting.predicting import predict
from modxfer.training.fitting.processes import is_main_process, wait_for_all
from modxfer.training.libraries.choosing import library_for_method
from tests.training.fitting import small

base, work, method = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
torch.set_num_threads(1)
model = small.start(base, method=method)
settings = replace(small.SETTINGS, device="cpu")
predict(model, library_for_method(method), small.tagged(5), task=small.NER, tokenizer=small.tokenizer(), settings=settings)
reports = []
fitted = small.train(model, work, method=method, max_steps=6, device="cpu", progress=lambda *report: reports.append(report))
wait_for_all()
assert bool(reports) == is_main_process()
if is_main_process():
    torch.save(small.trained(model), work / "trained.pt")
    (work / "fit.json").write_text(json.dumps(asdict(fitted)))
"""


def test_a_process_that_is_alone_is_the_main_one() -> None:
    """Without a launcher nobody is waited for."""
    wait_for_all()
    assert (num_processes(), is_main_process()) == (1, True)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", pytest.param("bottleneck", marks=pytest.mark.adapters)])
def test_two_processes_train_what_one_trains(method: str, tmp_path: Path) -> None:
    """The batch is shared, also after a prediction, so the weights are those of one process; only the main process writes."""
    base = small.write_base(tmp_path / "base", dropout=0.0)
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    root = Path(__file__).parents[3]
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]  # what `accelerate launch` does for GPUs
    command = [sys.executable, *launch, str(script), str(base), str(tmp_path / "two"), method]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(root)}, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    alone = small.start(base, method=method)
    expected = small.train(alone, tmp_path / "one", method=method, max_steps=6)
    fitted = json.loads((tmp_path / "two" / "fit.json").read_text())

    assert (fitted["processes"], fitted["micro_batch_size"], fitted["steps"]) == (2, 4, 6)
    np.testing.assert_allclose(np.array(fitted["curve"]), np.array(expected.curve))
    together = torch.load(tmp_path / "two" / "trained.pt", weights_only=True)
    for name, tensor in small.trained(alone).items():
        torch.testing.assert_close(together[name], tensor, rtol=1e-3, atol=1e-4)  # gradients are added up in another order
