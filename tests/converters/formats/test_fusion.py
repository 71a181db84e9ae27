"""AdapterFusion layers: moved with the adapters that they fuse, read, refused and written."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from modxfer.alignments.alignment_map import SiteMap
from modxfer.alignments.layer_maps import layer_map
from modxfer.architectures import Architecture
from modxfer.converters.convert import Conversion, convert_module, request_for
from modxfer.converters.formats import inspect_files, read_module, write_module
from modxfer.converters.formats.needed import needed_files
from modxfer.converters.module import Array, Module, Place
from modxfer.errors import ConversionError, FormatError
from tests.builders import randomise
from tests.planting import alignment_of, architecture_of, assert_differ, assert_same, inputs, make, plant, run, tiny

CONFIG: dict[str, Any] = {
    "key": True,
    "query": True,
    "value": True,
    "query_before_ln": False,
    "regularization": True,
    "residual_before": False,
    "temperature": False,
    "value_before_softmax": True,
    "value_initialized": True,
    "dropout_prob": None,
}
PARTS = ("query.weight", "query.bias", "key.weight", "key.bias", "value.weight")


def bert(**changes: Any) -> Architecture:
    """Describe a tiny BERT."""
    return architecture_of(tiny("bert", **changes), name="tiny-bert")


def tensors(base: Architecture, *, name: str = "a,b", places: tuple[str, ...] = ("output",), seed: int = 0) -> dict[str, Array]:
    """Make random tensors under the keys of `adapters`."""
    rng, hidden = np.random.default_rng(seed), base.dimensions["hidden"]
    return {
        f"bert.encoder.layer.{layer}.{place}.adapter_fusion_layer.{name}.{part}": rng.standard_normal(
            (hidden,) * (2 if part.endswith("weight") else 1)
        ).astype(np.float32)
        for layer in range(base.depths["encoder"])
        for place in places
        for part in PARTS
    }


def save(folder: Path, held: dict[str, Array], *, inner: Any = None, **changes: Any) -> Path:
    """Save fusion layers as `adapters` does."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "adapter_names": None,
        "config": CONFIG if inner is None else inner,
        "hidden_size": 24,
        "model_class": "BertAdapterModel",
        "model_name": "some/bert",
        "model_type": "bert",
        "name": "a,b",
        "version": "adapters.1.3.0",
        **changes,
    }
    (folder / "adapter_fusion_config.json").write_text(json.dumps(config))
    save_file(held, folder / "model_adapter_fusion.safetensors", metadata={"format": "pt"})
    return folder


def read(folder: Path, base: Architecture | None = None) -> Module:
    """Read the module in a folder."""
    return read_module(inspect_files(folder), base or bert())


def convert(module: Module, teacher: Architecture, student: Architecture, alignment: Any = None) -> Conversion:
    """Convert by the identity layer map."""
    layers = layer_map("skip", teacher=teacher.depths, student=student.depths)
    return convert_module(module, teacher=teacher, student=student, layers=layers, alignment=alignment)


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is fused, and how it is saved."""

    family: str
    adapters: str
    fusion: Any = "dynamic"
    name: str | None = None
    safetensors: bool = True


CASES = {
    "dynamic": Case(family="bert", adapters="seq_bn[reduction_factor=4]", safetensors=False),
    "static, two in a layer, named": Case(
        family="distilbert", adapters="double_seq_bn[reduction_factor=4]", fusion="static", name="both"
    ),
    "parallel, asked before the norm": Case(
        family="roberta", adapters="par_bn[reduction_factor=4]", fusion={**CONFIG, "query_before_ln": True}
    ),
    "value behind the softmax": Case(
        family="bert",
        adapters="seq_bn[reduction_factor=4,leave_out=[1]]",
        fusion={**CONFIG, "value_before_softmax": False, "residual_before": True},
    ),
}


def fuse(case: Case, folder: Path, base_model: Path) -> tuple[Any, Any]:
    """Let `adapters` train two adapters, a fusion of them and a head (with noise), and save each."""
    import adapters
    from adapters.composition import Fuse

    model = adapters.AutoAdapterModel.from_pretrained(str(base_model))
    for name in ("a", "b"):
        model.add_adapter(name, config=case.adapters)
    setup = Fuse("a", "b", name=case.name)
    config = adapters.AdapterFusionConfig.from_dict(case.fusion) if isinstance(case.fusion, dict) else case.fusion
    model.add_adapter_fusion(setup, config=config)
    model.add_tagging_head(setup.name, num_labels=3)
    marks = (".adapters.", ".adapter_fusion_layer.", "heads.")
    randomise((part for key, part in model.named_parameters() if any(mark in f".{key}" for mark in marks)), size=0.5)
    model.set_active_adapters(setup)
    model.active_head = setup.name
    for name in ("a", "b"):
        model.save_adapter(str(folder / name), name, use_safetensors=True)
    model.save_adapter_fusion(str(folder / "fusion"), setup, with_head=True, use_safetensors=case.safetensors)
    return model.to(torch.float64).eval(), setup


@pytest.mark.adapters
@pytest.mark.parametrize("case", CASES)
def test_fusion_of_moved_adapters_gives_the_teachers_outputs(case: str, tmp_path: Path) -> None:
    """Two adapters, what fuses them and its head, each moved by itself, together compute on the student what they did."""
    import adapters

    teacher = make(tiny(CASES[case].family))
    base = architecture_of(teacher.config)
    planted, given = plant(teacher, base), inputs(teacher.config)
    teacher.save_pretrained(tmp_path / "teacher")
    planted.student.save_pretrained(tmp_path / "student")
    model, setup = fuse(CASES[case], tmp_path, tmp_path / "teacher")
    expected = run(model, given)
    student = adapters.AutoAdapterModel.from_pretrained(str(tmp_path / "student"))
    for name in ("a", "b", "fusion"):
        conversion = convert(read(tmp_path / name, base), base, base, planted.alignment)
        assert (conversion.dropped, conversion.approximated) == ((), ())
        (tmp_path / f"moved-{name}").mkdir()
        write_module(conversion.module, base, tmp_path / f"moved-{name}")
    for name in ("a", "b"):
        student.load_adapter(str(tmp_path / f"moved-{name}"), use_safetensors=True)
    info: dict[str, Any] = {}
    student.load_adapter_fusion(str(tmp_path / "moved-fusion"), set_active=True, use_safetensors=True, loading_info=info)
    assert (info["missing_keys"], info["unexpected_keys"]) == ([], [])
    assert student.adapters_config.get_fusion(setup.name)[1] == ["a", "b"]
    student.to(torch.float64).eval()
    assert_same(run(student, given), expected)
    with torch.no_grad():
        for key, parameter in student.named_parameters():
            if "adapter_fusion_layer" in key and "value" not in key:
                parameter.zero_()
    assert_differ(run(student, given), expected)


def test_fusion_is_found_and_named(tmp_path: Path) -> None:
    """Its own config and weights say what it is, and pulling takes both; a head beside it belongs to it."""
    files = inspect_files(save(tmp_path, tensors(bert())))
    assert (files.format, files.method, files.name, files.base.name) == ("adapters", "fusion", "a,b", "some/bert")
    paths = ["adapter_fusion_config.json", "pytorch_model_adapter_fusion.bin", "head_config.json", "pytorch_model_head.bin"]
    assert set(needed_files([*paths, "optimizer.pt"])) == set(paths)
    assert set(needed_files(["x/adapter_fusion_config.json", "x/model_adapter_fusion.safetensors", "x/notes"])) == {
        "x/adapter_fusion_config.json",
        "x/model_adapter_fusion.safetensors",
    }


def test_adapter_and_fusion_in_one_folder_are_refused(tmp_path: Path) -> None:
    """One module at a time: which is meant cannot be known."""
    save(tmp_path, tensors(bert()))
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(FormatError, match=r"`adapter_config\.json`, `adapter_fusion_config\.json`"):
        inspect_files(tmp_path)


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"inner": {**CONFIG, "key": False}}, ConversionError, "query=True and key=False"),
        ({"inner": {**CONFIG, "query": False, "key": False, "value": False}}, ConversionError, "query=False"),
        ({"inner": "mine"}, FormatError, "'mine'"),
        ({"inner": {}}, FormatError, "`config` in"),
        ({"name": "a.b"}, FormatError, r"'a\.b'"),
        ({"name": None}, FormatError, "None"),
    ],
)
def test_a_config_that_cannot_be_moved_is_refused(
    changes: dict[str, Any], error: type[Exception], match: str, tmp_path: Path
) -> None:
    """Without query or key, units of two spaces are multiplied as they are; other configs say nothing."""
    with pytest.raises(error, match=match):
        inspect_files(save(tmp_path, tensors(bert()), **changes))


def test_a_config_that_is_only_a_name_is_read(tmp_path: Path) -> None:
    """`dynamic` has a value matrix, `static` has none."""
    held = tensors(bert())
    assert len(read(save(tmp_path / "d", held, inner="dynamic")).pieces) == 2
    with pytest.raises(FormatError, match=r"value\.weight"):
        read(save(tmp_path / "s", held, inner="static"))
    without = {key: tensor for key, tensor in held.items() if "value" not in key}
    assert len(read(save(tmp_path / "s", without, inner="static")).pieces) == 2


@pytest.mark.parametrize(
    ("lose", "add", "match"),
    [
        ("layer.1.", "", r"`encoder\.1\.ffn, key\.bias`"),
        ("layer.0.output.adapter_fusion_layer.a,b.key.bias", "", r"`encoder\.0\.ffn, key\.bias`"),
        ("", "bert.encoder.layer.5.output.adapter_fusion_layer.a,b.key.bias", r"layer\.5"),
        ("", "bert.encoder.layer.0.output.adapter_fusion_layer.a,b.dense.bias", r"dense\.bias"),
        ("", "bert.encoder.layer.0.output.adapter_fusion_layer.c,d.key.bias", "c,d"),
        ("", "encoder.layer.0.output.adapter_fusion_layer.a,b.key.bias", "with and without `bert.`"),
        ("bert.", "", "no tensors"),
    ],
)
def test_tensors_that_config_and_base_model_do_not_explain_are_refused(lose: str, add: str, match: str, tmp_path: Path) -> None:
    """Nothing is filled up, and nothing is passed over."""
    held = {key: tensor for key, tensor in tensors(bert()).items() if not lose or lose not in key}
    if add:
        held[add] = np.ones(24, dtype=np.float32)
    with pytest.raises(FormatError, match=match):
        read(save(tmp_path, held))


def test_another_width_is_refused(tmp_path: Path) -> None:
    """Config and tensors must be those of the base model."""
    folder = save(tmp_path, tensors(bert()))
    with pytest.raises(FormatError, match="24 units wide, and `tiny-bert` has 30"):
        read(folder, bert(hidden_size=30))
    save(tmp_path, tensors(bert()), hidden_size=30)
    with pytest.raises(FormatError, match=r"shape \(24,\)"):
        read(folder, bert(hidden_size=30))


def test_a_layer_without_fusion_is_not_written(tmp_path: Path) -> None:
    """`adapters` would put an untrained one there and say nothing."""
    base = bert()
    module = read(save(tmp_path / "in", tensors(base)))
    short = replace(module, pieces={place: piece for place, piece in module.pieces.items() if place.layer == 0})
    (tmp_path / "out").mkdir()
    with pytest.raises(ConversionError, match=r"no fusion layer for `encoder\.1\.ffn`"):
        write_module(short, base, tmp_path / "out")


def test_a_family_that_adapters_lacks_gets_none(tmp_path: Path) -> None:
    """There is no model class to load it with."""
    module = read(save(tmp_path / "in", tensors(bert())))
    (tmp_path / "out").mkdir()
    with pytest.raises(ConversionError, match="no model class for `camembert`"):
        write_module(module, architecture_of(tiny("camembert")), tmp_path / "out")


def scores(parts: dict[str, Array], activation: Array, update: Array) -> Array:
    """Multiply what query and key make of an activation and an update."""
    query = activation @ parts["query.weight"].T + parts["query.bias"]
    return np.asarray(query @ (update @ parts["key.weight"].T + parts["key.bias"]).T)


PLACE = Place("encoder", 0, "ffn")


def parts_of(module: Module) -> dict[str, Array]:
    """Take the first layer's tensors, in double precision."""
    return {part: tensor.astype(np.float64) for part, tensor in module.pieces[PLACE].parts.items()}


@pytest.mark.parametrize("hidden", [30, 18])
def test_another_width_keeps_the_products(hidden: int, tmp_path: Path) -> None:
    """A wider student has room for the whole product; a narrower one keeps all but its smallest part, and that is said."""
    teacher, student = bert(), bert(hidden_size=hidden)
    module = read(save(tmp_path / "in", tensors(teacher)))
    layers = layer_map("skip", teacher=teacher.depths, student=student.depths)
    sites = request_for(module, layers).uses(teacher, student)
    served = np.concatenate([np.random.default_rng(1).permutation(24), [-1] * 6])[:hidden]
    conversion = convert(module, teacher, student, alignment_of({pair.student: served for pair in sites}, teacher, student))
    before, after = parts_of(module), parts_of(conversion.module)
    assert after["query.weight"].shape == after["value.weight"].shape == (hidden, hidden)
    there = served[served >= 0]
    rng = np.random.default_rng(2)
    activation, update = np.zeros((2, 5, 24))
    activation[:, there], update[:, there] = rng.standard_normal((2, 5, len(there)))
    mine = [np.where(served >= 0, whole[:, served], 7.0) for whole in (activation, update)]
    expected, found = scores(before, activation, update), scores(after, mine[0], mine[1])
    said = [sentence for sentence in conversion.approximated if "their product is lost" in sentence]
    if hidden > 24:
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)  # stored in single precision
        assert said == []
    else:
        assert np.linalg.norm(found - expected) < 0.05 * np.linalg.norm(expected)
        assert len(said) > 0
    (tmp_path / "out").mkdir()
    write_module(conversion.module, student, tmp_path / "out")
    assert read(tmp_path / "out", student).config["hidden_size"] == hidden


def test_dense_maps_read_updates_as_they_are_written(tmp_path: Path) -> None:
    """An update goes to the student by the writing matrix, and what multiplies it by the inverse of that: scores stay."""
    base = bert()
    module = read(save(tmp_path, tensors(base)))
    layers = layer_map("skip", teacher=base.depths, student=base.depths)
    rng = np.random.default_rng(3)
    reading, writing = rng.standard_normal((2, 24, 24)).astype(np.float32)
    offset = rng.standard_normal(24).astype(np.float32)
    dense = SiteMap(correlation=np.ones(24, dtype=np.float32), reading=reading, writing=writing, offset=offset)
    alignment = replace(alignment_of({}, base), maps=dict.fromkeys(request_for(module, layers).uses(base, base), dense))
    conversion = convert(module, base, base, alignment)
    before, after = parts_of(module), parts_of(conversion.module)
    own, update = rng.standard_normal((2, 5, 24))
    as_teacher = own @ reading.T + offset
    moved = update @ writing.T
    np.testing.assert_allclose(scores(after, own, moved), scores(before, as_teacher, update), rtol=2e-3, atol=2e-2)
    np.testing.assert_allclose(
        moved @ after["value.weight"].T, update @ before["value.weight"].T @ writing.T, rtol=2e-3, atol=2e-2
    )
