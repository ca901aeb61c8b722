import numpy as np
import pytest
import torch
from scipy.fft import dctn
from support.toy_operators import FIELD

from invkit.grid import Grid
from invkit.keys import Keys
from invkit.reconstruct.covariance import RIDGE, PictureLaw

GRID = Grid(4, 5, 2)


def draws(count: int, grid: Grid = GRID) -> torch.Tensor:
    """Draws that are rougher to the right, so that cosine modes are not independent."""
    return FIELD.sample(Keys.of(0, "draws", range(count)), grid) * torch.linspace(0, 2, grid.width)


def published(x: np.ndarray, groups: list[str]) -> tuple[np.ndarray, float]:
    """The shrunk covariance in cosine modes and its intensity, from one matrix for each group."""
    count, (c, h, w) = len(x), x.shape[1:]
    a = dctn(x - x.mean(0), axes=(2, 3), norm="ortho").reshape(count, -1)
    same = np.kron(np.ones((c, c)), np.eye(h * w)) > 0  # values of one mode
    s = a.T @ a / count
    variance = np.zeros_like(s)
    for name in set(groups):
        rows = a[[g == name for g in groups]]
        variance += (rows.T @ rows - len(rows) * s) ** 2 / count**2
    intensity = min(1.0, variance[~same].sum() / (s[~same] ** 2).sum())
    return np.where(same, s, (1 - intensity) * s), intensity


@pytest.mark.parametrize("size", [1, 3])
def test_against_the_published_formula(size):
    x = draws(60) + torch.linspace(0, 1, 5)  # a mean that is no constant
    groups = [f"photograph {i // size}" for i in range(60)]
    law = PictureLaw.fit(x, groups)
    want, intensity = published(x.double().numpy(), groups)
    assert law.intensity == pytest.approx(intensity, rel=1e-4)
    assert 0.05 < intensity < 1
    got = law.covariance.view(40, 2, 4, 5).numpy()
    got = dctn(dctn(got, axes=(2, 3), norm="ortho").reshape(40, 40).T.reshape(40, 2, 4, 5), axes=(2, 3), norm="ortho")
    np.testing.assert_allclose(got.reshape(40, 40), want + RIDGE * np.eye(40), atol=1e-5)
    torch.testing.assert_close(law.mean, x.double().mean(0).flatten())
    torch.testing.assert_close(law.root @ law.root.T, law.covariance)


def test_pictures_shown_four_times_say_no_more_than_once():
    x = draws(30)
    names = [str(i) for i in range(30)]
    once = PictureLaw.fit(x, names)
    often = PictureLaw.fit(x.repeat(4, 1, 1, 1), names * 4)
    assert often.intensity == pytest.approx(once.intensity, rel=1e-4)
    torch.testing.assert_close(often.covariance, once.covariance, rtol=0, atol=1e-6)
    forgotten = PictureLaw.fit(x.repeat(4, 1, 1, 1), [str(i) for i in range(120)])
    assert forgotten.intensity < 0.5 * once.intensity


def test_few_pictures_lean_on_the_field_and_many_need_none():
    grid = Grid(4, 4, 1)
    truth = torch.tensor(np.diag(1.0 / np.arange(1, 17))).float()  # not diagonal in the cosine modes
    z = Keys.of(0, "z", range(4_000)).normal("z", 16)
    x = (z @ truth.sqrt()).view(-1, *grid.picture)
    few, many = (PictureLaw.fit(x[:n], [str(i) for i in range(n)]) for n in (20, 4_000))
    assert few.intensity > 0.3
    assert many.intensity < 0.1
    torch.testing.assert_close(many.covariance.float(), truth, rtol=0, atol=0.06)
    plain = torch.cov(x[:20].view(20, -1).T, correction=0)
    assert (few.covariance.float() - truth).norm() < (plain - truth).norm()


def test_pictures_without_colour_have_a_covariance_with_an_inverse():
    x = draws(10, Grid(4, 4, 1)).expand(-1, 3, -1, -1)
    assert PictureLaw.fit(x, [str(i) for i in range(10)]).root.isfinite().all()
