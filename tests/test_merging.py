"""Averages and task arithmetic of transferred modules, by the libraries' own functions: the order does not matter."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from modxfer.architectures import Architecture
from modxfer.converters.convert import convert_module
from modxfer.converters.formats import inspect_files, read_module, write_module
from modxfer.converters.module import BaseReference
from tests.builders import make_adapters_module, make_peft_module
from tests.modules import layers_of
from tests.planting import Planted, architecture_of, assert_differ, assert_same, inputs, make, plant, run, tiny

NAMES = ("first", "second")
WEIGHTS = (0.8, -0.5)
"""Task arithmetic: the first task is added, the second is taken away."""


@dataclass(frozen=True, kw_only=True)
class World:
    """A teacher with two modules, a student with permuted units, and both modules moved there."""

    base: Architecture
    config: Any
    model: Any
    planted: Planted
    folder: Path

    def move(self, module: Path, target: Path) -> Path:
        """Convert a module to the student, and write it."""
        layers = layers_of("skip", self.base, self.base)
        read = read_module(inspect_files(module), self.base)
        moved = convert_module(read, teacher=self.base, student=self.base, layers=layers, alignment=self.planted.alignment)
        target.mkdir(parents=True)
        write_module(replace(moved.module, base=BaseReference(name="student", model_type="bert")), self.base, target)
        return target


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Make the two base models."""
    config = tiny("bert")
    model = make(config)
    base = architecture_of(config)
    return World(base=base, config=config, model=model, planted=plant(model, base), folder=tmp_path)


def with_loras(model: Any, folders: Sequence[Path]) -> Any:
    """Load modules side by side in peft."""
    import peft

    loaded = peft.PeftModel.from_pretrained(model, str(folders[0]), adapter_name=NAMES[0], autocast_adapter_dtype=False)
    for name, folder in zip(NAMES[1:], folders[1:], strict=True):
        loaded.load_adapter(str(folder), adapter_name=name, autocast_adapter_dtype=False)
    return loaded.eval()


def combined(model: Any, combination: str, **options: Any) -> Any:
    """Let peft combine both modules, and use the result."""
    model.add_weighted_adapter(list(NAMES), list(WEIGHTS), "mix", combination_type=combination, **options)
    model.set_adapter("mix")
    return model.eval()


@pytest.mark.parametrize(
    ("combination", "options"), [("cat", {}), ("linear", {}), ("ties", {"density": 0.5}), ("svd", {"svd_rank": 6})]
)
def test_peft_combines_before_or_after_the_move(world: World, combination: str, options: dict[str, Any]) -> None:
    """What peft makes of two transferred LoRAs computes what it makes of the two on the teacher; so does its own transfer."""
    folders = [world.folder / name for name in NAMES]
    for seed, folder in enumerate(folders):
        make_peft_module(folder, make(world.config), target_modules=["query", "intermediate.dense"], seed=seed)
    given = inputs(world.config)
    teacher = combined(with_loras(world.model, folders), combination, **options)
    expected = run(teacher, given)
    with teacher.disable_adapter():
        assert_differ(expected, run(teacher, given))
    moved = [world.move(folder, world.folder / f"moved-{folder.name}") for folder in folders]
    student = combined(with_loras(world.planted.student, moved), combination, **options)
    found = run(student, given)
    assert_same(found, world.planted.as_student(expected))
    teacher.save_pretrained(str(world.folder / "saved"), selected_adapters=["mix"])
    whole = world.move(world.folder / "saved" / "mix", world.folder / "moved-mix")
    student.load_adapter(str(whole), adapter_name="whole", autocast_adapter_dtype=False)
    student.set_adapter("whole")
    assert_same(run(student.eval(), given), found)


def test_cat_adds_the_updates(world: World) -> None:
    """peft's `cat` gives the weighted sum of the updates of transferred LoRAs, negative weights included."""
    folders = [world.folder / name for name in NAMES]
    for seed, folder in enumerate(folders):
        make_peft_module(folder, make(world.config), target_modules=["query"], r=seed + 2, seed=seed)
    moved = [world.move(folder, world.folder / f"moved-{folder.name}") for folder in folders]
    student = combined(with_loras(world.planted.student, moved), "cat")
    layers = [layer for name, layer in student.named_modules() if name.endswith("attention.self.query")]
    assert len(layers) == world.base.depths["encoder"]
    for layer in layers:
        updates = [layer.get_delta_weight(name) for name in (*NAMES, "mix")]
        torch.testing.assert_close(updates[2], WEIGHTS[0] * updates[0] + WEIGHTS[1] * updates[1], rtol=1e-5, atol=1e-6)


@pytest.mark.adapters
@pytest.mark.parametrize(
    ("config", "options"),
    [
        ("seq_bn[reduction_factor=4]", {"combine_strategy": "linear"}),
        ("lora[r=3,alpha=6]", {"combine_strategy": "linear"}),
        ("lora[r=3,alpha=6]", {"combine_strategy": "lora_linear_only_negate_b"}),
        ("lora[r=3,alpha=6]", {"combine_strategy": "lora_delta_w_svd", "svd_rank": 3}),
    ],
)
def test_adapters_averages_before_or_after_the_move(world: World, config: str, options: dict[str, Any]) -> None:
    """What `adapters` makes of two transferred modules computes what it makes of the two on the teacher."""
    import adapters

    world.model.float().save_pretrained(world.folder / "teacher")
    world.planted.student.float().save_pretrained(world.folder / "student")
    given = inputs(world.config)
    teacher = adapters.AutoAdapterModel.from_pretrained(world.folder / "teacher")
    for seed, name in enumerate(NAMES):
        make_adapters_module(world.folder / name, teacher, config, name=name, seed=seed)
    expected = averaged(teacher, given, **options)
    student = adapters.AutoAdapterModel.from_pretrained(world.folder / "student")
    bare = run(student.eval(), given)
    for name in NAMES:
        moved = world.move(world.folder / name, world.folder / f"moved-{name}")
        student.load_adapter(str(moved), use_safetensors=True)
    found = averaged(student, given, **options)
    assert_same(found, world.planted.as_student(expected), tolerance=2e-4)  # float32
    assert_differ(found, bare)


def averaged(model: Any, given: Any, **options: Any) -> dict[str, torch.Tensor]:
    """Let `adapters` average both modules with weights of both signs, and run the result."""
    model.average_adapter("mix", list(NAMES), weights=list(WEIGHTS), normalize_weights=False, **options)
    model.set_active_adapters("mix")
    return run(model.eval(), given)
