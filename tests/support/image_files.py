"""Image files, valid and broken."""

import io
import zipfile

import numpy as np
from PIL import Image


def picture(i, shape=(16, 16)):
    return np.random.default_rng(i).integers(0, 256, (*shape, 3), np.uint8)


def encoded(pixels, form="PNG", **options):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, form, **options)
    return stream.getvalue()


def write(path, contents, as_zip):
    if as_zip:
        with zipfile.ZipFile(path.with_suffix(".zip"), "w") as archive:
            for name, data in contents.items():
                archive.writestr(name, data)
        return str(path.with_suffix(".zip"))
    for name, data in contents.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return str(path)


def names(images):
    return [images.group(i) for i in range(len(images))]


def broken():
    good = encoded(picture(0, (64, 64)), "JPEG")
    return {
        "cut.jpg": good[: len(good) // 2],
        "empty.png": b"",
        "text.png": b"not a picture",
        "small.png": encoded(picture(1, (7, 30))),
        "float.tif": encoded(np.full((16, 16), 7.5, np.float32), "TIFF"),
        "other.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 50 50\n%%EndComments\n",
    }
