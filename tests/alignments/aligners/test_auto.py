"""`auto` takes the simplest aligner that explains planted spaces, and says why with figures."""

import numpy as np
import pytest

from modxfer.alignments.aligners.auto import choose, explain
from modxfer.alignments.aligners.evidence import Evidence, measure
from modxfer.alignments.alignment_map import SitePair
from modxfer.architectures import FINAL, Site
from tests.statistics_of import mixed, rotation, statistics_of


def evidence(student: np.ndarray, teacher: np.ndarray) -> Evidence:
    """Measure two sites."""
    return measure(statistics_of(student, teacher), ridge=0.1)


def teacher_and_noise(seed: int, units: int = 24) -> tuple[np.random.Generator, np.ndarray, np.ndarray]:
    """Draw a teacher's activations, and noise as large as half of them."""
    rng = np.random.default_rng(seed)
    return rng, mixed(rng, 1500, units), 0.5 * rng.standard_normal((1500, units))


def test_auto_takes_identity_where_coordinates_are_shared() -> None:
    """A noisy copy shares its coordinates."""
    _, teacher, noise = teacher_and_noise(0)
    assert choose([evidence(teacher + noise, teacher)]) == "identity"


def test_auto_takes_lsa_for_a_permutation() -> None:
    """A noisy permutation is explained one to one, also where the student is narrower."""
    rng, teacher, noise = teacher_and_noise(1)
    order = rng.permutation(24)
    assert choose([evidence((teacher + noise)[:, order], teacher)]) == "lsa"
    assert choose([evidence((teacher + noise)[:, order[:15]], teacher)]) == "lsa"
    assert choose([evidence((teacher + noise)[:, order], teacher[:, :15])]) == "lsa"


def test_auto_takes_linear_for_a_rotation() -> None:
    """A rotation is explained by a linear map and not one to one; the figures are in the reason."""
    rng, teacher, _ = teacher_and_noise(2)
    white = rng.standard_normal(teacher.shape)
    assert choose([evidence(white @ rotation(24, rng), white)]) == "linear"


def test_auto_judges_sites_of_one_space_together() -> None:
    """A site that is weak alone goes with the others of its space, and one of another width keeps identity out."""
    rng, teacher, noise = teacher_and_noise(3)
    copy, weak = evidence(teacher + 0.1 * noise, teacher), evidence(rng.standard_normal(teacher.shape), teacher)
    assert choose([copy, copy, copy, weak]) == "identity"
    assert choose([copy, copy, evidence((teacher + noise)[:, :20], teacher)]) == "lsa"


def test_identity_has_to_explain_as_much_as_a_permutation() -> None:
    """Half of the units in place and the others exchanged is a permutation, not shared coordinates."""
    _, teacher, _ = teacher_and_noise(5)
    order = np.concatenate([np.arange(12), np.roll(np.arange(12, 24), 1)])
    assert choose([evidence(teacher[:, order], teacher)]) == "lsa"


def test_explain_says_what_was_chosen_where_and_why() -> None:
    """Every aligner is named with the number of its pairs and the figures that decided, and one that was not chosen is not."""
    rng, teacher, noise = teacher_and_noise(3)
    white = rng.standard_normal(teacher.shape)
    pairs = [SitePair(Site("encoder", layer, FINAL), Site("encoder", layer, FINAL)) for layer in range(3)]
    found = [evidence(teacher + noise, teacher), evidence(teacher, teacher), evidence(white @ rotation(24, rng), white)]
    measured = dict(zip(pairs, found, strict=True))
    sentence = explain({pair: choose([item]) for pair, item in measured.items()}, measured)
    assert "`identity` at 2 of 3 pairs of sites: 100%" in sentence
    assert "`linear` at 1 of 3 pairs of sites: one-to-one partners explain only" in sentence
    assert "the best linear map 9" in sentence
    assert "`lsa`" not in sentence


@pytest.mark.parametrize("constant", [0.0, 3.0])
def test_auto_takes_constant_units(constant: float) -> None:
    """Constant units neither break the measure nor the choice."""
    rng, teacher, noise = teacher_and_noise(4)
    teacher[:, 4] = constant
    noise[:, 4] = 0
    assert choose([evidence((teacher + noise)[:, rng.permutation(24)], teacher)]) == "lsa"
