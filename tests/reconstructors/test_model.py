from functools import partial

import pytest
import torch
from support.models import build, observe

from invkit.core.keys import Keys
from invkit.diffusion import Sample
from invkit.reconstructors import METHODS, Sources


@pytest.mark.parametrize("fill", ["gaussian", "zero"])
def test_the_untrained_row_is_a_new_model_without_its_network(fill):
    _, m = observe(3)
    trained, new, settings = build(fill, perturb=0.05), build(fill), Sample(steps=3)
    row = METHODS["untrained"]().build(Sources(trained, settings))
    assert torch.equal(row.mean(m), new.mean(m)) and row.nfe("sample") == settings.calls
    found, expected = (
        work(m, Keys.of(0, "s", range(3)), 2) for work in (row.sample, partial(new.sample, settings=settings))
    )
    assert torch.equal(found, expected)
    assert not torch.equal(trained.mean(m), new.mean(m))
