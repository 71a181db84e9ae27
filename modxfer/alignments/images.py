"""Images of a corpus, prepared as a base model wants them."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modxfer.alignments.patches import Patches
from modxfer.errors import AlignmentError, CorpusError

if TYPE_CHECKING:
    import torch

PROCESSOR_FILE = "preprocessor_config.json"


def load_processor(folder: Path, name: str) -> Any:
    """Load what prepares the images of a base model.

    Args:
        folder: The base model's folder.
        name: What it is called, for messages.

    Returns:
        The image processor of `transformers`.

    Raises:
        AlignmentError: it cannot be loaded, or Pillow is not installed.
    """
    if find_spec("PIL") is None:
        raise AlignmentError("Images need Pillow, which is not installed.", do="Run `pip install 'modxfer[images]'`.")
    from transformers import AutoImageProcessor

    try:
        return AutoImageProcessor.from_pretrained(str(folder), local_files_only=True, use_fast=False)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise AlignmentError(
            f"Cannot load the image processor of `{name}`: {str(error).strip().partition(chr(10))[0].rstrip('.')}.",
            do=f"Put its `{PROCESSOR_FILE}` into `{folder}`.",
        ) from error


def read_images(paths: Sequence[str], processor: Any, config: Any) -> "tuple[torch.Tensor, list[Patches]]":
    """Read a batch of images, and say how the base model cuts them.

    Args:
        paths: Their files.
        processor: What prepares them.
        config: The base model's config in `transformers`.

    Returns:
        Pixels, shape (images, channels, height, width), and the patches of each image.

    Raises:
        CorpusError: a file is no image.
    """
    from PIL import Image, UnidentifiedImageError

    images = []
    for path in paths:
        try:
            with Image.open(path) as image:
                images.append(image.convert("RGB"))
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
            raise CorpusError(f"Cannot read the image `{path}`: {error}.", do="Take it out of the corpus.") from error
    pixels: torch.Tensor = processor(images=images, return_tensors="pt")["pixel_values"]
    rows, columns = (size // config.patch_size for size in pixels.shape[-2:])
    return pixels, [Patches(rows=rows, columns=columns, special=1)] * len(images)
