import math

import numpy as np
import pytest
import torch
from scipy import stats
from support.messages import raises

from invkit.core.keys import Keys, _log, _sqrt


def test_a_draw_depends_on_the_item_not_on_the_batch():
    whole, part = Keys.of(3, "p", range(10)), Keys.of(3, "p", [7, 2])
    torch.testing.assert_close(whole.normal("a", 4, 5)[[7, 2]], part.normal("a", 4, 5), rtol=0, atol=0)
    assert torch.equal(whole.permutation("b", 50)[[7, 2]], part.permutation("b", 50))
    assert torch.equal(
        whole.fork(3).uniform("c", 2).view(3, 10, 2)[:, 7], part.fork(3).uniform("c", 2).view(3, 2, 2)[:, 0]
    )


@pytest.mark.parametrize(("size", "copies"), [(1, [1, 1, 1, 1, 1]), (4, [2, 2, 1]), (99, [5])])
def test_chunks_are_a_fork_in_parts(size, copies):
    keys = Keys.of(0, "chunks", range(2))
    chunks = list(keys.chunks(5, size))
    assert [count for count, _ in chunks] == copies
    assert torch.equal(torch.cat([own.state for _, own in chunks]), keys.fork(5).state)


@pytest.mark.parametrize(
    "other", [Keys.of(4, "p", [1]), Keys.of(3, "q", [1]), Keys.of(3, "p", [2]), Keys.of(3, "p", [1]).child("x")]
)
def test_seed_purpose_item_and_child_each_change_the_draw(other):
    assert not torch.equal(Keys.of(3, "p", [1]).uniform("a", 8), other.uniform("a", 8))


def test_a_label_is_used_once():
    keys = Keys.of(0, "p", [1])
    keys.uniform("a")
    with raises(ValueError, "'a'"):
        keys.normal("a", 3)


def test_draws_have_their_laws():
    keys = Keys.of(0, "law", range(4))
    normal = keys.normal("n", 50_000).double()
    for row in normal:
        assert stats.kstest(row.numpy(), "norm").pvalue > 1e-3
    assert abs(torch.corrcoef(normal) - torch.eye(4)).max() < 0.02
    assert abs(float((normal[:, ::2] * normal[:, 1::2]).mean())) < 0.01  # the two normals of one word
    uniform = keys.uniform("u", 50_000).double()
    assert stats.kstest(uniform[0].numpy(), "uniform").pvalue > 1e-3
    counts = torch.bincount(keys.integers("i", 7, 20_000).flatten(), minlength=7)
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3


def test_permutation_is_one_and_uniform():
    order = Keys.of(1, "perm", range(6000)).permutation("p", 5)
    assert torch.equal(order.sort(1).values, torch.arange(5).expand(6000, 5))
    counts = torch.stack([torch.bincount(order[:, i], minlength=5) for i in range(5)])
    assert stats.chisquare(counts.flatten().numpy()).pvalue > 1e-3


def test_a_longer_normal_draw_begins_with_the_shorter():
    short, long = (Keys.of(0, "p", [5]).normal("z", n) for n in (7, 100))
    assert torch.equal(short, long[:, :7])


def test_the_logarithm_is_accurate():
    x = torch.logspace(-9.6, 0, 10_001)
    torch.testing.assert_close(_log(x), x.double().log().float(), rtol=3e-7, atol=2e-7)


def test_roots_are_exactly_rounded():
    x = Keys.of(0, "root", [0]).uniform("u", 100_000)[0] * 50
    assert torch.equal(_sqrt(x), torch.from_numpy(np.sqrt(x.numpy())))


KNOWN_PERMUTATION = [[0, 1, 3, 4, 5, 6, 2, 7], [6, 5, 7, 0, 4, 2, 1, 3]]
KNOWN_NORMAL = [0.676692, -0.969845, -0.756892, -2.152795, 0.31963, 0.30638]


def test_known_values():
    """The generator is part of what masks are published with: it may never drift."""
    keys = Keys.of(0, "known", [0, 1])
    assert keys.permutation("p", 8).tolist() == KNOWN_PERMUTATION
    assert [round(v, 6) for v in keys.normal("n", 3).flatten().tolist()] == KNOWN_NORMAL


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_same_bits_on_cuda():
    for device in ("cpu", "cuda"):
        keys = Keys.of(0, "d", range(5), device)
        draws = [keys.normal("n", 1001), keys.uniform("u", 1001), keys.permutation("p", 1001)]
        if device == "cpu":
            first = draws
    assert all(torch.equal(a, b.cpu()) for a, b in zip(first, draws, strict=True))
    assert math.isfinite(float(draws[0].abs().max()))
