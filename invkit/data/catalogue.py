"""What the images of a source contain: a digest to recognise each by, whether it is grey, and a thumbnail to compare."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from invkit.data.decoding import header
from invkit.data.sources import FileSource, Source, sift

Kind = Literal["pixels", "bytes"]  # what a digest is computed from
LARGE = 1 << 30  # bytes of a source whose images are not all decoded: parts of the files are hashed
BLOCK = 16 << 10  # bytes of such a part, of which a file has at most four
SIDE = 16  # of a thumbnail
FLAT = 0.02  # contrast of a thumbnail, as a share of white, below which it is not compared
UNLIKE = 0.06  # difference of two thumbnails, relative to their contrast, below which images are called near-identical


@dataclass(frozen=True, eq=False)
class Facts:
    """The content of one image."""

    digest: str
    grey: bool = False
    thumbnail: NDArray[np.float32] | None = None  # shares of white; None for tiny images


_KNOWN: dict[tuple[str, Kind], dict[tuple[str, str], Facts]] = {}  # by place and kind, then by name and stamp


def kind_of(*sources: Source) -> Kind:
    """How to digest the images of some sources: by their pixels, unless the files are too large to decode all of them."""
    large = sum(source.size for source in sources if isinstance(source, FileSource)) > LARGE
    return "bytes" if large else "pixels"


def catalogue(source: Source, kind: Kind, digests: Mapping[tuple[str, str], str] | None = None) -> dict[str, Facts]:
    """The facts of each image that can be read, by name; computed once per process for each name and stamp.

    Images whose name and stamp are in `digests` are not read again.
    """
    known = _KNOWN.get((str(source.path), kind), {})
    recorded = {key: Facts(digest) for key, digest in (digests or {}).items() if key[1]}
    facts = {key: known.get(key) or recorded.get(key) for key in source.stamps.items()}

    def work(name: str) -> Facts:
        if kind == "bytes" and isinstance(source, FileSource):
            grey = header(source.listing.open(name))[1]
            return Facts(_digest_of_parts(source.listing.open(name)), grey)
        return facts_of(source.pixels(name))

    for name, result in sift([name for (name, _), fact in facts.items() if fact is None], work):
        if isinstance(result, Facts):
            facts[name, source.stamps[name]] = result
    found = {key: fact for key, fact in facts.items() if fact is not None}
    _KNOWN[str(source.path), kind] = {key: fact for key, fact in found.items() if fact is not recorded.get(key)}
    return {name: fact for (name, _), fact in found.items()}


def facts_of(
    pixels: NDArray[Any],  # (h, w, C)
) -> Facts:
    """The facts of decoded pixels; an image of three equal channels is the same as a grey one."""
    grey = all(bool((part == part[..., :1]).all()) for part in (pixels[:1], pixels))  # the first row is fast
    pixels = np.ascontiguousarray(pixels[..., :1] if grey else pixels)
    digest = hashlib.sha256(f"{pixels.shape} {pixels.dtype}".encode())
    digest.update(pixels.data)
    return Facts(digest.hexdigest()[:32], grey, _thumbnail(pixels))


def _thumbnail(pixels: NDArray[Any]) -> NDArray[np.float32] | None:
    (h, w, channels), exact = pixels.shape, np.uint64 if pixels.dtype.kind in "bu" else np.float64
    if min(h, w) < SIDE:
        return None
    rows, columns = (np.arange(SIDE) * n // SIDE for n in (h, w))
    lines = np.add.reduceat(pixels.reshape(h, -1), rows, 0, exact).reshape(SIDE, w, channels)
    sums = np.add.reduceat(lines, columns, 1).mean(2)
    cells = np.diff(rows, append=h)[:, None] * np.diff(columns, append=w)
    white = np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else np.abs(pixels).max() or 1
    return (sums / (cells * white)).ravel().astype(np.float32)


def _digest_of_parts(file: BinaryIO) -> str:
    """A digest of the size of a file and of four parts of it, or of the whole of a small one."""
    with file:
        size = file.seek(0, 2)
        digest = hashlib.sha256(str(size).encode())
        starts = range(0, size, BLOCK) if size <= 4 * BLOCK else [(size - BLOCK) * i // 3 for i in range(4)]
        for start in starts:
            file.seek(start)
            digest.update(file.read(BLOCK))
    return digest.hexdigest()[:32]


def near_identical(train: Mapping[str, Facts], test: Mapping[str, Facts]) -> list[tuple[str, str]]:
    """Test images that look like a training image though they are not identical to one, each with that image."""
    digests = {fact.digest for fact in train.values()}
    names, small = _thumbnails(train)
    tests, wanted = _thumbnails({name: fact for name, fact in test.items() if fact.digest not in digests})
    pairs: list[tuple[str, str]] = []
    for first in range(0, len(tests) if names else 0, 256):
        part = wanted[first : first + 256]
        distance = np.square(part).sum(1)[:, None] + np.square(small).sum(1) - 2 * part @ small.T
        closest, contrast = distance.argmin(1), part.std(1)
        for i, j in enumerate(closest.tolist()):
            if contrast[i] > FLAT and np.square(part[i] - small[j]).mean() < (UNLIKE * contrast[i]) ** 2:
                pairs.append((tests[first + i], names[j]))
    return pairs


def _thumbnails(facts: Mapping[str, Facts]) -> tuple[list[str], NDArray[np.float32]]:
    kept = {name: fact.thumbnail for name, fact in facts.items() if fact.thumbnail is not None}
    return list(kept), np.array(list(kept.values()), np.float32).reshape(-1, SIDE**2)
