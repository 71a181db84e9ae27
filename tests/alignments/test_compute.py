"""Computing alignment maps with real tiny models: what is measured, what is warned of, what is refused."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from modxfer.alignments.compute import BaseModel, compute_alignment
from modxfer.alignments.corpus import open_corpus
from modxfer.alignments.probe import Probe, batches, pool
from modxfer.alignments.request import AlignmentRequest, RouteUse
from modxfer.alignments.tokens import Matches
from modxfer.architectures import FINAL, Kind, Point, Side, Site
from modxfer.converters.methods import route_of_role
from modxfer.errors import AlignmentError, ArchitectureError, CorpusError
from tests.builders import tiny_config, tiny_model
from tests.planted import (
    NEW,
    PlantedPair,
    base_model,
    draw_plan,
    make_student,
    make_teacher,
    planted_pair,
    save_base,
    small_text,
    tiny_tokenizer,
    with_ffn,
)

ROUTES = tuple(
    RouteUse(route=route_of_role(role), reads=True, writes=True, updates=True)
    for role in ("attention_output", "ffn_down", "ffn_up", "query")
)


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> PlantedPair:
    """Plant one pair for all tests here."""
    return planted_pair(tmp_path_factory.mktemp("pair"), "bert", seed=5)


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """Write some text."""
    path = tmp_path / "text.txt"
    path.write_text(small_text(), encoding="utf-8")
    return path


def request(*layers: tuple[int, int]) -> AlignmentRequest:
    """Ask for four roles at some pairs of layers."""
    return AlignmentRequest(
        layers=tuple(("encoder", student, teacher) for student, teacher in layers or ((0, 0), (1, 2))), inside=ROUTES
    )


def compute(teacher: BaseModel | Path, student: BaseModel | Path, text: Path, **options: Any) -> Any:
    """Compute a map of two base models."""
    bases = [base if isinstance(base, BaseModel) else base_model(base) for base in (teacher, student)]
    asked = options.pop("asked", request())
    options.setdefault("tokens", 500)
    return compute_alignment(asked, teacher=bases[0], student=bases[1], corpus=open_corpus(str(text)), **options)


def test_statistics_are_those_of_a_plain_run(pair: PlantedPair, text: Path) -> None:
    """The scores equal NumPy's correlations over hidden states taken without hooks, token by token."""
    lines = [line for line in open_corpus(None).texts() if line.isascii() and len(tiny_tokenizer()(line).input_ids) < 38]
    text.write_text("\n".join(lines[:60]), encoding="utf-8")
    found = compute(pair.teacher, pair.student, text, aligner="identity", tokens=10_000)
    states = {}
    for side in ("teacher", "student"):
        folder = getattr(pair, side)
        model, rows = transformers.AutoModel.from_pretrained(folder).eval(), []
        for line in text.read_text(encoding="utf-8").splitlines():
            ids = tiny_tokenizer()(line, return_tensors="pt", return_token_type_ids=False)
            with torch.no_grad():
                hidden = model(**ids, output_hidden_states=True).hidden_states
            rows.append(np.asarray(hidden[0][0, 1:-1], dtype=np.float64))
        states[side] = np.concatenate(rows)
    expected = np.corrcoef(states["student"].T, states["teacher"].T)[:12, 12:]
    at = next(p for p in found.maps if str(p.student) == "encoder.0.query.input")
    assert found.corpus.tokens == len(states["teacher"])
    np.testing.assert_allclose(found.maps[at].correlation, np.diagonal(expected), atol=1e-5)


def test_result_records_what_was_used(pair: PlantedPair, text: Path) -> None:
    """Tokens are limited to what was asked for; corpus, bases, aligner and parameters are written down."""
    seen: list[tuple[int, int]] = []
    found = compute(pair.teacher, pair.student, text, aligner="lsa", tokens=333, progress=lambda *counts: seen.append(counts))
    assert found.corpus.tokens == 333
    assert seen[-1] == (333, 333)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert found.corpus.matching == "spans"
    assert found.corpus.fingerprint == open_corpus(str(text)).fingerprint
    assert (found.aligner, found.requested, found.reason) == ("lsa", "lsa", "")
    assert (found.teacher.name, found.student.name) == ("bert-teacher", "bert-student")
    assert {score.tokens for score in found.scores.values()} == {333}
    assert found.scores.keys() == found.maps.keys()


def test_same_inputs_give_the_same_map(pair: PlantedPair, text: Path) -> None:
    """Computed twice, every array is the same bit for bit."""
    first, second = (compute(pair.teacher, pair.student, text, aligner="linear") for _ in range(2))
    for at, one in first.maps.items():
        assert one.form == "matrix"
        for name in ("reading", "writing", "correlation", "offset"):
            np.testing.assert_array_equal(getattr(one, name), getattr(second.maps[at], name))


def test_two_tokenizers_are_matched_by_characters(tmp_path: Path, text: Path) -> None:
    """With another vocabulary on the other side the maps come from the tokens or words that cover the same characters."""
    teacher = make_teacher(tmp_path / "teacher", "bert", vocab=300)
    student = make_teacher(tmp_path / "student", "roberta", vocab=500, hidden=9, ffn=15)
    found = compute(teacher, student, text, tokens=400)
    assert found.corpus.matching in ("spans", "words")
    assert found.corpus.tokens > 150
    residual = [score.aligner for pair, score in found.scores.items() if pair.student.point.role in ("query", "final")]
    assert "linear" in residual  # two random models share no units
    assert "identity" not in found.aligner


def test_paper_writes_as_it_reads(pair: PlantedPair, text: Path) -> None:
    """`paper` uses the assignment of a piece's input at its output too; where widths differ it says so."""
    query = AlignmentRequest(layers=(("encoder", 0, 0),), inside=ROUTES[-1:])
    maps = {str(at): item for at, item in compute(pair.teacher, pair.student, text, asked=query, aligner="paper").maps.items()}
    read, write = (maps[f"encoder.0.query.{side}<-encoder.0.query.{side}"] for side in ("input", "output"))
    np.testing.assert_array_equal(read.assignment, write.assignment)
    np.testing.assert_array_equal(read.assignment, pair.plan.hidden)
    with pytest.raises(AlignmentError, match=r"differ in width") as caught:
        compute(pair.teacher, pair.student, text, aligner="paper")
    assert "lsa" in caught.value.do


def test_lsa_without_a_permutation_is_warned_of(tmp_path: Path, pair: PlantedPair, text: Path) -> None:
    """Between unrelated models an assignment is no better than chance, and the result says so with both figures."""
    stranger = make_teacher(tmp_path / "stranger", "bert", seed=99)
    found = compute(pair.teacher, stranger, text, aligner="lsa")
    (warning,) = [item for item in found.warnings if "chance" in item]
    assert "`lsa`" in warning
    assert "--align auto" in warning
    planted = compute(pair.teacher, pair.student, text, asked=request((0, 0), (1, 1)), aligner="lsa")
    assert [item for item in planted.warnings if "chance" in item] == []
    assert all(score.chance is not None and score.chance < 0.9 for score in planted.scores.values())


def test_matching_student_shares_coordinates(tmp_path: Path, text: Path) -> None:
    """A student made of some of the teacher's layers, as they are, is seen to share its coordinates."""
    teacher = make_teacher(tmp_path / "teacher", "distilbert", layers=4)
    plan = draw_plan(base_model(teacher).architecture, heads=3, layers=[0, 2], shuffle=False)
    student = make_student(tmp_path / "student", teacher, plan)
    found = compute(teacher, student, text, asked=request((0, 0), (1, 2)))
    assert found.aligner == "identity"
    assert {site_map.form for site_map in found.maps.values()} == {"identity"}


def test_extra_and_missing_ffn_units(tmp_path: Path, text: Path) -> None:
    """A student with more FFN units gets -1 for the new ones; one with fewer gets exactly those that it has."""
    teacher = make_teacher(tmp_path / "teacher", "bert")
    plan = draw_plan(base_model(teacher).architecture, heads=3, seed=3)
    rng = np.random.default_rng(0)
    wider = with_ffn(plan, rng.permutation([*range(20), NEW, NEW, NEW, NEW]))
    narrower = with_ffn(plan, rng.permutation(20)[:14])
    for name, changed in (("wider", wider), ("narrower", narrower)):
        student = make_student(tmp_path / name, teacher, changed)
        at = "encoder.0.ffn_up.output<-encoder.0.ffn_up.output"
        maps = {str(p): item for p, item in compute(teacher, student, text, asked=request((0, 0)), aligner="lsa").maps.items()}
        np.testing.assert_array_equal(maps[at].assignment, changed.layers[0].ffn, err_msg=name)


def test_units_that_never_vary_are_warned_of(tmp_path: Path, pair: PlantedPair, text: Path) -> None:
    """A unit whose normalisation gain is 0 is counted in a warning, and the permutation of the others is found."""
    student = Path(shutil.copytree(pair.student, tmp_path / "student"))
    state = load_file(student / "model.safetensors")
    state["encoder.layer.0.attention.output.LayerNorm.weight"][4] = 0.0
    save_file(state, student / "model.safetensors", metadata={"format": "pt"})
    found = compute(pair.teacher, student, text, asked=request((0, 0)), aligner="lsa")
    at = next(p for p in found.maps if str(p.student) == "encoder.0.attention_norm.output")
    assert any("1 units never vary" in warning for warning in found.warnings)
    assert found.scores[at].constant_units == 1
    assert found.maps[at].correlation[4] == 0
    kept = np.arange(12) != 4
    np.testing.assert_array_equal(found.maps[at].assignment[kept], pair.plan.hidden[kept])


# --- what is refused -----------------------------------------------------------------------------------------------------


def test_too_few_tokens_are_refused_and_few_are_warned_of(pair: PlantedPair, text: Path, tmp_path: Path) -> None:
    """Fewer tokens than the widest site has units is an error; below ten times as many there is a warning with both."""
    with pytest.raises(CorpusError, match=r"19 matched tokens, and the widest site has 20 units"):
        compute(pair.teacher, pair.student, text, tokens=19)
    assert any("Only 150 matched" in warning for warning in compute(pair.teacher, pair.student, text, tokens=150).warnings)
    assert not any("matched tokens" in w for w in compute(pair.teacher, pair.student, text, tokens=200).warnings)
    small = tmp_path / "small.txt"
    small.write_text("Hi.\n")
    with pytest.raises(CorpusError, match=r"small\.txt` gives \d matched tokens"):
        compute(pair.teacher, pair.student, small)


def test_an_encoder_is_not_aligned_with_a_decoder(pair: PlantedPair, text: Path) -> None:
    """Base models of different kinds are refused with both kinds."""
    base = base_model(pair.student)
    decoder = replace(base.architecture, family=replace(base.architecture.family, kind=Kind.DECODER))
    with pytest.raises(AlignmentError, match=r"`bert-teacher` .* encoder.*`bert-student` .* decoder"):
        compute(pair.teacher, replace(base, architecture=decoder), text)


def test_nan_weights_are_refused(pair: PlantedPair, text: Path, tmp_path: Path) -> None:
    """Activations that are not finite stop the alignment at the site where they are."""
    student = Path(shutil.copytree(pair.student, tmp_path / "student"))
    state = load_file(student / "model.safetensors")
    state["encoder.layer.1.attention.self.query.weight"][2, 3] = float("nan")
    save_file(state, student / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(AlignmentError, match=r"encoder\.1\.[a-z_]*\.(in|out)put.* are not finite"):
        compute(pair.teacher, student, text)


def without(folder: Path, name: str) -> None:
    """Remove a file."""
    (folder / name).unlink()


def lose_tokenizer(folder: Path) -> None:
    """Remove all files of the tokenizer."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        without(folder, name)


def lose_a_tensor(folder: Path) -> None:
    """Take a tensor out of the weights."""
    state = load_file(folder / "model.safetensors")
    del state["encoder.layer.1.attention.self.key.weight"]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def cut_weights(folder: Path) -> None:
    """Cut the file of the weights off."""
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])


def shrink_vocabulary(folder: Path) -> None:
    """Put a model with fewer tokens under the same tokenizer."""
    tiny_model(tiny_config("bert", vocab=40)).save_pretrained(folder)


BROKEN: dict[str, tuple[Callable[[Path], None], type[Exception], str]] = {
    "no tokenizer": (
        lose_tokenizer,
        AlignmentError,
        "okenizer of `broken`",
    ),
    "no weights": (lambda f: without(f, "model.safetensors"), ArchitectureError, "weights of `broken`"),
    "a tensor is missing": (lose_a_tensor, ArchitectureError, r"lack 1 tensors.*key\.weight"),
    "weights are cut off": (cut_weights, ArchitectureError, "weights of `broken`"),
    "tokens the model does not have": (shrink_vocabulary, AlignmentError, "Cannot run `broken`"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_base_model_is_named(case: str, pair: PlantedPair, text: Path, tmp_path: Path) -> None:
    """A base model that cannot be run is refused by name, and never filled up with random weights."""
    change, error, wrong = BROKEN[case]
    student = Path(shutil.copytree(pair.student, tmp_path / "broken"))
    change(student)
    with pytest.raises(error, match=wrong):
        compute(pair.teacher, base_of(student), text)


def base_of(folder: Path) -> BaseModel:
    """Describe a base model."""
    return base_model(folder)


def test_a_slow_tokenizer_is_refused(pair: PlantedPair, text: Path, tmp_path: Path) -> None:
    """A tokenizer that does not say which characters a token covers is refused by name."""
    from modxfer.alignments.tokens import require_fast

    class Slow:
        is_fast = False

    with pytest.raises(AlignmentError, match="tokenizer of `old`, Slow, is not a fast one"):
        require_fast(Slow(), "old")


# --- the probe -----------------------------------------------------------------------------------------------------------


def test_probe_stops_after_the_last_site_and_takes_its_hooks_away(pair: PlantedPair) -> None:
    """Layers behind the last site are not run, and no hook is left when the probe is closed."""
    base = base_model(pair.teacher)
    site = Site("encoder", 0, Point("query", Side.INPUT))
    with Probe(pair.teacher, base.architecture, [site], device="cpu") as probe:
        ran: list[str] = []
        model = probe._model
        handle = model.encoder.layer[1].register_forward_hook(lambda *_: ran.append("layer 1"))
        seen = probe.run(probe.encode(["Hello there.", "A longer text, with more words."]))
        handle.remove()
        assert list(seen) == [site]
        assert seen[site].shape[0] == 2
        assert seen[site].shape[2] == 12
        assert ran == []
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in model.modules())


def test_probe_gives_the_final_hidden_state(pair: PlantedPair) -> None:
    """At the final site it takes down what the model puts out."""
    base = base_model(pair.teacher)
    with Probe(pair.teacher, base.architecture, [Site("", None, FINAL)], device="cpu") as probe:
        encoded = probe.encode(["Hello there."])
        (found,) = probe.run(encoded).values()
    model = transformers.AutoModel.from_pretrained(pair.teacher).eval()
    with torch.no_grad():
        torch.testing.assert_close(found, model(**encoded.inputs).last_hidden_state)


def test_long_texts_are_cut_at_the_models_positions(pair: PlantedPair) -> None:
    """A text longer than the model has positions is run as far as they go."""
    base = base_model(pair.teacher)
    with Probe(pair.teacher, base.architecture, [Site("", None, FINAL)], device="cpu") as probe:
        encoded = probe.encode(["word " * 500])
        assert encoded.inputs["input_ids"].shape[1] <= 40
        assert len(probe.run(encoded)) == 1


def test_pool_takes_means_of_groups() -> None:
    """A match of several tokens is the mean of them, in the order of texts and matches."""
    activations = torch.arange(2 * 4 * 3, dtype=torch.float32).reshape(2, 4, 3)

    def matches(token: list[int], group: list[int], count: int) -> Matches:
        tokens, groups = np.array(token, dtype=np.int64), np.array(group, dtype=np.int64)
        single = np.arange(count, dtype=np.int64)
        return Matches(teacher_token=tokens, teacher_group=groups, student_token=single, student_group=single, count=count)

    both = [matches([0, 1, 3], [0, 0, 1], 2), matches([2], [0], 1)]
    found = pool(activations, both, teacher=True)
    expected = torch.stack([activations[0, :2].mean(dim=0), activations[0, 3], activations[1, 2]])
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(pool(activations, both[1:], teacher=False), activations[0, :1])


def test_batches_hold_every_text_once_and_sort_by_length() -> None:
    """Texts of similar length come together; none is lost or doubled."""
    texts = ["x" * length for length in np.random.default_rng(0).integers(1, 100, 700)]
    found = list(batches(iter(texts), size=32, window=4))
    assert sorted(text for batch in found for text in batch) == sorted(texts)
    assert max(len(batch) for batch in found) == 32
    assert all(batch == sorted(batch, key=len) for batch in found)


def test_save_base_keeps_the_tokenizer_fast(tmp_path: Path) -> None:
    """The tests' own base models come back with a fast tokenizer."""
    folder = save_base(tmp_path / "base", tiny_model(tiny_config("bert", vocab=300)))
    assert transformers.AutoTokenizer.from_pretrained(folder).is_fast
