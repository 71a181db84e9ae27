"""Running a base model over text and taking down the activations at chosen sites: the one file here that runs a model."""

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from modxfer.alignments.images import load_processor, read_images
from modxfer.alignments.patches import Patches
from modxfer.alignments.tokens import Matches, TokenSpans, encode_spans, require_fast
from modxfer.architectures import FINAL, Architecture, Side, Site
from modxfer.errors import AlignmentError, ArchitectureError, UsageError

if TYPE_CHECKING:
    import torch

MAX_TEXT_TOKENS = 256
"""Tokens of one text that are run, special tokens included; the rest of a longer text is passed over."""

TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")
"""Of which a base model's folder needs one."""


class _AllSeen(Exception):
    """Every site of a pass has been taken down: no error, it ends the pass, whose remaining layers nobody looks at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """A batch of texts, tokenised, or of images.

    Attributes:
        inputs: What the model takes, tensors of shape (texts, tokens), or (images, channels, height, width).
        spans: What each token covers, one a text or image: characters, or patches.
    """

    inputs: "Mapping[str, torch.Tensor]"
    spans: Sequence[TokenSpans | Patches]


class Probe:
    """One base model with hooks at chosen sites. Use it as a context, so that the hooks go away."""

    def __init__(self, folder: Path, architecture: Architecture, sites: Collection[Site], *, device: str) -> None:
        """Load the base model and its tokenizer (or what prepares its images), and hang the hooks.

        Args:
            folder: The base model's folder.
            architecture: Its structure.
            sites: Where to take activations down; the remaining layers are not run.
            device: Where to run, as torch names it.

        Raises:
            ArchitectureError: its weights lack a tensor, or a site's submodule is not there.
            AlignmentError: it has no fast tokenizer, or nothing that prepares its images.
        """
        self._name = architecture.name
        self._kind = architecture.family.kind
        self._sites = frozenset(sites)
        self._device = device
        self._processor = load_processor(folder, self._name) if self._kind.reads_images else None
        self._tokenizer = _load_tokenizer(folder, self._name) if self._kind.reads_text else None
        self._model = _load_model(folder, self._name, auto_class=architecture.family.auto_class).to(device)
        self._seen: dict[Site, torch.Tensor] = {}
        self._texts = 0
        self._handles = [
            self._hook(site, architecture.path(site), _rows(architecture, site)) for site in sorted(self._sites, key=str)
        ]

    def __enter__(self) -> "Probe":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for handle in self._handles:
            handle.remove()

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Tokenise a batch of texts, or prepare a batch of images.

        Args:
            texts: The texts; what lies behind the model's maximum length is cut off. For an encoder of images, their paths.

        Returns:
            Inputs and spans.

        Raises:
            CorpusError: an image cannot be read.
        """
        import torch

        if self._tokenizer is None:
            pixels, patches = read_images(texts, self._processor, self._model.config)
            return Encoded(inputs={"pixel_values": pixels.to(self._device)}, spans=patches)
        encoded = self._tokenizer(
            list(texts),
            padding=True,
            truncation=True,
            max_length=min(MAX_TEXT_TOKENS, self._tokenizer.model_max_length, _positions(self._model.config)),
            return_tensors="np",
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
            return_token_type_ids=False,  # DistilBERT takes none, and one text is all of the first type
        )
        offsets, special = encoded.pop("offset_mapping"), encoded.pop("special_tokens_mask")
        spans = [encode_spans(offsets[row], special[row], text) for row, text in enumerate(texts)]
        inputs = {key: torch.from_numpy(np.asarray(value)).to(self._device) for key, value in encoded.items()}
        if self._kind.has_decoder_inputs:  # the decoder reads the same text
            inputs |= {f"decoder_{key}": value for key, value in inputs.items()}
        return Encoded(inputs=inputs, spans=spans)

    def run(self, encoded: Encoded) -> "dict[Site, torch.Tensor]":
        """Run the base model as far as the last site.

        Args:
            encoded: A batch.

        Returns:
            Site to activations, shape (texts, tokens, units), in the model's own precision.

        Raises:
            AlignmentError: the model cannot be run on these tokens.
        """
        import torch

        self._seen = {}
        self._texts = len(next(iter(encoded.inputs.values())))
        try:
            with torch.inference_mode(), contextlib.suppress(_AllSeen):
                self._model(**encoded.inputs)
        except (IndexError, RuntimeError) as error:  # a token that the model does not have; no room on the device
            raise AlignmentError(
                f"Cannot run `{self._name}` on its own tokens: {_first_line(error)}.",
                do="Check that its tokenizer and its weights are of one model, or choose another `--device`.",
            ) from error
        seen, self._seen = self._seen, {}
        return seen

    def _hook(self, site: Site, path: str, rows: "torch.Tensor | None") -> Any:
        try:
            module = self._model.get_submodule(path)
        except AttributeError as error:
            raise ArchitectureError(
                f"`{self._name}` has no submodule `{path}`, where its family has `{site.point}`.",
                do="Correct the family's row in modxfer/architectures/families.",
            ) from error

        rows = rows if site.point.side is Side.OUTPUT else None

        def take(given: Any) -> None:
            activation = given if hasattr(given, "shape") else given[0]  # some give a tuple, or an object like one
            if activation.ndim == 2:  # OPT runs its FFN on all texts as one
                activation = activation.reshape(self._texts, -1, activation.shape[-1])
            own = activation if rows is None else activation[..., rows.to(activation.device)]
            self._seen.setdefault(site, own)  # DeBERTa runs some on its table of positions afterwards
            if len(self._seen) == len(self._sites):
                raise _AllSeen

        if site.point.side is Side.INPUT:
            return module.register_forward_pre_hook(lambda _, inputs: take(inputs[0]))
        return module.register_forward_hook(lambda _, __, output: take(output))


def _rows(architecture: Architecture, site: Site) -> "torch.Tensor | None":
    """Which units of a fused submodule's output are a site's; None for all."""
    import torch

    rows = None if site.point == FINAL else architecture.rows(site.stack, site.point.role)
    return None if rows is None else torch.from_numpy(rows)


def choose_device(name: str) -> str:
    """Choose where to run base models.

    Args:
        name: As torch names it, or "auto" for a GPU where there is one.

    Returns:
        The device, as torch names it.

    Raises:
        UsageError: it is not available here.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available.get(name.partition(":")[0], False):
        raise UsageError(f"The device `{name}` is not available here.", do="Use `--device auto` or `--device cpu`.")
    return name


def pool(activations: "torch.Tensor", matches: Sequence[Matches], *, teacher: bool) -> "torch.Tensor":
    """Pick the matched tokens of a batch, one row a match; a match of several tokens is their mean.

    Args:
        activations: Shape (texts, tokens, units).
        matches: The matches of each text.
        teacher: Whether these are the teacher's activations.

    Returns:
        Shape (matches, units).
    """
    import torch

    length = activations.shape[1]
    tokens = [item.teacher_token if teacher else item.student_token for item in matches]
    flat = activations.reshape(-1, activations.shape[-1])
    index = np.concatenate([row * length + token for row, token in enumerate(tokens)])
    rows = flat[torch.from_numpy(index).to(flat.device)]
    if all(item.is_one_to_one for item in matches):
        return rows
    groups = [item.teacher_group if teacher else item.student_group for item in matches]
    starts = np.cumsum([0, *(item.count for item in matches)])
    group = torch.from_numpy(np.concatenate([start + part for start, part in zip(starts, groups, strict=False)]))
    group = group.to(flat.device)
    sums = rows.new_zeros((int(starts[-1]), rows.shape[1])).index_add_(0, group, rows)
    return sums / torch.bincount(group, minlength=int(starts[-1]))[:, None]


def batches(texts: Iterator[str], *, size: int = 32, window: int = 8) -> Iterator[list[str]]:
    """Group texts into batches of similar length, so that little is spent on padding.

    Args:
        texts: The texts, in order.
        size: Texts in a batch.
        window: Batches that are sorted together.

    Yields:
        Batches; every text is in one of them.
    """
    held: list[str] = []
    for text in texts:
        held.append(text)
        if len(held) == size * window:
            yield from _sorted_batches(held, size)
            held = []
    yield from _sorted_batches(held, size)


def _sorted_batches(texts: list[str], size: int) -> Iterator[list[str]]:
    ordered = sorted(texts, key=len)
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]


def _load_tokenizer(folder: Path, name: str) -> Any:
    from transformers import AutoTokenizer

    if not any(True for pattern in TOKENIZER_FILES for _ in folder.glob(pattern)):
        raise AlignmentError(  # transformers 5 would make an empty one
            f"The tokenizer of `{name}` is not in `{folder}` ({', '.join(TOKENIZER_FILES)}).",
            do="Put its `tokenizer.json` there.",
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise AlignmentError(
            f"Cannot load the tokenizer of `{name}`: {_first_line(error)}.",
            do=f"Put its `tokenizer.json` into `{folder}`.",
        ) from error
    require_fast(tokenizer, name)
    tokenizer.padding_side = "right"  # a decoder's positions count from the first token
    if tokenizer.pad_token is None:  # many decoders have none; which token it is does not matter, it is masked
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(0)
    return tokenizer


def _load_model(folder: Path, name: str, *, auto_class: str) -> Any:
    import torch
    import transformers
    from safetensors import SafetensorError
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        model, report = getattr(transformers, auto_class).from_pretrained(
            str(folder), local_files_only=True, dtype=torch.float32, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ArchitectureError(
            f"Cannot load the weights of `{name}`: {_first_line(error)}.", do="Fetch the base model again."
        ) from error
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
    _check_complete(report, name)
    model.config.use_cache = False  # each text is read once
    return model.eval()


def _check_complete(report: Mapping[str, Any], name: str) -> None:
    """Refuse a base model of which transformers made up a tensor; a pooler does not matter here, and transformers does not miss
    a second name of a tensor.
    """
    lost = sorted(key for key in report["missing_keys"] if not key.startswith("pooler."))
    lost += [str(key) for key in report.get("mismatched_keys", ())]
    if lost:
        raise ArchitectureError(
            f"The weights of `{name}` lack {len(lost)} tensors, such as `{lost[0]}`.",
            do="Fetch the base model again; its config and its weights must be of one model.",
        )


def _positions(config: Any) -> int:
    """Tokens that the model has positions for; RoBERTa's table has two more rows than that."""
    positions = getattr(config, "max_position_embeddings", None)
    return MAX_TEXT_TOKENS if positions is None else max(int(positions) - 2, 1)


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
