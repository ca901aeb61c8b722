import pytest
import torch

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.physics.gaussian import ExtrapolatedField, FittedField, MaternField, SquaredExponentialField


def test_a_fit_recovers_the_field_it_was_drawn_from():
    grid = Grid(16, 16)
    truth = MaternField(std=0.5, length=0.3, exponent=2, color=0.6)
    x = truth.sample(Keys.of(0, "fit", range(4000)), grid) + 0.25
    fitted = FittedField.fit(x, grid)
    want, got = truth.spectrum(grid), fitted.spectrum(grid)
    assert ((got - want).abs() / want).median() < 0.05
    assert fitted.mean(grid).tolist() == pytest.approx([0.25] * 3, abs=0.05)
    fine = Grid(32, 32)  # extrapolated beyond the band: right to a factor
    ratio = fitted.spectrum(fine)[0, 0, 20:, 20:] / truth.spectrum(fine)[0, 0, 20:, 20:]
    assert float(ratio.min()) > 0.3 and float(ratio.max()) < 3
    torch.testing.assert_close(fitted.spectrum(fine)[..., :15, :15], got[..., :15, :15])


def test_a_supposed_law_goes_a_third_of_the_way_to_the_pictures_beyond_the_training():
    coarse, fine = Grid(8, 12), Grid(16, 24)
    law, truth = MaternField(std=0.5, length=0.2, exponent=1.3, color=0.5), MaternField(std=0.5, length=0.3, exponent=3)
    fitted = FittedField.fit(truth.sample(Keys.of(0, "fit", range(500)), coarse), coarse)
    field = ExtrapolatedField(law, fitted, cells=8)
    assert torch.equal(field.spectrum(coarse), law.spectrum(coarse))
    got, supposed, measured = (f.spectrum(fine) for f in (field, law, fitted))
    torch.testing.assert_close(got[..., :8, :12], supposed[..., :8, :12])
    power = [f.diagonal().sum(-1) for f in (got, supposed, measured)]
    for beyond in (slice(8, None), slice(None)), (slice(None), slice(12, None)):
        torch.testing.assert_close(power[0][beyond], (power[1] ** (2 / 3) * power[2] ** (1 / 3))[beyond])
        assert (power[0] < power[1])[beyond].all()  # the pictures are smoother
    torch.testing.assert_close(got / power[0], supposed / power[1])  # colours are the law's


@pytest.mark.parametrize(
    "law", [MaternField(padding=0.5), MaternField(basis="periodic"), SquaredExponentialField(length=1.0)]
)
def test_any_law_is_supposed(law):
    coarse, fine = Grid(8, 8), Grid(32, 32)
    fitted = FittedField.fit(MaternField().sample(Keys.of(0, "fit", range(100)), coarse), coarse)
    field = ExtrapolatedField(law, fitted, cells=8)
    assert torch.equal(field.spectrum(coarse), law.spectrum(coarse))
    got, supposed = field.spectrum(fine), law.spectrum(fine)
    assert got.isfinite().all() and (got.diagonal() >= 0).all() and not torch.equal(got, supposed)
    assert field.sample(Keys.of(0, "s", [0]), fine).shape == (1, 3, 32, 32)
