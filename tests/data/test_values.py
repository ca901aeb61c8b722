"""Images of more than 8 bits, arrays, and grey images: their values and channels."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from support.image_files import encoded, names, picture, write
from support.messages import missing, raises

from invkit.core.errors import DataError
from invkit.core.grid import Grid
from invkit.data import catalogue, file_images
from invkit.data.images import ImageFiles
from invkit.recipe.recipe import load_recipe

RNG = np.random.default_rng(0)
DEEP = RNG.integers(0, 65536, (6, 12, 16), np.uint16)
FLOAT = RNG.normal(300.0, 40.0, (6, 12, 16)).astype(np.float32)  # say, kelvin


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def forms(images, tmp_path):
    """Data sets of the same images: files of all kinds that keep them, a zip, an npz and an npy of all."""
    kinds = {"npy": npy, "tif": lambda image: encoded(image, "TIFF")}
    if images.dtype == np.uint16:
        kinds["png"] = encoded
    for kind, encode in kinds.items():
        contents = {f"{i}.{kind}": encode(image) for i, image in enumerate(images)}
        yield write(tmp_path / kind, contents, False)
        yield write(tmp_path / f"z{kind}", contents, True)
    np.savez(tmp_path / "a.npz", images=images)
    np.save(tmp_path / "a.npy", images)
    yield from (str(tmp_path / "a.npz"), str(tmp_path / "a.npy"))


@pytest.mark.parametrize(("images", "span"), [(DEEP, None), (DEEP, (100.0, 4000.0)), (FLOAT, (200.0, 400.0))])
@pytest.mark.parametrize("kept", [True, False])
def test_values_are_those_of_the_file_in_the_units_of_the_range(tmp_path, monkeypatch, images, span, kept):
    monkeypatch.setattr(file_images, "IN_MEMORY", 1 << 30 if kept else 0)
    low, high = span or (0, 65535)
    expected = (images.astype(np.float64) - low) / (high - low) * 2 - 1
    for root in forms(images, tmp_path):
        data = ImageFiles(root=root, range=span, test_share=1.0)
        assert data.channels == 1 and data.span == span
        opened = data.open("test", Grid(12, 16, 1), 0)
        order = [int(name.partition(".")[0]) for name in names(opened)]
        assert sorted(order) == list(range(6))
        np.testing.assert_allclose(opened[range(6)][:, 0], expected[order], atol=1e-5)
        coarse = data.open("test", Grid(3, 4, 1), 0)[range(6)][:, 0]
        np.testing.assert_allclose(coarse, expected[order].reshape(6, 3, 4, 4, 4).mean((2, 4)), atol=1e-5)


def test_8_bits_are_as_they_were_and_a_range_stretches_them(tmp_path):
    root = write(tmp_path / "set", {f"{i}.png": encoded(picture(i)) for i in range(4)}, False)
    x = ImageFiles(root=root, test_share=1.0).open("test", Grid(8, 8), 0)
    assert x.pixels.dtype == np.uint8
    y = ImageFiles(root=root, test_share=1.0, range=(0.0, 510.0)).open("test", Grid(16, 16), 0)
    full = ImageFiles(root=root, test_share=1.0).open("test", Grid(16, 16), 0)
    torch.testing.assert_close(y[[0]], full[[0]] / 2 - 0.5)


@pytest.mark.parametrize(
    ("image", "said"), [(FLOAT[0], "data.range"), (FLOAT[0] * np.nan, "nan"), (FLOAT[0] - 400, "data.range")]
)
def test_floats_without_a_unit_are_refused(tmp_path, image, said):
    root = write(tmp_path / "set", {f"{i}.npy": npy(image + i) for i in range(4)}, False)
    with raises(DataError, "0.npy", "float32", said):
        ImageFiles(root=root, test_share=1.0).open("test", Grid(12, 16, 1), 0)
    shares = np.clip(image / 1000, 0, 1)
    if np.isfinite(shares).all():
        root = write(tmp_path / "shares", {f"{i}.npy": npy(shares) for i in range(4)}, False)
        np.testing.assert_allclose(
            ImageFiles(root=root, test_share=1.0).open("test", Grid(12, 16, 1), 0)[[0]][0, 0], shares * 2 - 1, atol=1e-6
        )


def test_values_that_are_not_finite_are_named(tmp_path):
    hole = FLOAT[0].copy()
    hole[3, 3] = np.nan
    contents = {f"{i}.npy": npy(image) for i, image in enumerate([hole, *FLOAT[1:]])}
    data = ImageFiles(root=write(tmp_path / "set", contents, False), range=(200.0, 400.0), test_share=1.0)
    opened = data.open("test", Grid(12, 16, 1), 0)
    assert len(opened) == 5 and not missing(" ".join(opened.notes), "0.npy", "not finite")


@pytest.mark.parametrize(("scale", "said"), [(1 / 16, True), (1.0, False)])
def test_a_range_that_does_not_fit_is_said(tmp_path, scale, said):
    """Images of 12 bits in files of 16 are almost black."""
    contents = {f"{i}.png": encoded((image * scale).astype(np.uint16)) for i, image in enumerate(DEEP)}
    opened = ImageFiles(root=write(tmp_path / "set", contents, False), test_share=1.0).open("test", Grid(12, 16, 1), 0)
    assert any("data.range" in note for note in opened.notes) == said


@pytest.mark.parametrize("kind", ["pixels", "bytes"])
def test_grey_stays_grey_unless_an_image_has_colours(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(catalogue, "LARGE", 10 if kind == "bytes" else 1 << 30)
    grey = {f"{i}.png": encoded(picture(i)[..., 0]) for i in range(4)}
    palette = io.BytesIO()
    Image.fromarray(picture(9)[..., 0]).convert("P").save(palette, "PNG")
    grey |= {"p.png": palette.getvalue(), "16.png": encoded(DEEP[0]), "1.png": encoded(picture(3)[..., 0] > 99)}
    root = write(tmp_path / "grey", grey, False)
    data = ImageFiles(root=root, test_share=0.3)
    assert data.channels == 1 and ImageFiles(root=root, mode="rgb").channels == 3
    x = data.open("train", Grid(12, 16, 1), 0)
    assert x[[0]].shape == (1, 1, 12, 16)
    three = ImageFiles(root=root, mode="rgb", test_share=0.3).open("train", Grid(12, 16), 0)
    torch.testing.assert_close(three[[0]], x[[0]].expand(1, 3, -1, -1))
    same = write(tmp_path / "same", {f"{i}.png": encoded(picture(i)[..., :1].repeat(3, 2)) for i in range(4)}, False)
    assert ImageFiles(root=same).channels == (1 if kind == "pixels" else 3)  # a header does not tell
    mixed = write(tmp_path / "mixed", grey | {"c.png": encoded(picture(5))}, True)
    assert ImageFiles(root=mixed).channels == 3
    luminance = ImageFiles(root=mixed, mode="grey", test_share=1.0).open("test", Grid(16, 16, 1), 0)
    at = names(luminance).index("c.png")
    expected = np.asarray(Image.fromarray(picture(5)).convert("L"))
    np.testing.assert_allclose((luminance[[at]][0, 0] + 1) * 127.5, expected, atol=1.01)


def test_a_run_keeps_its_channels_and_one_of_an_earlier_version_has_three(tmp_path):
    root = write(tmp_path / "grey", {f"{i}.png": encoded(picture(i)[..., 0]) for i in range(4)}, False)
    data = ImageFiles(root=root, test_share=0.5)
    record = data.record_split(0)
    (tmp_path / "grey" / "c.png").write_bytes(encoded(picture(8)))
    assert record["channels"] == 1 == data.with_split(record).channels and data.with_split(None).channels == 3
    assert data.with_split(None).open("test", Grid(8, 8), 0)[[0]].shape == (1, 3, 8, 8)
    assert ImageFiles(root=str(tmp_path / "gone")).channels == 3  # opening states the cause


def test_settings_that_contradict_each_other_are_refused(tmp_path):
    base = "degradation: sparse-random\ndata: {name: images, root: x, "
    for text, said in (("min_side: 9", "crops"), ("range: [3, 3]", "range"), ("mode: hsv", "rgb")):
        with raises(ValueError, said):
            (tmp_path / "r.yaml").write_text(f"{base}{text}}}")
            load_recipe(tmp_path / "r.yaml")
