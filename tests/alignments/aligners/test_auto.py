"""`auto` takes the simplest aligner that explains planted spaces, and says why with figures."""

import numpy as np
import pytest

from modxfer.alignments.aligners.auto import choose
from modxfer.alignments.aligners.evidence import Evidence, measure
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
    choice = choose([evidence(teacher + noise, teacher)])
    assert choice.aligner == "identity"
    assert "100%" in choice.reason


def test_auto_takes_lsa_for_a_permutation() -> None:
    """A noisy permutation is explained one to one, also where the student is narrower."""
    rng, teacher, noise = teacher_and_noise(1)
    order = rng.permutation(24)
    assert choose([evidence((teacher + noise)[:, order], teacher)]).aligner == "lsa"
    assert choose([evidence((teacher + noise)[:, order[:15]], teacher)]).aligner == "lsa"
    assert choose([evidence((teacher + noise)[:, order], teacher[:, :15])]).aligner == "lsa"


def test_auto_takes_linear_for_a_rotation() -> None:
    """A rotation is explained by a linear map and not one to one; the figures are in the reason."""
    rng, teacher, _ = teacher_and_noise(2)
    white = rng.standard_normal(teacher.shape)
    choice = choose([evidence(white @ rotation(24, rng), white)])
    assert choice.aligner == "linear"
    assert "best linear map 9" in choice.reason


def test_auto_looks_at_all_sites_together() -> None:
    """One site of other width, or one rotated among permuted ones, is weighed with the others."""
    rng, teacher, noise = teacher_and_noise(3)
    same, permuted = teacher + noise, (teacher + noise)[:, rng.permutation(24)]
    assert choose([evidence(same, teacher), evidence(same[:, :20], teacher)]).aligner == "lsa"
    assert choose([evidence(same, teacher), evidence(permuted, teacher), evidence(permuted, teacher)]).aligner == "lsa"


@pytest.mark.parametrize("constant", [0.0, 3.0])
def test_auto_takes_constant_units(constant: float) -> None:
    """Constant units neither break the measure nor the choice."""
    rng, teacher, noise = teacher_and_noise(4)
    teacher[:, 4] = constant
    noise[:, 4] = 0
    assert choose([evidence((teacher + noise)[:, rng.permutation(24)], teacher)]).aligner == "lsa"
