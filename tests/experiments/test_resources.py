"""What a machine has, and how it is shared out."""

import os

import pytest

from modxfer.experiments.resources import available_bytes, choose_jobs, count_cores, list_gpus, worker_environment


def test_choose_jobs_is_what_was_asked_for_or_one_a_gpu() -> None:
    """The user's number goes first, then the GPUs."""
    assert choose_jobs(asked=5, weights_bytes=0, num_gpus=2) == 5
    assert choose_jobs(asked=None, weights_bytes=10**15, num_gpus=2) == 2


def test_choose_jobs_fits_cores_and_memory() -> None:
    """Tiny models are limited by cores, one larger than the memory still gets one process."""
    assert 1 <= choose_jobs(asked=None, weights_bytes=0, num_gpus=0) <= count_cores()
    assert choose_jobs(asked=None, weights_bytes=10**15, num_gpus=0) == 1


def test_available_bytes_is_less_than_the_machine_has() -> None:
    """And more than this process needs."""
    found = available_bytes()
    assert found is not None
    assert 10**7 < found <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_list_gpus_takes_those_that_are_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names in CUDA_VISIBLE_DEVICES stay what they are; other devices use none."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, GPU-7")
    assert list_gpus("cuda") == ("2", "GPU-7")
    assert list_gpus("cpu") == ()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert list_gpus("auto") == ()


def test_worker_environment_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was set has its value again, what was not set is not."""
    monkeypatch.setenv("OMP_NUM_THREADS", "9")
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)
    with worker_environment(threads=2):
        assert os.environ["OMP_NUM_THREADS"] == "2"
        assert os.environ["MALLOC_TRIM_THRESHOLD_"] == "4294967296"
    assert os.environ["OMP_NUM_THREADS"] == "9"
    assert "MALLOC_TRIM_THRESHOLD_" not in os.environ
