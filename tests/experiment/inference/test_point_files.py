import io
import zipfile

import numpy as np
import pytest
import torch
from support.messages import missing, raises

from invkit.core.errors import DataError
from invkit.experiment.inference.point_files import read_points

GOOD = "x,y,r,g,b\n0.25,0.5,-1,0,1\n"


def test_csv(write):
    found = read_points(write("\ufeffX, y,R,g,b\n0.25,0.5,-1,0,1\n\n1,0,1e-1,.5,-0.5\n", "p.csv"), 3)
    at, values = found.coordinates, found.values
    assert found.columns == ("r", "g", "b") and found.notes == ()
    torch.testing.assert_close(at, torch.tensor([[0.25, 0.5], [1, 0]], dtype=torch.float64))
    torch.testing.assert_close(values, torch.tensor([[-1, 0, 1], [0.1, 0.5, -0.5]], dtype=torch.float64))
    for header, channels in (("x,y,grey", 1), ("x,y,gray", 1), ("x,y,c0", 1), ("x,y,c0,c1", 2), ("x,y,c0,c1,c2", 3)):
        text = f"{header}\n0,0{',0.5' * channels}\n"
        assert read_points(write(text, "p.csv"), channels).values.tolist() == [[0.5] * channels]


@pytest.mark.parametrize(
    ("text", "columns", "told"),
    [
        ("x;y;temperature\n0,25;0,5;-0,5\n1;0;0,75\n", ("temperature",), ("';'", "commas", "temperature")),
        ("x\ty\tTemp °C\n0.25\t0.5\t-0.5\n1\t0\t.75\n", ("Temp °C",), ("tabs", "Temp °C")),
        ("x;y;grey\n0.25;0.5;-0.5\n1;0;0.75\n", ("grey",), ("';'",)),
        ("t,y,x\n-0.5,0.5,0.25\n.75,0,1\n", ("t",), ("t",)),
    ],
)
def test_names_separators_and_decimal_commas(write, text, columns, told):
    found = read_points(write(text, "p.csv"), 1)
    assert found.coordinates.tolist() == [[0.25, 0.5], [1, 0]] and found.values.tolist() == [[-0.5], [0.75]]
    assert found.columns == columns
    assert not missing(" ".join(found.notes), *told)
    assert ("commas" in " ".join(found.notes)) == ("0,25" in text)


def test_the_order_of_channels(write):
    """Known names are put in order; others are channels in the order of the file."""
    found = read_points(write("x,y,b,r,g\n0,0,0.3,0.1,0.2\n", "p.csv"), 3)
    assert (
        found.values.tolist() == [pytest.approx([0.1, 0.2, 0.3])]
        and found.columns == ("r", "g", "b")
        and not found.notes
    )
    found = read_points(write("x,y,c1,c0\n0,0,0.3,0.1\n", "p.csv"), 2)
    assert found.values.tolist() == [pytest.approx([0.1, 0.3])]
    found = read_points(write("x,y,v,u\n0,0,0.3,0.1\n", "p.csv"), 2)
    assert found.values.tolist() == [pytest.approx([0.3, 0.1])] and found.columns == ("v", "u")
    assert not missing(found.notes[0], "v, u", 0, 1)


def test_the_range_of_values(write):
    path = write("x,y,grey\n0,0,0\n0,1,255\n1,1,127.5\n", "p.csv")
    assert read_points(path, 1, 0, 255).values.tolist() == [[-1.0], [1.0], [0.0]]


def saved(**arrays) -> bytes:
    data = io.BytesIO()
    np.savez(data, **arrays)
    return data.getvalue()


def test_npz(write):
    at, values = np.random.default_rng(0).random((5, 2), np.float32), np.arange(15, dtype=np.uint8).reshape(5, 3) * 17
    found = read_points(write(saved(coordinates=at, values=values), "p.npz"), 3, 0, 255)
    np.testing.assert_array_equal(found.coordinates, at.astype(float))
    np.testing.assert_allclose(found.values, values / 127.5 - 1, atol=1e-12)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ("bad.csv:1", "''", 3, "x,y,r,g,b", "x,y,c0,c1,c2")),
        ("0.1,0.2,1,1,1\n", ("bad.csv:1", "'0.1,0.2,1,1,1'")),
        ("x;y;r;g\n0;0;1;1\n", ("bad.csv:1", "'x,y,r,g'", 3)),
        ("x,x,y,r,g,b\n", ("bad.csv:1", "'x,x,y,r,g,b'")),
        ("a,b,r,g,b\n", ("bad.csv:1", "'a,b,r,g,b'")),
        ("x,y,t,T,u\n0,0,1,1,1\n", ("bad.csv:1", "'x,y,t,T,u'")),
        ("x;y;r;g;b\n0;0;1.000,5;1;1\n", ("bad.csv:2", "'1.000,5'")),
        ("x,y,grey\n0,0,1\n", ("bad.csv:1", "'x,y,grey'", 3)),
        ("x,y,r,g,b\n", ("bad.csv",)),
        (GOOD + "0.1,0.2,1,1\n", ("bad.csv:3", 4, 5)),
        (GOOD + "0.1,0.2,0,5,0,1,1\n", ("bad.csv:3", 7)),
        (GOOD + "\n0.1,0.2,red,1,1\n", ("bad.csv:4", "'red'")),
        (GOOD + "0.1,0.2,,1,1\n", ("bad.csv:3", "''")),
        (GOOD + "0.1,0.2,nan,1,1\n", ("bad.csv:3", "(nan, 1, 1)")),
        (GOOD + "0.1,0.2,1,inf,1\n", ("bad.csv:3", "(1, inf, 1)")),
        (GOOD + "1.1,0.2,1,1,1\n-1,0,1,1,1\n", ("bad.csv:3", "(1.1, 0.2)")),
        (GOOD + "nan,0.2,1,1,1\n", ("bad.csv:3", "(nan, 0.2)")),
        (GOOD + "0,0,255,1,1\n", ("bad.csv:3", "(255, 1, 1)", "[-1, 1]")),
        (GOOD + '0.1,"0.2,1,1,1\n', ("bad.csv",)),
        (b"\xff\xfe\x00x", ("bad.csv",)),
        (b"x,y,r,g,b\n0,0,1,1,\x001\n", ("bad.csv:2", "'\N{REPLACEMENT CHARACTER}1'")),
    ],
)
def test_a_csv_that_is_wrong(write, text, said):
    with raises(DataError, *said) as caught:
        read_points(write(text, "bad.csv"), 3)
    assert "\n" not in str(caught.value)


def test_how_many_more_are_wrong_is_said(write):
    with raises(DataError, "bad.csv:3", "(2, 0)", 2):
        read_points(write(GOOD + "2,0,1,1,1\n3,0,1,1,1\n0,0,1,1,1\n4,0,1,1,1\n", "bad.csv"), 3)


def objects() -> bytes:
    """An archive that a pickle would be loaded from."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        header = (
            b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '|O', 'fortran_order': False, 'shape': (1, 2), }".ljust(117) + b"\n"
        )
        archive.writestr("coordinates.npy", header + b"cos\nsystem\n")
    return data.getvalue()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"no archive", ()),
        (saved(points=np.zeros((3, 2))), ("points", "coordinates (N, 2)", "values (N, 3)")),
        (saved(coordinates=np.zeros((3, 2))), ("coordinates", "values (N, 3)")),
        (saved(coordinates=np.zeros((3, 3)), values=np.zeros((3, 3))), ("coordinates", "float64 (3, 3)")),
        (saved(coordinates=np.zeros((3, 2)), values=np.zeros((3, 1))), ("values", "float64 (3, 1)")),
        (saved(coordinates=np.zeros((3, 2)), values=np.zeros(3)), ("values", "float64 (3,)")),
        (saved(coordinates=np.zeros((3, 2)), values=np.zeros((2, 3))), ("3 coordinates", "2 values")),
        (saved(coordinates=np.zeros((0, 2)), values=np.zeros((0, 3))), ()),
        (saved(coordinates=np.zeros((2, 2)), values=np.full((2, 3), "a")), ("values", "<U1 (2, 3)")),
        (saved(coordinates=np.zeros((2, 2)), values=np.ones((2, 3), complex)), ("values", "complex128")),
        (saved(coordinates=np.array([[0, 0], [0, 2.0]]), values=np.zeros((2, 3))), ("point 1", "(0, 2)")),
        (objects(), ()),
    ],
)
def test_an_npz_that_is_wrong(write, data, said):
    with raises(DataError, "bad.npz", *said) as caught:
        read_points(write(data, "bad.npz"), 3)
    assert "\n" not in str(caught.value)


def test_what_is_no_file(tmp_path):
    for name in ("gone.csv", "gone.npz"):
        with raises(DataError, name):
            read_points(tmp_path / name, 3)
