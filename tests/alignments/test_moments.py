"""Streaming moments against NumPy in float64, merged in any order."""

import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modxfer.alignments.moments import Moments
from modxfer.alignments.statistics import PairStatistics
from modxfer.errors import AlignmentError

PAIRS = [("s", "t"), ("s", "s"), ("t", "t")]
STUDENT, TEACHER = 5, 7


def activations(rng: np.random.Generator, tokens: int, *, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Draw float32 activations of a student and a teacher that share information, with means of their own."""
    shared = rng.standard_normal((tokens, 4))
    student = shared @ rng.standard_normal((4, STUDENT)) + rng.standard_normal((tokens, STUDENT))
    teacher = shared @ rng.standard_normal((4, TEACHER)) + rng.standard_normal((tokens, TEACHER))
    means = rng.standard_normal(STUDENT) * scale, rng.standard_normal(TEACHER) * scale
    return (student + means[0]).astype(np.float32), (teacher + means[1]).astype(np.float32)


def feed(moments: Moments, student: np.ndarray, teacher: np.ndarray, cuts: list[int]) -> Moments:
    """Feed activations in pieces."""
    for start, stop in zip([0, *cuts], [*cuts, len(student)], strict=True):
        moments.update({"s": torch.from_numpy(student[start:stop]), "t": torch.from_numpy(teacher[start:stop])})
    return moments


def check(found: PairStatistics, student: np.ndarray, teacher: np.ndarray, *, rtol: float = 1e-5) -> None:
    """Hold statistics against NumPy in float64; `rtol` is relative to the units' deviations."""
    wide_s, wide_t = student.astype(np.float64), teacher.astype(np.float64)
    std_s, std_t = wide_s.std(axis=0), wide_t.std(axis=0)
    covariance = np.cov(wide_s.T, wide_t.T, bias=True)
    assert found.tokens == len(student)
    np.testing.assert_allclose(found.student_mean, wide_s.mean(axis=0), rtol=1e-9, atol=1e-7)
    np.testing.assert_allclose(found.teacher_mean, wide_t.mean(axis=0), rtol=1e-9, atol=1e-7)
    np.testing.assert_allclose(found.student_std, std_s, rtol=rtol)
    np.testing.assert_allclose(found.teacher_std, std_t, rtol=rtol)
    for block, rows, columns, expected in (
        (found.cross, std_s, std_t, covariance[:STUDENT, STUDENT:]),
        (found.student_covariance, std_s, std_s, covariance[:STUDENT, :STUDENT]),
        (found.teacher_covariance, std_t, std_t, covariance[STUDENT:, STUDENT:]),
    ):
        assert block is not None
        unit = rows[:, None] * columns[None, :]
        np.testing.assert_allclose(block / unit, expected / unit, atol=rtol)


@settings(max_examples=60)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=2, max_size=6),
    order=st.randoms(use_true_random=False),
    chunk=st.integers(1, 50),
    scale=st.sampled_from([0.0, 1.0, 100.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_moments_merged_in_any_order_equal_numpy(sizes, order, chunk, scale, seed) -> None:
    """However tokens are cut into parts, chunks and an order of merging, the moments are NumPy's."""
    student, teacher = activations(np.random.default_rng(seed), sum(sizes) + 2, scale=scale)
    cuts = np.cumsum(sizes)[:-1].tolist()
    parts = [
        feed(Moments(PAIRS, chunk_tokens=chunk), student[start:stop], teacher[start:stop], [])
        for start, stop in zip([0, *cuts], [*cuts, len(student)], strict=True)
    ]
    order.shuffle(parts)
    total = parts[0]
    for part in parts[1:]:
        total.merge(part)
    check(total.statistics("s", "t"), student, teacher)


def test_merge_leaves_the_other_as_it_was() -> None:
    """What is merged into another object can still be used, and merged again elsewhere."""
    rng = np.random.default_rng(1)
    (s1, t1), (s2, t2) = activations(rng, 30), activations(rng, 20)
    second = feed(Moments(PAIRS), s2, t2, [])
    first = feed(Moments(PAIRS), s1, t1, [])
    empty = Moments(PAIRS)
    empty.merge(second)
    empty.merge(first)
    first.merge(second)
    check(second.statistics("s", "t"), s2, t2)
    check(first.statistics("s", "t"), np.concatenate([s1, s2]), np.concatenate([t1, t2]))
    check(empty.statistics("s", "t"), np.concatenate([s1, s2]), np.concatenate([t1, t2]))


def test_huge_means_lose_no_digits() -> None:
    """Units at 10,000 +- 1 and at -3,000 +- 0.01 in float32 get their deviation and correlation."""
    rng = np.random.default_rng(2)
    student, teacher = activations(rng, 3000)
    student[:, 0] += 1e4
    teacher[:, 3] = (student[:, 1] * 0.01 - 3000).astype(np.float32)
    found = feed(Moments(PAIRS, chunk_tokens=256), student, teacher, list(range(100, 3000, 100))).statistics("s", "t")
    check(found, student, teacher)
    assert found.correlation()[1, 3] > 0.99


@pytest.mark.parametrize("value", [0.0, 0.1, 1e4 + 0.1, -3e7, 1e-30])
def test_constant_units_have_no_deviation(value: float) -> None:
    """A unit that never varies has deviation 0 and correlation 0, whatever its value, and nothing is NaN."""
    student, teacher = activations(np.random.default_rng(3), 500)
    student[:, 2] = value
    teacher[:, 4] = value
    found = feed(Moments(PAIRS, chunk_tokens=64), student, teacher, [100, 101, 350]).statistics("s", "t")
    correlation = found.correlation()
    assert found.student_std[2] == found.teacher_std[4] == 0
    assert not correlation[2].any()
    assert not correlation[:, 4].any()
    assert np.isfinite(correlation).all()
    assert np.count_nonzero(found.student_std) == STUDENT - 1


def test_units_with_a_decayed_gain_are_constant() -> None:
    """A unit whose deviation is 1e-33, as trained models have them, counts as constant and gives no NaN."""
    student, teacher = activations(np.random.default_rng(4), 300)
    student[:, 1] *= np.float32(1e-33)
    found = feed(Moments(PAIRS), student, teacher, []).statistics("s", "t")
    assert found.student_std[1] == 0
    assert np.isfinite(found.correlation()).all()


def test_one_token_has_no_deviation() -> None:
    """A single token gives its values as means and no deviation."""
    student, teacher = activations(np.random.default_rng(5), 1)
    found = feed(Moments(PAIRS), student, teacher, []).statistics("s", "t")
    np.testing.assert_allclose(found.student_mean, student[0], rtol=1e-6)
    assert not found.student_std.any()
    assert not found.correlation().any()


def test_float64_and_half_precision_are_taken() -> None:
    """float64 activations keep their digits, bfloat16 ones are added up in float32."""
    rng = np.random.default_rng(6)
    student, teacher = (part.astype(np.float64) for part in activations(rng, 400, scale=1e5))
    check(feed(Moments(PAIRS), student, teacher, [7]).statistics("s", "t"), student, teacher, rtol=1e-9)
    half = Moments([("s", "t")])
    half.update({"s": torch.from_numpy(student % 1).bfloat16(), "t": torch.from_numpy(teacher % 1).bfloat16()})
    rounded = torch.from_numpy(student % 1).bfloat16().double().numpy()
    np.testing.assert_allclose(half.statistics("s", "t").student_std, rounded.std(axis=0), rtol=1e-5)


def test_covariances_only_where_kept() -> None:
    """Without (site, site) among the pairs there is no covariance of that site."""
    student, teacher = activations(np.random.default_rng(7), 20)
    found = feed(Moments([("s", "t")]), student, teacher, []).statistics("s", "t")
    assert found.student_covariance is None
    assert found.teacher_covariance is None


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("site", ["s", "t"])
def test_activations_that_are_not_finite_are_refused(bad: float, site: str) -> None:
    """One NaN or infinity anywhere is an error that names the sites, not a map full of NaN."""
    student, teacher = activations(np.random.default_rng(8), 50)
    (student if site == "s" else teacher)[17, 3] = bad
    moments = feed(Moments(PAIRS, chunk_tokens=10), student, teacher, [20])
    with pytest.raises(AlignmentError, match=r"`s` or `t` are not finite"):
        moments.statistics("s", "t")


def test_no_token_is_refused() -> None:
    """Statistics of nothing are an error."""
    with pytest.raises(AlignmentError, match="No token"):
        Moments(PAIRS).statistics("s", "t")


def test_sites_of_one_batch_need_the_same_tokens() -> None:
    """Different numbers of tokens in one batch are refused with the numbers."""
    with pytest.raises(AlignmentError, match=r"\[3, 4\]"):
        Moments(PAIRS).update({"s": torch.zeros(3, 2), "t": torch.zeros(4, 2)})


def test_merge_needs_the_same_pairs() -> None:
    """Moments of other pairs are not merged."""
    with pytest.raises(AlignmentError, match="different pairs"):
        Moments(PAIRS).merge(Moments([("s", "t")]))


def test_memory_does_not_grow_with_tokens() -> None:
    """After a hundred times as many tokens no more rows are held than a chunk's, and no more memory."""
    rng = np.random.default_rng(9)

    def peak(batches: int) -> tuple[int, int]:
        moments, held = Moments(PAIRS, chunk_tokens=128), 0
        tracemalloc.start()
        for _ in range(batches):
            student, teacher = activations(rng, 50)
            feed(moments, student, teacher, [])
            held = max(held, sum(len(rows) for rows in moments._buffer.get("s", [])))
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert moments.tokens == 50 * batches
        return held, used

    (few, small), (many, large) = peak(6), peak(600)
    assert few == many < 128
    assert large < 1.5 * small + 20_000  # Python's own small objects
