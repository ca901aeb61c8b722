"""How fast pictures are read: folder against zip, in process against ahead by two processes, and headers alone.

    python tests/benchmarks/data.py [pictures] [grid] [workers]

JPEG pictures of 500x375 pixels, about what ImageNet has, decoded and averaged to a square grid, 32 at a time. Files are in
the system's cache, so that a disk is not what is measured.
"""

import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from invkit.core.grid import Grid
from invkit.data import file_images as module
from invkit.data.images import ImageFiles
from invkit.data.loader import Feed, Key

BATCH = 32


def write(root: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    for i in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), np.uint8)).resize(
            (500, 375), Image.Resampling.BICUBIC
        )
        place = root / "set" / ("train" if i else "val") / f"n{i % 10:04d}" / f"{i}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        coarse.save(place, quality=90)
    with zipfile.ZipFile(root / "set.zip", "w") as archive:
        for place in sorted((root / "set").rglob("*.jpg")):
            archive.write(place, place.relative_to(root / "set"))


def main() -> None:
    torch.set_num_threads(1)
    count, side, workers = (int(a) for a in (*sys.argv[1:], *("400", "64", "2")[len(sys.argv) - 1 :]))
    module.IN_MEMORY = 0  # as of a data set that is too large for it
    grid, base = Grid(side, side), 0.0
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), count)
        print(f"{'source':<8}{'workers':>8}{'images/s':>10}{'x folder, 0':>13}")
        for source in ("set", "set.zip"):
            start = time.perf_counter()
            opened = ImageFiles(root=str(Path(folder) / source)).open("train", grid, 0)
            headers = len(opened) / (time.perf_counter() - start)
            for ahead in (0, workers):

                def plan(n: int = len(opened)) -> Iterator[Key]:
                    return ((grid, [j % n for j in range(i, i + BATCH)]) for i in range(0, 10**9, BATCH))

                feed = Feed({grid: opened}, torch.device("cpu"), ahead, plan)
                keys = plan()
                feed.take(*next(keys))  # the readers start
                start = time.perf_counter()
                for _ in range(count // BATCH):
                    feed.take(*next(keys))
                rate = count // BATCH * BATCH / (time.perf_counter() - start)
                feed.close()
                base = base or rate
                print(f"{source:<8}{ahead:>8}{rate:>10.0f}{rate / base:>13.2f}")
            print(f"{source:<8}{'opened':>8}{headers:>10.0f}  headers a second")


if __name__ == "__main__":
    main()
