"""Where a model runs, and in which precision."""

from pathlib import Path

from modxfer.alignments.probe import choose_device
from modxfer.errors import UsageError
from modxfer.training.settings import Precision, TrainingSettings

_CPUINFO = Path("/proc/cpuinfo")


def training_device(settings: TrainingSettings) -> str:
    """Choose where to train and predict.

    Args:
        settings: The settings.

    Returns:
        "cpu", "cuda" or "mps".

    Raises:
        UsageError: the device that was asked for is not available here.
    """
    return choose_device(settings.device).partition(":")[0]


def usual_attention(device: str) -> str | None:
    """Choose the implementation of attention, where the user did not.

    Args:
        device: "auto", "cpu", "cuda" or "mps".

    Returns:
        "eager" on a CPU, where its backward pass is the fastest; None elsewhere, for what `transformers` takes.

    Raises:
        UsageError: the device is not available here.
    """
    return "eager" if choose_device(device) == "cpu" else None


def choose_precision(wish: Precision, device: str) -> Precision:
    """Choose the precision of the forward and backward passes; weights and optimiser are in fp32 in any case.

    Args:
        wish: What the user asked for; "auto" for what the device is fastest in.
        device: "cpu", "cuda" or "mps".

    Returns:
        "fp32", "bf16" or "fp16".

    Raises:
        UsageError: the device cannot do what was asked for.
    """
    import torch

    has_bf16 = device == "cpu" or (device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False))
    if wish == "auto":
        if device == "cuda":
            return "bf16" if has_bf16 else "fp16"
        return "bf16" if device == "cpu" and _has_amx() else "fp32"
    if (wish == "bf16" and not has_bf16) or (wish == "fp16" and device != "cuda"):
        raise UsageError(f"`--precision {wish}` does not go with the device `{device}` here.", do="Use `--precision auto`.")
    return wish


def _has_amx() -> bool:
    """Say whether the CPU multiplies bf16 matrices in hardware; without that, bf16 is slower than fp32."""
    try:
        lines = _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    return {"amx_tile", "amx_bf16"} <= set(flags)
