"""Pictures of pages of the built site, wide and narrow, light and dark: to look at.

python docs/make_screenshots.py docs/_build/html OUT [PAGE.html ...]
"""

import subprocess
import sys
from pathlib import Path

PAGES = ("index.html", "tutorials/scattered_sensors.html", "reference/recipe.html")
SIZES = {"wide": "1200,1000", "narrow": "390,1400"}


def shoot(page: Path, size: str, file: Path) -> None:
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size={size}"]
    subprocess.run(
        ["chromium", *options, f"--screenshot={file}", page.resolve().as_uri()],
        check=True,
        capture_output=True,
        timeout=120,
    )


if __name__ == "__main__":
    site, out, *pages = sys.argv[1:]
    Path(out).mkdir(parents=True, exist_ok=True)
    for page in pages or PAGES:
        for label, size in SIZES.items():
            shoot(Path(site, page), size, Path(out, f"{page.replace('/', '_').removesuffix('.html')}_{label}.png"))
