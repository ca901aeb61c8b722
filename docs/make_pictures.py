"""Draws an example of every installed degradation into `docs/reference/pictures/NAME.png`.

python docs/make_pictures.py [NAME ...]
"""

import json
import sys
from pathlib import Path

from PIL import Image

from invkit.core.errors import PluginError
from invkit.experiment.preview import save_preview
from invkit.plugins.loader import registry
from invkit.recipe.resolve import plain
from invkit.testing.examples import bases

FOLDER = Path(__file__).parent / "reference" / "pictures"
PARTS = {  # of degradations that consist of others
    "compose": [{"name": "blur-gaussian", "width": 0.03}, {"name": "sparse-random", "fraction": 0.3}],
    "mixture": [{"name": "sparse-random", "fraction": 0.3}, {"name": "inpaint-box", "side": 0.4}],
}


def draw(name: str) -> None:
    """One row of the example image of `invkit plugins show`, at half its size and with 64 colours."""
    found = registry()
    settings = {"of": PARTS[name]} if name in PARTS else plain(bases(found.get("degradation", name))[0], found)
    file = save_preview(
        found, name, [f"{key}={json.dumps(value)}" for key, value in settings.items()], FOLDER / f"{name}.png"
    )
    with Image.open(file) as sheet:
        row = sheet.convert("RGB").crop((0, 0, sheet.width, 44 + (sheet.height - 44) // 2))
    # The factor of the enlargement is even, so that each pixel stays a square.
    title = row.crop((0, 0, row.width, 28))
    body = row.crop((0, 44, row.width, row.height))
    body = body.resize((body.width // 2, body.height // 2), Image.Resampling.NEAREST)
    small = Image.new("RGB", (body.width, 22 + body.height), "white")
    step = 264  # of the columns of the sheet
    for left in range(0, row.width - 8, step):
        small.paste(title.crop((left, 4, left + step // 2 - 2, 26)), (left // 2, 0))
    small.paste(body, (0, 22))
    small.quantize(64).save(file, optimize=True)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name in sys.argv[1:] or registry().names("degradation"):
        try:
            draw(name)
        except PluginError as error:  # a library that is not installed
            print(f"{name}: {error}", file=sys.stderr)
