"""Files of parameter differences: what is read, what is refused and why, and what is written again."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from modxfer.alignments.alignment_map import SiteMap
from modxfer.alignments.layer_maps import layer_map
from modxfer.architectures import Architecture, architecture_from_config
from modxfer.converters.convert import Conversion, convert_module, request_for
from modxfer.converters.formats import inspect_files, read_module, reformat, write_module
from modxfer.converters.formats.files import read_headers, read_tensors, write_tensors
from modxfer.converters.formats.needed import needed_files
from modxfer.converters.module import Module, Place
from modxfer.errors import ConversionError, FormatError
from tests import differences
from tests.planting import alignment_of, architecture_of, tiny

QUERY = "bert.encoder.layer.0.attention.self.query"
GENERATOR = torch.Generator().manual_seed(0)


def random(*shape: int) -> torch.Tensor:
    """Make a tensor without zeros."""
    return torch.randn(shape, generator=GENERATOR) + 3


def sparse(*shape: int) -> torch.Tensor:
    """Make a tensor of which a third is not zero."""
    return random(*shape) * (torch.rand(shape, generator=GENERATOR) < 0.34)


def bert(**changes: Any) -> Architecture:
    """Describe a tiny BERT."""
    return architecture_of(tiny("bert", **changes), name="tiny-bert")


def read(folder: Path, base: Architecture | None = None) -> Module:
    """Read the module in a folder."""
    return read_module(inspect_files(folder), base or bert())


def convert(module: Module, teacher: Architecture, student: Architecture, alignment: Any = None) -> Conversion:
    """Convert by the identity layer map."""
    layers = layer_map("skip", teacher=teacher.depths, student=student.depths)
    return convert_module(module, teacher=teacher, student=student, layers=layers, alignment=alignment)


@pytest.mark.parametrize("shape", [(5,), (3, 4), (4, 3), (2, 3, 5), (1, 7)])
def test_a_difference_is_read_as_its_library_wrote_it(shape: tuple[int, ...], tmp_path: Path) -> None:
    """Every entry is where it was, whatever the number of axes."""
    tensor = sparse(*shape)
    path = differences.save(tmp_path, {"a.weight": tensor}, {"b": random(2)}) / differences.FILE
    tensors = read_tensors(path)
    np.testing.assert_array_equal(tensors["diffs.a.weight"], tensor.numpy())
    assert [(header.key, header.dtype, header.shape) for header in read_headers(path)] == [
        ("abs.b", "F32", (2,)),
        ("diffs.a.weight", "F32", shape),
    ]


def test_a_difference_of_nothing_is_read_and_written(tmp_path: Path) -> None:
    """A parameter that was trained and did not change has no indices, and stays zero."""
    path = differences.save(tmp_path, {"a": torch.zeros(3, 2), "b": random(2)}) / differences.FILE
    before = read_tensors(path)
    write_tensors(path, before)
    assert not read_tensors(path)["diffs.a"].any()
    assert differences.load(tmp_path)["diffs"]["a"]["index_steps"] == []


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_what_is_written_is_what_was_read_and_needs_no_numpy(dtype: torch.dtype, tmp_path: Path) -> None:
    """Bytes are the same each time, dtypes stay, and torch's restricted unpickler loads them without being told more."""
    tensor = sparse(4, 3).to(dtype)
    path = differences.save(tmp_path, {"a": tensor}, {"b": random(2).to(dtype)}) / differences.FILE
    with pytest.raises(Exception, match="Weights only load failed"):
        torch.load(path, weights_only=True)
    tensors = read_tensors(path)
    write_tensors(path, tensors)
    written = path.read_bytes()
    write_tensors(path, read_tensors(path))
    assert path.read_bytes() == written
    content = torch.load(path, weights_only=True)
    assert content["diffs"]["a"]["values"].dtype is dtype
    model = torch.nn.ParameterDict({"a": torch.zeros(4, 3, dtype=dtype), "b": torch.zeros(2, dtype=dtype)})
    differences.apply(tmp_path, model)
    torch.testing.assert_close(model["a"].data, tensor, rtol=0, atol=0)


def test_a_difference_from_before_numpy_2_is_read(tmp_path: Path) -> None:
    """There numpy's numbers have another name in the pickle."""
    path = differences.save(tmp_path, {"a": random(3)}) / differences.FILE
    name = b"numpy._core.multiarray\nscalar"
    content = differences.load(tmp_path)
    torch.save(content, path, _use_new_zipfile_serialization=False)
    written = path.read_bytes()
    assert name in written
    path.write_bytes(written.replace(name, b"numpy.core.multiarray\nscalar"))
    np.testing.assert_array_equal(read_tensors(path)["diffs.a"], content["diffs"]["a"]["values"].numpy())


class Attack:
    """Runs code when it is unpickled without care."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path) -> None:
    """Nothing of it runs."""
    torch.save({"diffs": {}, "abs": {"a": Attack(tmp_path / "ran")}}, tmp_path / differences.FILE)
    with pytest.raises(FormatError, match="could run code"):
        inspect_files(tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("number", [np.float64(0.5), np.int8(1), np.str_("a")])
def test_a_number_of_numpy_that_is_no_index_is_refused(number: Any, tmp_path: Path) -> None:
    """Of numpy, whole numbers are read and nothing else."""
    entry = {**differences.encode(random(3)), "index_steps": [number, 1, 1]}
    torch.save({"diffs": {"a": entry}}, tmp_path / differences.FILE)
    with pytest.raises(FormatError, match=r"refused|Cannot read"):
        inspect_files(tmp_path)


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"index_steps": [0, 0, 1]}, "do not fit"),
        ({"index_steps": [-1, 1, 1]}, "do not fit"),
        ({"index_steps": [1, 1, 1]}, "indices up to 3 for 3 values and the size"),
        ({"index_steps": [0, 1]}, "2 indices"),
        ({"size": torch.Size([2])}, "do not fit"),
        ({"size": torch.Size([2**20, 2**20])}, "do not fit"),
        ({"size": [1.5, 2]}, "no whole numbers"),
        ({"index_steps": ["0"]}, "no whole numbers"),
        ({"values": [1, 2, 3]}, "no difference"),
        ({"more": 1}, "no difference"),
    ],
)
def test_a_difference_whose_parts_do_not_fit_is_refused(changed: dict[str, Any], match: str, tmp_path: Path) -> None:
    """What would land in the wrong place, or in none, is named."""
    torch.save({"diffs": {"a": {**differences.encode(random(3)), **changed}}}, tmp_path / differences.FILE)
    with pytest.raises(FormatError, match=match):
        inspect_files(tmp_path)


@pytest.mark.parametrize(
    "content", [{}, {"diffs": {}, "abs": {}}, {"weight": torch.ones(2)}, {"diffs": [1]}, {"abs": {"a": 1}}]
)
def test_a_file_of_something_else_is_refused(content: dict[str, Any], tmp_path: Path) -> None:
    """A pickle of that name that is no file of differences says what it holds."""
    torch.save(content, tmp_path / differences.FILE)
    with pytest.raises(FormatError, match=r"pytorch_diff\.bin"):
        inspect_files(tmp_path)


def test_the_card_names_the_base_model(tmp_path: Path) -> None:
    """The file says nothing of it."""
    differences.save(tmp_path, {f"{QUERY}.bias": random(24)})
    assert inspect_files(tmp_path).base.name == ""
    (tmp_path / "README.md").write_text("---\nbase_model: some/bert\nlicense: mit\n---\n")
    files = inspect_files(tmp_path)
    assert (files.base.name, files.licence, files.format, files.method) == ("some/bert", "mit", "diff", "difference")


def test_two_kinds_of_module_in_one_folder_are_refused(tmp_path: Path) -> None:
    """Which of them is meant cannot be known."""
    differences.save(tmp_path, {f"{QUERY}.bias": random(24)})
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(FormatError, match=r"`adapter_config\.json`, `pytorch_diff\.bin`"):
        inspect_files(tmp_path)


def test_the_file_is_needed_and_found_in_a_folder_of_its_own(tmp_path: Path) -> None:
    """Pulling takes it along, and a single module in a subfolder is found."""
    assert set(needed_files(["README.md", "pytorch_diff.bin", "training_args.bin"])) == {"README.md", "pytorch_diff.bin"}
    assert needed_files(["pos/pytorch_diff.bin", "optimizer.pt"]) == ("pos/pytorch_diff.bin",)
    differences.save(tmp_path / "pos", {f"{QUERY}.bias": random(24)})
    assert inspect_files(tmp_path).folder == tmp_path / "pos"
    assert inspect_files(tmp_path, elsewhere={"pytorch_diff.bin": None}).tensors == ()


@pytest.mark.parametrize(
    ("names", "task"),
    [
        (["classifier.weight", "classifier.bias"], "TOKEN_CLS"),
        (["classifier.weight", "classifier.bias", "bert.pooler.dense.bias"], "SEQ_CLS"),
        (["qa_outputs.weight", "qa_outputs.bias"], "QUESTION_ANS"),
        ([], None),
    ],
)
def test_the_head_is_the_one_whose_values_are_there(names: list[str], task: str | None, tmp_path: Path) -> None:
    """Of two tasks with one head, the one with a pooler is meant if the pooler is trained too."""
    sizes = {"classifier.weight": (5, 24), "classifier.bias": (5,), "qa_outputs.weight": (2, 24), "qa_outputs.bias": (2,)}
    pooler = {name: random(24) for name in names if "pooler" in name}
    values = {name: random(*sizes[name]) for name in names if name in sizes}
    module = read(differences.save(tmp_path, {f"{QUERY}.bias": random(24), **pooler}, values))
    assert (module.head.task if module.head else None) == task


def test_a_head_as_a_difference_is_refused(tmp_path: Path) -> None:
    """It differs from a start that no base model has."""
    differences.save(tmp_path, {f"{QUERY}.bias": random(24), "classifier.weight": random(5, 24)})
    with pytest.raises(ConversionError, match=r"`classifier\.weight` as a difference"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("name", "shape", "match"),
    [
        (f"{QUERY}.weight", (24, 23), r"shape \(24, 23\)"),
        ("bert.encoder.layer.7.output.dense.bias", (24,), "has 2 such layers"),
        ("model.layers.0.self_attn.q_proj.weight", (24, 24), "none of these"),
    ],
)
def test_parameters_of_another_base_model_are_refused(name: str, shape: tuple[int, ...], match: str, tmp_path: Path) -> None:
    """Nothing is dropped that only shows that the base model is the wrong one."""
    with pytest.raises(FormatError, match=match):
        read(differences.save(tmp_path, {name: random(*shape)}))


def test_a_difference_and_a_value_of_one_parameter_are_refused(tmp_path: Path) -> None:
    """Only one of them can hold."""
    with pytest.raises(FormatError, match="both a difference and a value"):
        read(differences.save(tmp_path, {f"{QUERY}.bias": random(24)}, {f"{QUERY}.bias": random(24)}))


def test_whole_values_of_the_base_model_are_pieces_that_replace(tmp_path: Path) -> None:
    """A parameter that was trained whole comes back whole."""
    values = {"bert.encoder.layer.1.output.LayerNorm.weight": random(24), f"{QUERY}.weight": random(24, 24)}
    module = read(differences.save(tmp_path / "in", {}, values))
    assert module.pieces[Place("encoder", 1, "ffn_norm.base")].method.name == "norm"
    (tmp_path / "out").mkdir()
    write_module(module, bert(), tmp_path / "out")
    content = differences.load(tmp_path / "out")
    assert content["diffs"] == {}
    assert content["abs"].keys() == values.keys()
    for name, value in values.items():
        torch.testing.assert_close(content["abs"][name], value, rtol=0, atol=0)


def test_tables_of_positions_go_only_where_rows_mean_the_same(tmp_path: Path) -> None:
    """RoBERTa counts positions from behind its padding, and a shorter BERT has fewer: there they are left behind."""
    name = "bert.embeddings.position_embeddings.weight"
    module = read(differences.save(tmp_path, {f"{QUERY}.bias": random(24), name: random(36, 24)}))
    place = Place("", -1, "position_embeddings.difference")
    same, shorter = bert(), bert(max_position_embeddings=20)
    roberta = architecture_of(tiny("roberta"), name="tiny-roberta")
    assert place in convert(module, same, same).module.pieces
    for student, said in ((shorter, "20 positions"), (roberta, "36 positions behind padding")):
        conversion = convert(module, same, student)
        assert place not in conversion.module.pieces
        assert conversion.dropped == (f"position_embeddings: its rows are 36 positions, and the student's are {said}",)
    llama = architecture_of(tiny("llama"), name="tiny-llama")
    gpt2 = architecture_of(tiny("gpt2"), name="tiny-gpt2")
    positions = read(differences.save(tmp_path / "gpt2", {"wpe.weight": random(36, 24), "h.0.ln_1.bias": random(24)}), gpt2)
    assert convert(positions, gpt2, llama).dropped == ("position_embeddings: llama has no such submodule",)


def test_a_bias_goes_nowhere_where_there_is_none(tmp_path: Path) -> None:
    """Llama's projections have no biases, so nothing could be added to them."""
    gpt2, llama = (architecture_of(tiny(family), name=f"tiny-{family}") for family in ("gpt2", "llama"))
    module = read(differences.save(tmp_path / "in", {"h.0.ln_1.bias": random(24)}), gpt2)
    moved = convert(module, gpt2, llama).module
    (tmp_path / "out").mkdir()
    with pytest.raises(ConversionError, match=r"the bias of `layers\.0\.input_layernorm`"):
        write_module(moved, llama, tmp_path / "out")


def test_a_role_of_a_fused_matrix_leaves_the_others_as_they_are(tmp_path: Path) -> None:
    """A difference of the queries alone is one of the whole matrix with zeros for keys and values, and back."""
    gpt2 = architecture_of(tiny("gpt2"), name="tiny-gpt2")
    fused = torch.zeros(24, 72)
    fused[:, :24] = random(24, 24)
    module = read(differences.save(tmp_path / "in", {"h.0.attn.c_attn.weight": fused}), gpt2)
    only = replace(module, pieces={place: piece for place, piece in module.pieces.items() if place.role == "query"})
    (tmp_path / "out").mkdir()
    write_module(only, gpt2, tmp_path / "out")
    np.testing.assert_array_equal(
        read_tensors(tmp_path / "out" / differences.FILE)["diffs.h.0.attn.c_attn.weight"], fused.numpy()
    )


def test_units_that_nothing_serves_keep_the_base_models_values(tmp_path: Path) -> None:
    """A difference there is 0, for a normalisation's gain too."""
    teacher, student = bert(), bert(hidden_size=27)
    names = [f"{QUERY}.weight", "bert.encoder.layer.0.output.LayerNorm.weight"]
    module = read(differences.save(tmp_path, {names[0]: random(24, 24), names[1]: random(24)}))
    served = np.concatenate([np.arange(24)[::-1], [-1, -1, -1]])
    layers = layer_map("skip", teacher=teacher.depths, student=student.depths)
    sites = {pair.student: served for pair in request_for(module, layers).uses(teacher, student)}
    moved = convert(module, teacher, student, alignment_of(sites, teacher, student)).module
    gain = moved.pieces[Place("encoder", 0, "ffn_norm.difference")].parts["weight"]
    weight = moved.pieces[Place("encoder", 0, "query.difference")].parts["weight"]
    assert not gain[24:].any()
    assert gain[:24].all()
    assert weight.shape == (27, 27)
    assert not weight[24:].any()
    assert not weight[:, 24:].any()


def test_a_dense_map_makes_a_sparse_difference_dense_and_says_so(tmp_path: Path) -> None:
    """On a student whose units are mixtures of the teacher's, every entry changes; both ends go by their own matrices."""
    base = bert()
    change = sparse(24, 24)
    module = read(differences.save(tmp_path / "in", {f"{QUERY}.weight": change}))
    rng = np.random.default_rng(0)
    reading, writing = rng.standard_normal((2, 24, 24)).astype(np.float32)
    alignment = alignment_of({}, base)
    uses = request_for(module, layer_map("skip", teacher=base.depths, student=base.depths)).uses(base, base)
    dense = SiteMap(correlation=np.ones(24, dtype=np.float32), reading=reading, writing=writing)
    conversion = convert(module, base, base, replace(alignment, maps=dict.fromkeys(uses, dense)))
    assert "query.difference: a dense map spreads a sparse difference over all entries" in conversion.approximated
    moved = conversion.module.pieces[Place("encoder", 0, "query.difference")].parts["weight"]
    expected = writing.astype(np.float64) @ change.numpy() @ reading.astype(np.float64)
    np.testing.assert_allclose(moved, expected, rtol=1e-5)
    (tmp_path / "out").mkdir()
    write_module(conversion.module, base, tmp_path / "out")
    assert len(differences.load(tmp_path / "out")["diffs"][f"{QUERY}.weight"]["values"]) == 24 * 24


def test_it_has_no_other_format(tmp_path: Path) -> None:
    """Neither `peft` nor `adapters` stores differences."""
    module = read(differences.save(tmp_path, {f"{QUERY}.bias": random(24)}))
    with pytest.raises(ConversionError, match="difference"):
        reformat(module, bert(), format="peft")


def test_a_config_without_positions_is_still_a_base_model() -> None:
    """Few modules touch positions, so a config may lack their number."""
    config = transformers.BertConfig(hidden_size=24, num_attention_heads=3).to_dict()
    del config["max_position_embeddings"], config["type_vocab_size"]
    assert architecture_from_config(config, name="short").table_rows("position_embeddings") == "None positions"
