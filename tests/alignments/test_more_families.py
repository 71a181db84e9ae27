"""Alignments of later families: tokens or patches of a planted pair are matched, and `lsa` finds the planted permutation."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from modxfer.alignments.alignment_map import AlignmentMap
from modxfer.alignments.compute import compute_alignment
from modxfer.alignments.corpus import open_corpus
from modxfer.alignments.layer_maps import LayerMap
from modxfer.alignments.patches import Patches, match_patches
from modxfer.alignments.probe import Probe
from modxfer.alignments.request import AlignmentRequest, RouteUse
from modxfer.architectures import FINAL, Point, Route, Side, Site
from modxfer.errors import AlignmentError, CorpusError
from tests.planted import base_model, save_base, small_text, tiny_tokenizer
from tests.planting import Planted, architecture_of, make, plant, tiny

SEED = 0


def save_pair(folder: Path, model_type: str, **changes: Any) -> Planted:
    """Save a teacher and its planted student, with the tokenizer of the other tests."""
    config = tiny(model_type, vocab_size=len(tiny_tokenizer()), **changes)
    auto_class = getattr(transformers, architecture_of(config).family.auto_class)
    teacher = make(config, auto_class, seed=SEED, dtype=torch.float32)
    planted = plant(teacher, architecture_of(config))
    for name, model in (("teacher", teacher), ("student", planted.student)):
        save_base(folder / name, model)
    return planted


def save_images(folder: Path, count: int) -> Path:
    """Save images of noise, whose patches all differ."""
    folder.mkdir()
    rng = np.random.default_rng(SEED)
    for index in range(count):
        pixels = rng.integers(0, 256, (14, 17, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index:03}.{'png' if index % 2 else 'jpg'}")
    return folder


def align(folder: Path, corpus: Path, roles: dict[str, Sequence[str]], *, tokens: int = 400) -> AlignmentMap:
    """Align the first layers at the ends of some roles of each stack, and the final hidden state."""
    uses = [
        RouteUse(
            route=Route(reads=Point(role, Side.INPUT), writes=Point(role, Side.OUTPUT)), reads=True, writes=True, updates=True
        )
        for role in {role for found in roles.values() for role in found}
    ]
    head = RouteUse(route=Route(reads=FINAL, writes=FINAL), reads=True, writes=True, updates=False)
    layers = LayerMap(mode="explicit", feeds=dict.fromkeys(roles, (((0, 1.0),),)))
    return compute_alignment(
        AlignmentRequest.of(layers, inside=uses, outside=[head]),
        teacher=base_model(folder / "teacher"),
        student=base_model(folder / "student"),
        corpus=open_corpus(str(corpus)),
        tokens=tokens,
        aligner="lsa",
    )


def check_recovered(found: AlignmentMap, planted: Planted, *, sites: int) -> None:
    """Hold every assignment against the planted one."""
    assert len(found.maps) == sites
    for pair, site_map in found.maps.items():
        np.testing.assert_array_equal(site_map.assignment, planted.units[pair.student], err_msg=str(pair))


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """Write a small corpus."""
    (tmp_path / "text.txt").write_text(small_text(), encoding="utf-8")
    return tmp_path / "text.txt"


@pytest.mark.parametrize(
    ("model_type", "changes", "roles", "matching", "sites"),
    [
        ("modernbert", {}, {"encoder": ["query", "value", "ffn_up", "ffn_gate"]}, "spans", 7),
        ("deberta-v2", {}, {"encoder": ["query", "attention_output", "ffn_down"]}, "spans", 7),
        (
            "t5",
            {"feed_forward_proj": "gated-gelu"},
            {"encoder": ["query", "ffn_gate"], "decoder": ["query", "cross_query", "cross_key", "ffn_gate"]},
            "ends",
            13,
        ),
        ("bart", {"decoder_ffn_dim": 44}, {"encoder": ["value"], "decoder": ["value", "cross_value", "ffn_up"]}, "ends", 11),
        ("t5", {"architectures": ["T5EncoderModel"]}, {"encoder": ["key", "ffn_up"]}, "spans", 5),
    ],
)
def test_lsa_recovers_the_permutation(
    model_type: str,
    changes: dict[str, Any],
    roles: dict[str, Sequence[str]],
    matching: str,
    sites: int,
    text: Path,
    tmp_path: Path,
) -> None:
    """At every site, in both stacks where there are two, every student unit gets the teacher unit that it was."""
    planted = save_pair(tmp_path, model_type, **changes)
    found = align(tmp_path, text, roles)
    assert found.corpus.matching == matching
    check_recovered(found, planted, sites=sites)


def test_lsa_recovers_the_permutation_of_an_image_encoder(tmp_path: Path) -> None:
    """Over a folder of images, patches and the first token are matched, and the permutation is found."""
    planted = save_pair(tmp_path, "vit")
    for name in ("teacher", "student"):
        transformers.ViTImageProcessor(size={"height": 12, "width": 12}).save_pretrained(tmp_path / name)
    found = align(tmp_path, save_images(tmp_path / "images", 30), {"encoder": ["query", "value", "ffn_up"]}, tokens=250)
    assert (found.corpus.matching, found.corpus.tokens) == ("patches", 250)
    check_recovered(found, planted, sites=6)


def test_decoder_reads_what_its_encoder_reads(tmp_path: Path) -> None:
    """An encoder-decoder gets each text twice, with its padding; a token of the decoder has not read what comes after it."""
    save_pair(tmp_path, "t5")
    base = base_model(tmp_path / "teacher")
    encoder, decoder = (Site(stack, 1, Point("query", Side.INPUT)) for stack in ("encoder", "decoder"))
    with Probe(base.folder, base.architecture, [encoder, decoder], device="cpu") as probe:
        encoded = probe.encode(["Water boils here.", "A longer text with other words in it."])
        inputs = encoded.inputs
        assert set(inputs) == {"input_ids", "attention_mask", "decoder_input_ids", "decoder_attention_mask"}
        assert torch.equal(inputs["input_ids"], inputs["decoder_input_ids"])
        assert torch.equal(inputs["attention_mask"], inputs["decoder_attention_mask"])
        assert not inputs["attention_mask"].all()
        seen = probe.run(encoded)
        assert set(seen) == {encoder, decoder}


def test_corpus_has_to_be_what_the_base_models_read(text: Path, tmp_path: Path) -> None:
    """Text is refused for encoders of images, images for encoders of text, and both for CLIP with its two encoders."""
    for name in ("vit", "clip", "bert"):
        (tmp_path / name).mkdir()
        folder = tmp_path / name
        config = tiny(name)
        for base in ("teacher", "student"):
            config.save_pretrained(folder / base)
    images = save_images(tmp_path / "images", 2)
    with pytest.raises(CorpusError, match=r"text\.txt` holds text, and `teacher` reads images"):
        align(tmp_path / "vit", text, {"encoder": ["query"]})
    with pytest.raises(CorpusError, match="images` holds images, and `teacher` reads text"):
        align(tmp_path / "bert", images, {"encoder": ["query"]})
    with pytest.raises(AlignmentError, match="`teacher` is an encoder of text and of images"):
        align(tmp_path / "clip", images, {"vision": ["query"]})


def test_encoder_is_not_aligned_with_an_encoder_decoder(text: Path, tmp_path: Path) -> None:
    """Base models of different kinds are refused with both kinds."""
    tiny("bert").save_pretrained(tmp_path / "teacher")
    tiny("bart").save_pretrained(tmp_path / "student")
    with pytest.raises(
        AlignmentError, match=r"`teacher` \(bert\) is of the kind encoder, and .*`student` \(bart\) of the kind encoder-decoder"
    ):
        align(tmp_path, text, {"encoder": ["query"]})


def test_damaged_images_and_missing_processors_are_named(tmp_path: Path) -> None:
    """A file that is no image, and a base model without what prepares its images, are refused by name."""
    save_pair(tmp_path, "vit")
    images = save_images(tmp_path / "images", 2)
    with pytest.raises(AlignmentError, match="image processor of `teacher`"):
        align(tmp_path, images, {"encoder": ["query"]})
    for name in ("teacher", "student"):
        transformers.ViTImageProcessor(size={"height": 12, "width": 12}).save_pretrained(tmp_path / name)
    (images / "000.jpg").write_bytes(b"no image")
    with pytest.raises(CorpusError, match=r"000\.jpg"):
        align(tmp_path, images, {"encoder": ["query"]})


def test_match_patches_of_equal_grids() -> None:
    """The same grid is matched patch by patch, and special tokens that only one of the two has are left out."""
    found = match_patches(Patches(rows=2, columns=3, special=2), Patches(rows=2, columns=3, special=1))
    np.testing.assert_array_equal(found.teacher_token, [0, 2, 3, 4, 5, 6, 7])
    np.testing.assert_array_equal(found.student_token, range(7))
    assert found.is_one_to_one


def test_match_patches_by_centres() -> None:
    """Each patch of the student is matched with the teacher's that covers its centre, whichever grid is the finer one."""
    coarse, fine = Patches(rows=2, columns=2, special=1), Patches(rows=4, columns=3, special=1)
    found = match_patches(coarse, fine)
    np.testing.assert_array_equal(found.student_token, range(13))
    np.testing.assert_array_equal(found.teacher_token, [0, 1, 2, 2, 1, 2, 2, 3, 4, 4, 3, 4, 4])
    back = match_patches(fine, coarse)
    np.testing.assert_array_equal(back.teacher_token, [0, 4, 6, 10, 12])
