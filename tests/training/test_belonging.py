"""Whether a module belongs to a base model."""

import json
from pathlib import Path

import pytest

from modxfer.converters.formats import inspect_files
from modxfer.errors import UsageError
from modxfer.paths import home
from modxfer.registry.locate import locate_base
from modxfer.registry.store import Store
from modxfer.training.belonging import check_belongs
from tests import builders
from tests.hub.server import HubServer


@pytest.mark.parametrize(
    ("stated", "belongs"),
    [
        ("bert-base-tiny", True),
        ("google-bert/bert-base-tiny", True),
        ("acme/bert-base-tiny", False),
        ("bert-base-other", False),
    ],
)
def test_check_belongs_knows_old_names_without_an_owner(stated: str, belongs: bool, hub: HubServer, tmp_path: Path) -> None:
    """The Hub's first models got owners later, and modules still name them without; two owners are two base models."""
    config = builders.tiny_config("bert")
    builders.tiny_model(config).save_pretrained(tmp_path / "base")
    hub.add_repo(
        "google-bert/bert-base-tiny",
        {path.name: path.read_bytes() for path in (tmp_path / "base").iterdir()},
        repo_type="model",
    )
    builders.make_peft_module(tmp_path / "module", builders.tiny_model(config))
    path = tmp_path / "module" / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "base_model_name_or_path": stated}))
    base = locate_base("google-bert/bert-base-tiny", memory=Store(home()).hashes)
    files = inspect_files(tmp_path / "module")

    if belongs:
        check_belongs(files, base)
    else:
        with pytest.raises(UsageError, match=f"says that it belongs to `{stated}`, and the base model is `google-bert/"):
            check_belongs(files, base)


def test_check_belongs_passes_over_a_record_that_nobody_can_read(tmp_path: Path) -> None:
    """What lies beside a stranger's module under that name need not be modxfer's."""
    config = builders.tiny_config("bert")
    builders.tiny_model(config).save_pretrained(tmp_path / "base")
    builders.make_peft_module(tmp_path / "module", builders.tiny_model(config))
    base = locate_base(str(tmp_path / "base"), memory=Store(home()).hashes)
    for text in ("[" * 100_000, "7", "{"):
        (tmp_path / "module" / "transfer.json").write_text(text)
        check_belongs(inspect_files(tmp_path / "module"), base)
