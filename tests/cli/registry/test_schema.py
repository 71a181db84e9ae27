"""`modxfer registry schema`."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from modxfer.cli import app
from modxfer.registry.entries.schema import schemas


def test_schema_prints_one_schema() -> None:
    """On stdout, as JSON, with and without `--json`."""
    plain = CliRunner().invoke(app, ["registry", "schema", "module"])
    as_json = CliRunner().invoke(app, ["registry", "schema", "module", "--json"])

    assert (plain.exit_code, as_json.exit_code) == (0, 0)
    assert json.loads(plain.stdout) == json.loads(as_json.stdout) == schemas()["module"]


def test_schema_writes_all_into_a_registry(tmp_path: Path) -> None:
    """With `--output`, each kind has its file; another schema there is replaced with `--force` only."""
    result = CliRunner().invoke(app, ["registry", "schema", "--output", str(tmp_path), "--json"])

    assert result.exit_code == 0
    names = [f"{tmp_path}/schema/{kind}.json" for kind in ("module", "alignment", "aliases", "registry")]
    assert json.loads(result.stdout) == {"written": names}
    Path(names[0]).write_text("{}")
    refused = CliRunner().invoke(app, ["registry", "schema", "--output", str(tmp_path)])
    assert refused.exit_code == 1
    assert "module.json` exists, and is another schema" in refused.stderr
    forced = CliRunner().invoke(app, ["registry", "schema", "--output", str(tmp_path), "--force"])
    assert (forced.exit_code, forced.stdout.split()) == (0, names)


@pytest.mark.parametrize("kind", ["modules", "x" * 100])
def test_schema_knows_its_kinds(kind: str) -> None:
    """A kind that there is not is wrong usage."""
    result = CliRunner().invoke(app, ["registry", "schema", kind])

    assert result.exit_code == 2
    assert kind[:20] in result.stderr
