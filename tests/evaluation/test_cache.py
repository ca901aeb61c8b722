import json
import random
import sys
from pathlib import Path

import pytest
import torch
from support.evaluations import Draws, Exact, Flat, table_of
from support.messages import warns
from support.worlds import in_world

from invkit.core.distributed import ALONE, World
from invkit.evaluation import cache as partial
from invkit.evaluation.cache import BatchResults, ResultCache, concatenated, gaps, pack, unpack
from invkit.evaluation.evaluator import Evaluation


class Killed(BaseException):
    """Nothing tidies up after it but what tidies up after a signal."""


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ResultCache:
    monkeypatch.setattr(partial, "EVERY", 0.0)
    monkeypatch.setattr(partial, "SHARE", 1e9)  # every batch is written
    made = ResultCache(tmp_path / "partial", "ours")
    made.open()
    return made


def evaluate(
    shelf: ResultCache | None,
    stop_at: int | None = None,
    source: Draws | None = None,
    world: World = ALONE,
    **settings: int,
) -> Evaluation:
    """A table of 20 pictures; killed where `stop_at` methods have done their share of a batch."""
    heard: list[int] = []

    def progress(done: int, total: int) -> None:
        heard.append(done)
        if len(heard) == stop_at:
            raise Killed

    chosen = {"images": 20, "samples": 3, "batch": 3, "save": 20, **settings}
    return table_of(Flat(), Exact(), source=source, progress=progress, cache=shelf, world=world, **chosen)


def written(result: Evaluation, folder: Path) -> dict[str, bytes]:
    result.write(folder)
    return {p.name: p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != "cost.json"}


@pytest.mark.parametrize("lossy", [False, True])
def test_interrupted_at_ten_moments_it_ends_in_the_same_bytes(shelf, tmp_path, lossy, monkeypatch):
    """In the middle of a batch, or after it; where half of the kills leave no time to write, more is done again."""
    rng, flush = random.Random(0), ResultCache.flush
    undisturbed = written(evaluate(None, batch=1), tmp_path / "undisturbed")
    if lossy:
        monkeypatch.setattr(ResultCache, "flush", lambda self: flush(self) if rng.random() < 0.5 else None)
    for _ in range(10):
        with pytest.raises(Killed):
            evaluate(shelf, stop_at=rng.randrange(2, 5), batch=1)
    assert written(evaluate(shelf, batch=1), tmp_path / "gone-on") == undisturbed


def test_what_is_done_is_not_done_again(shelf):
    with pytest.raises(Killed):
        evaluate(shelf, stop_at=10)
    done = sum(part.count for part in shelf.within("coins-16x16").read())
    assert 6 <= done <= 12
    images = Draws()
    evaluate(shelf, source=images)
    assert images.asked[: 20 - done] == list(range(done, 20))
    again = Draws()
    evaluate(shelf, source=again)
    assert again.asked == []


def test_another_batch_goes_on_too(shelf):
    with pytest.raises(Killed):
        evaluate(shelf, stop_at=8)
    assert evaluate(shelf, batch=7).table == evaluate(None).table


def test_fewer_or_more_pictures_go_on_too(shelf):
    with pytest.raises(Killed):
        evaluate(shelf, stop_at=10)
    assert evaluate(shelf, images=7).table == evaluate(None, images=7).table
    assert evaluate(shelf, images=24).table == evaluate(None, images=24).table


@pytest.mark.skipif(sys.platform != "linux", reason="forks processes")
def test_what_several_processes_had_goes_on_in_any_number_of_them(shelf):
    def stopped(world: World) -> int:
        with pytest.raises(Killed):
            evaluate(shelf, stop_at=4, world=world)  # in its second batch
        return world.rank

    def whole(world: World) -> str:
        return json.dumps(evaluate(shelf, world=world).table)

    assert in_world(3, stopped) == [0, 1, 2]
    assert [(part.first, part.count) for part in shelf.within("coins-16x16").read()] == [(0, 3), (9, 3), (15, 3)]
    expected = evaluate(None).table
    assert {*in_world(2, whole)} == {json.dumps(expected)}
    shelf.remove()
    assert in_world(3, stopped) == [0, 1, 2]
    assert evaluate(shelf).table == expected


@pytest.mark.parametrize("damage", [b"", b"shorter", "flip"])
def test_a_damaged_part_is_said_removed_and_done_again(shelf, damage):
    with pytest.raises(Killed):
        evaluate(shelf, stop_at=10)
    place = shelf.within("coins-16x16")
    before, file = len(place.read()), min(place.folder.glob("*.safetensors"))
    data = file.read_bytes()
    file.write_bytes(bytes([*data[:-1], data[-1] ^ 1]) if damage == "flip" else damage)
    with warns(file):
        assert len(place.read()) == before - 1
    assert not file.exists()
    assert evaluate(shelf).table == evaluate(None).table


@pytest.mark.parametrize("stamp", ['{"fingerprint": "theirs"}', "{", None])
def test_what_belongs_to_others_is_said_and_left_out(shelf, stamp):
    with pytest.raises(Killed):
        evaluate(shelf, stop_at=10)
    file = shelf.folder / "fingerprint.json"
    file.write_text(stamp) if stamp else file.unlink()
    with warns(shelf.folder):
        shelf.open()
    assert shelf.within("coins-16x16").read() == []
    assert json.loads(file.read_text()) == {"fingerprint": "ours"}
    shelf.open()  # and now it is known


def test_pictures_that_two_files_hold_count_once(shelf):
    place = shelf.within("x")
    for first, count in ((0, 2), (1, 2), (2, 2)):
        place.add(BatchResults(first, count, [], {"a": torch.full((count,), float(first))}))
    assert [(part.first, part.count) for part in place.read()] == [(0, 2), (2, 2)]


def test_writing_takes_a_small_share_of_the_time(tmp_path, monkeypatch):
    """A disk on which every write takes two seconds: once in ten seconds would be a fifth of the time."""
    now, writes = [0.0], []

    def write(*_):
        now[0] += 2
        writes.append(now[0])

    monkeypatch.setattr(partial.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(partial, "write_atomic", write)
    shelf = ResultCache(tmp_path, "ours")
    for i in range(1000):
        now[0] += 1
        shelf.add(BatchResults(i, 1, [], {}))
    assert writes[0] == 12 and 2 * len(writes) <= 0.03 * now[0] + 2


def test_parts_travel_bit_for_bit():
    tensors = {"kept/a": torch.tensor([[True], [False]]), "rows/0/x/y": torch.tensor([torch.nan, torch.inf]).double()}
    facts = [{"reasons": {"x": "ü"}, "timings": [[0.1, 2]], "memory": None}]
    [first, second] = unpack(
        pack([BatchResults(0, 2, facts, tensors), BatchResults(5, 1, [], {"kept/a": torch.ones(1, 1).bool()})])
    )
    assert (first.first, first.count, first.facts, second.first) == (0, 2, facts, 5)
    assert torch.equal(first.tensors["rows/0/x/y"].view(torch.int64), tensors["rows/0/x/y"].view(torch.int64))
    assert concatenated([first, second], "kept/")["a"].flatten().tolist() == [True, False, True]


def test_gaps_and_what_is_covered_are_all_pictures_once():
    rng = random.Random(1)
    for _ in range(200):
        count, at, covered = rng.randrange(1, 30), 0, []
        while (at := at + rng.randrange(4)) < count:
            covered.append((at, min(rng.randrange(1, 5), count - at)))
            at += covered[-1][1]
        found = gaps(covered, count, rng.randrange(1, 6))
        spans = sorted([*found, *((first, first + length) for first, length in covered)])
        assert [i for first, last in spans for i in range(first, last)] == list(range(count))


def test_tensors_that_share_memory_are_kept():
    x = torch.arange(6.0).view(2, 3)
    [batch] = unpack(pack([BatchResults(0, 2, [], {"truth": x, "y": x, "column": x[:, 1]})]))
    assert torch.equal(batch.tensors["y"], x) and torch.equal(batch.tensors["column"], x[:, 1])
