"""`modxfer env`."""

from typing import Any

from modxfer.cli import options
from modxfer.cli.errors import reporting

PACKAGES = (
    "torch", "transformers", "peft", "adapters", "huggingface-hub", "safetensors", "tokenizers", "numpy", "scipy",
    "datasets", "accelerate", "seqeval", "pyarrow", "matplotlib", "typer", "rich",
)  # fmt: skip


def env(json: options.JsonOption = False, quiet: options.QuietOption = False, debug: options.DebugOption = False) -> None:
    """Say what modxfer runs on: versions, devices, the store. For reports of bugs."""
    with reporting(json=json, quiet=quiet, debug=debug) as out:
        from modxfer.cli.tables import facts

        values = collect()
        packages = {name: found or "not installed" for name, found in values["packages"].items()}
        store = values["store"]
        lines = {
            "modxfer": values["modxfer"] or "not installed",
            "python": values["python"],
            "platform": values["platform"],
            **packages,
            "world": values["world"],
            "devices": "\n".join(values["devices"]),
            "store": f"{store['path']}\n{store['alignments']} alignment maps, {store['size']}",
        }
        out.result(values, facts(lines))


def collect() -> dict[str, Any]:
    """Gather what `modxfer env` prints; what is absent is None, and nothing fails.

    Returns:
        JSON values; no part of the environment's variables but the store's place.
    """
    import platform

    return {
        "modxfer": _version("modxfer"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "world": "adapters" if _version("adapters") else "current (no `adapters`)",
        "devices": _devices(),
        "store": _store(),
    }


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _devices() -> list[str]:
    import os

    cpu = f"cpu ({os.cpu_count()} cores)"
    try:
        import torch

        gpus = [f"cuda:{index} ({torch.cuda.get_device_name(index)})" for index in range(torch.cuda.device_count())]
        return [*gpus, *(["mps"] if torch.backends.mps.is_available() else []), cpu]
    except (ImportError, OSError, RuntimeError, AssertionError) as error:  # torch absent, or broken in some way
        return [cpu, f"torch cannot be used: {type(error).__name__}"]


def _store() -> dict[str, Any]:
    import contextlib

    from modxfer.cli.output import human_size
    from modxfer.paths import home

    root, size_bytes = home(), 0
    for path in root.rglob("*"):
        with contextlib.suppress(OSError):
            size_bytes += path.lstat().st_size if path.is_file() else 0
    maps = sum(1 for path in root.glob("alignments/[0-9a-f]*") if path.is_dir())
    return {"path": str(root), "alignments": maps, "size_bytes": size_bytes, "size": human_size(size_bytes)}
