"""What a conversion says to input that is unusual or wrong, from the command line to the files."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from typer.testing import Result

from modxfer.registry.locate import locate_base
from tests.builders import load_peft_module, make_peft_module, tiny_config, tiny_model
from tests.cli.conftest import VOCABULARY, World, save_base, save_module, save_tokenizer

Call = Callable[..., Result]
FEW = ("--tokens", 300)


def change_config(folder: Path, **changes: Any) -> None:
    """Write other values into a config."""
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def copy(folder: Path, to: Path, **changes: Any) -> Path:
    """Copy a base model, with some values of its config changed."""
    shutil.copytree(folder, to)
    change_config(to, **changes)
    return to


def record_of(done: Result) -> Any:
    """Give what was recorded of a conversion that was done."""
    assert done.exit_code == 0, done.stderr
    return json.loads(Path(done.stdout.strip(), "transfer.json").read_text())


@pytest.fixture(scope="module")
def inferred(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Save a small StableLM, which the table lacks, with its tokenizer, and a LoRA on it."""
    root = tmp_path_factory.mktemp("inferred")
    config = transformers.AutoConfig.for_model(
        "stablelm",
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=20,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=40,
    )
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config)
    model.save_pretrained(root / "tiny-stablelm")
    save_tokenizer(root / "tiny-stablelm")
    make_peft_module(root / "made", model, target_modules=["q_proj", "gate_proj"])
    path = root / "made" / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "base_model_name_or_path": str(root / "tiny-stablelm")}))
    return root / "tiny-stablelm", root / "made"


def test_an_inferred_family_is_said_to_be(inferred: tuple[Path, Path], call: Call) -> None:
    """A module of a family that the table lacks is aligned and moved, and record, summary and `inspect` say how it was read."""
    base, module = inferred
    done = call("convert", module, "--to", base, *FEW)
    said = "`tiny-stablelm` is of the family `stablelm`, which is not in the table: its roles were read off"
    assert sum(warning.startswith(said) for warning in record_of(done)["warnings"]) == 1
    assert "not in the table" in " ".join(done.stderr.split())
    load_peft_module(Path(done.stdout.strip()), transformers.AutoModelForCausalLM.from_pretrained(base))
    assert "not in the table" in " ".join(call("inspect", base).stdout.split())
    assert json.loads(call("inspect", base, "--json").stdout)["inferred"] is True


def test_an_encoder_does_not_become_a_decoder(world: World, inferred: tuple[Path, Path], call: Call) -> None:
    """A LoRA of a BERT is refused on a decoder, and the two kinds are named."""
    done = call("convert", world.module, "--to", inferred[0], *FEW)
    assert done.exit_code == 1
    said = " ".join(done.stderr.split())
    assert "is of the kind encoder, and the student `tiny-stablelm` (stablelm) of the kind decoder." in said


def test_roles_that_a_student_lacks_are_listed_or_left_out(world: World, call: Call, tmp_path: Path) -> None:
    """BERT's pooler has no place in DistilBERT: refused with the flag that leaves it out, and recorded if it is given."""
    student = save_base(tmp_path / "distil", "distilbert", layers=2)
    module = save_module(
        tmp_path / "made",
        world.teacher,
        tiny_config("bert", vocab=VOCABULARY, layers=4),
        target_modules=["query", "pooler.dense"],
    )
    config = module / "adapter_config.json"
    if "pooler" not in (module / "adapter_model.safetensors").read_bytes().decode("latin-1"):  # TOKEN_CLS has none
        model = tiny_model(tiny_config("bert", vocab=VOCABULARY, layers=4), task="SEQ_CLS")
        make_peft_module(module, model, task_type="SEQ_CLS", target_modules=["query", "pooler.dense"])
        config.write_text(json.dumps({**json.loads(config.read_text()), "base_model_name_or_path": str(world.teacher)}))
    refused = call("convert", module, "--to", student, "--head", "drop", *FEW)
    assert refused.exit_code == 1
    assert "lacks: pooler (1 of 5 pieces)." in " ".join(refused.stderr.split())
    assert "`--drop-missing`" in refused.stderr
    done = call("convert", module, "--to", student, "--head", "drop", "--drop-missing", *FEW)
    assert "pooler: distilbert has no such submodule; pieces left behind: 1" in record_of(done)["dropped"]
    assert call("align", "compute", module, "--to", student, *FEW).exit_code == 0


def embeddings_module(folder: Path, base: Path) -> Path:
    """Save a LoRA on the token embeddings of a BERT."""
    make_peft_module(folder, transformers.AutoModel.from_pretrained(base), target_modules=["word_embeddings", "query"])
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "base_model_name_or_path": str(base)}))
    return folder


def test_identity_is_not_stated_of_two_vocabularies(world: World, call: Call, tmp_path: Path) -> None:
    """Of equal size and with other tokens they are refused, the same ones are not, and what leaves them alone is not asked."""
    module = embeddings_module(tmp_path / "made", world.teacher)
    same, other = copy(world.twin, tmp_path / "same"), copy(world.twin, tmp_path / "other")
    for folder in (same, other):
        shutil.copy(world.teacher / "tokenizer.json", folder)
    assert call("convert", module, "--to", same, "--align", "identity", "--output", "same").exit_code == 0
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    first, second = sorted(vocabulary)[-2:]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    refused = call("convert", module, "--to", other, "--align", "identity", "--output", "other")
    assert refused.exit_code == 1
    assert f"differ at 2 of {VOCABULARY} ids" in " ".join(refused.stderr.split())
    plain = call("convert", world.module, "--to", other, "--align", "identity", "--output", "plain")
    assert plain.exit_code == 0, plain.stderr
    moved = call("convert", module, "--to", other, "--align", "lsa", "--output", "moved", *FEW)
    assert moved.exit_code == 0, moved.stderr


def test_vocabularies_without_tokenizers_are_not_compared(world: World, call: Call, tmp_path: Path) -> None:
    """Where there is nothing to compare that is said."""
    module = embeddings_module(tmp_path / "made", world.teacher)
    bare = copy(world.twin, tmp_path / "bare")
    for path in [*bare.glob("tokenizer*"), *bare.glob("vocab*"), *bare.glob("special*")]:
        path.unlink()
    done = call("convert", module, "--to", bare, "--align", "identity")
    assert any(text.startswith("The two vocabularies could not be compared") for text in record_of(done)["warnings"])


@pytest.mark.parametrize("side", ["teacher", "student"])
@pytest.mark.parametrize("method", ["gptq", "awq", "bitsandbytes"])
def test_a_quantised_base_is_not_aligned(world: World, call: Call, tmp_path: Path, method: str, side: str) -> None:
    """Nothing is measured on packed weights, and the floating original is named where the config tells it."""
    quantised = copy(
        world.twin if side == "student" else world.teacher,
        tmp_path / "packed",
        quantization_config={"quant_method": method, "bits": 4},
        _name_or_path="acme/original",
    )
    to, teacher = (quantised, world.teacher) if side == "student" else (world.twin, quantised)
    refused = call("convert", world.module, "--to", to, "--from", teacher, *FEW)
    assert refused.exit_code == 1
    said = " ".join(refused.stderr.split())
    assert f"`packed` are quantised ({method})" in said
    assert "made from, `acme/original`, in its place" in said
    assert call("convert", world.module, "--to", to, "--from", teacher, "--align", "identity").exit_code == 0


def test_a_map_of_the_original_serves_a_quantised_base(world: World, call: Call, tmp_path: Path) -> None:
    """A stored map moves a module to a quantised base, with a warning that nothing vouches for the two being one model."""
    assert call("align", "compute", world.module, "--to", world.twin, "--output", "map", *FEW).exit_code == 0
    packed = copy(world.twin, tmp_path / "packed", quantization_config={"quant_method": "gptq"})
    done = call("convert", world.module, "--to", packed, "--alignment", "map")
    said = "The student is quantised, so it could not be checked against the alignment map."
    assert said in record_of(done)["warnings"]


def test_a_gguf_file_is_no_weights(world: World, call: Call, tmp_path: Path) -> None:
    """A folder with a GGUF alone says so, and one without any weights too."""
    bare = copy(world.twin, tmp_path / "bare")
    (bare / "model.safetensors").unlink()
    none = call("convert", world.module, "--to", bare, *FEW)
    (bare / "model-q4.gguf").write_bytes(b"GGUF")
    gguf = call("convert", world.module, "--to", bare, *FEW)
    assert (none.exit_code, gguf.exit_code) == (1, 1)
    assert "holds no weights" in " ".join(none.stderr.split())
    assert "only a GGUF file" not in none.stderr
    assert "only a GGUF file. Name the base model that it was made from." in " ".join(gguf.stderr.split())


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"num_attention_heads": 5}, "num_attention_heads=5 does not divide the 12 units of its queries"),
        ({"hidden_size": 18, "num_attention_heads": 3}, "Cannot load the weights of `odd`"),
    ],
)
def test_a_config_that_contradicts_itself_or_the_weights_is_named(
    world: World, call: Call, tmp_path: Path, changes: dict[str, Any], found: str
) -> None:
    """Sizes that no model can have, and sizes that the weights do not have."""
    done = call("convert", world.module, "--to", copy(world.twin, tmp_path / "odd", **changes), *FEW)
    assert done.exit_code == 1
    assert found in " ".join(done.stderr.split())


def test_a_tokenizer_with_new_tokens_is_warned_of(world: World, call: Call, tmp_path: Path) -> None:
    """A module that lies beside an enlarged tokenizer was trained with tokens that the base model lacks."""
    module = tmp_path / "made"
    shutil.copytree(world.module, module)
    (module / "added_tokens.json").write_text(json.dumps({"<new>": VOCABULARY + 1}))
    done = call("convert", module, "--to", world.twin, "--align", "identity")
    said = f"The tokenizer beside the module has {VOCABULARY + 2} tokens, and its base model `tiny-teacher` {VOCABULARY}"
    assert any(text.startswith(said) for text in record_of(done)["warnings"])
    (module / "added_tokens.json").write_text(json.dumps({"<known>": VOCABULARY - 1}))
    done = call("convert", module, "--to", world.twin, "--align", "identity", "--output", "again")
    assert not any("tokenizer beside" in text for text in record_of(done)["warnings"])


def test_quantisation_is_what_the_config_says(world: World, tmp_path: Path) -> None:
    """A config with the section is quantised, even if it does not say how; others are not."""
    packed = copy(world.twin, tmp_path / "packed", quantization_config={"bits": 4})
    assert locate_base(str(packed), memory=tmp_path).quantisation == "quantised"
    assert locate_base(str(world.twin), memory=tmp_path).quantisation == ""
