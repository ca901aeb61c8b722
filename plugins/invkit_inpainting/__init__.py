"""Inpainting: part of the image is hidden by boxes, strokes or a mask from a file."""

from collections.abc import Mapping

from invkit.api import Degradation, hookimpl
from invkit_inpainting.boxes import Box, Boxes
from invkit_inpainting.mask import MaskImage
from invkit_inpainting.strokes import Strokes

__all__ = ["Box", "Boxes", "MaskImage", "Strokes"]


@hookimpl
def invkit_degradations() -> Mapping[str, type[Degradation]]:
    return {"inpaint-box": Box, "inpaint-boxes": Boxes, "inpaint-strokes": Strokes, "inpaint-mask": MaskImage}
