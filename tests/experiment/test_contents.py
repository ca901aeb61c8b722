"""A run knows its files by content: what has changed is said, and refused or made anew."""

import json
import warnings

import numpy as np
import pytest
import yaml
from PIL import Image
from support import runs
from support.image_files import encoded, picture, write
from support.messages import missing, raises

import invkit
from invkit.core.errors import DataError, RecipeError
from invkit.core.grid import Grid
from invkit.core.settings import named_paths
from invkit.experiment.run import evaluate, run
from invkit.experiment.run_folder import RunFolder
from invkit.recipe.recipe import load_recipe


def mask(path, seed):
    Image.fromarray((np.random.default_rng(seed).random((16, 16)) < 0.5) * np.uint8(255)).save(path)


@pytest.fixture
def own(tmp_path):
    """A recipe of own images and an own mask."""
    write(tmp_path / "pics", {f"{i}.png": encoded(picture(i, (20, 20))) for i in range(20)}, False)
    mask(tmp_path / "mask.png", 0)
    text = runs.TINY.replace("{name: photos}", "{name: images, root: pics, test_share: 0.3}")
    (tmp_path / "r.yaml").write_text(text.replace("{name: sparse-random}", "{name: inpaint-mask, file: mask.png}"))
    return tmp_path / "r.yaml"


def psnr(table):
    return {row["method"] + row["readout"]: row["metrics"]["psnr"]["value"] for row in table["rows"]}


def test_another_mask_behind_the_same_path_is_noticed(own, tmp_path):
    folder = runs.go(own, "train.steps=3")
    before = evaluate(folder)
    checkpoints = sorted((folder / "checkpoints").iterdir())
    mask(tmp_path / "mask.png", 1)
    for overrides in ((), ("train.steps=6",)):
        with raises(DataError, "degradation.file", "mask.png", "has changed", "--fresh"):
            runs.go(own, *overrides)
    assert sorted((folder / "checkpoints").iterdir()) == checkpoints
    listener = runs.Heard()
    with pytest.warns(UserWarning, match=r"degradation.file \(.*mask.png\) has changed since .* was trained"):
        after = evaluate(folder, listener=listener)
    assert psnr(after) != psnr(before)
    assert any("replaced: it was computed with other contents of degradation.file" in text for text in listener.said)
    mask(tmp_path / "mask.png", 0)
    assert psnr(evaluate(folder)) == psnr(before)
    (tmp_path / "mask.png").unlink()
    assert psnr(evaluate(folder)) == psnr(before)  # what is gone has not changed


def test_moved_and_removed_images_change_neither_split_nor_table(own, tmp_path):
    folder = runs.go(own)
    split = json.loads((folder / "split.json").read_text())
    before = evaluate(folder)
    (tmp_path / "pics" / "all").mkdir()
    for path in (tmp_path / "pics").glob("*.png"):
        path.rename(path.parent / "all" / path.name)
    listener = runs.Heard()
    assert evaluate(folder, listener=listener) == before and not any("replaced" in text for text in listener.said)
    tested = [item[0] for item in split["test"]]
    (tmp_path / "pics" / "all" / split["train"][0][0]).unlink()
    assert evaluate(folder) == before
    with raises(DataError, "1 of 14 training images", split["train"][0][0]):
        runs.go(own, "train.steps=6")
    (tmp_path / "pics" / "all" / tested[0]).unlink()
    listener = runs.Heard()
    after = evaluate(folder, listener=listener)
    assert psnr(after) != psnr(before)
    said = " ".join(listener.said)
    assert not missing(said, "other contents of test images", "1 of 6 test images", tested[0], "gone")
    assert RunFolder.open(folder)[1].data.open("test", Grid(16, 16), 0).group(0) == tested[1]


def test_a_run_of_an_earlier_version_says_that_its_split_is_not_recorded(own):
    folder = runs.go(own)
    before = evaluate(folder)
    for name in ("split.json", "eval/done.json"):
        (folder / name).unlink()
    listener = runs.Heard()
    assert psnr(evaluate(folder, listener=listener)) == psnr(before)
    assert sum("did not record its split" in text for text in listener.said) == 1


def test_a_run_of_an_earlier_version_goes_on_with_its_split_and_channels(own, tmp_path):
    """Its recipe has none of the settings that came later, and its grey images have three channels."""
    for i in range(20):
        (tmp_path / "pics" / f"{i}.png").write_bytes(encoded(picture(i, (20, 20))[..., 0]))
    folder = runs.go(own, "data.mode=rgb")
    before = evaluate(folder)
    resolved = yaml.safe_load((folder / "resolved.yaml").read_text())
    for key in ("mode", "range", "crops", "min_side", "group", "group_file"):
        del resolved["data"][key]
    (folder / "resolved.yaml").write_text(yaml.safe_dump(resolved))
    for name in ("split.json", "eval/done.json"):
        (folder / name).unlink()
    assert invkit.load(folder).recipe.data.channels == 3
    assert psnr(evaluate(folder)) == psnr(before)
    listener = runs.Heard()
    runs.go(own, "train.steps=6", listener=listener)  # the recipe says nothing of the mode
    assert listener.steps == [4, 5, 6] and any("did not record its split" in text for text in listener.said)
    assert not (folder / "split.json").exists()


def test_a_run_of_grey_images_has_one_channel(own, tmp_path):
    for i in range(20):
        (tmp_path / "pics" / f"{i}.png").write_bytes(encoded(picture(i, (20, 20))[..., 0]))
    folder = runs.go(own)
    trained = invkit.load(folder)
    assert trained.model.channels == 1 == trained.recipe.data.channels
    for override in ("data.mode=rgb", "data.name=photos"):
        with raises(RecipeError, "1 channels", 3):
            evaluate(folder, [override], "cpu")
    (tmp_path / "pics" / "colour.png").write_bytes(encoded(picture(50, (20, 20))))
    runs.go(own, "train.steps=6")
    assert invkit.load(folder).model.channels == 1


def test_a_fresh_start_records_anew(own, tmp_path):
    folder = runs.go(own)
    mask(tmp_path / "mask.png", 1)
    (tmp_path / "pics" / "3.png").unlink()
    runs.go(own, fresh=True)
    split = json.loads((folder / "split.json").read_text())
    assert len(split["train"]) + len(split["test"]) == 19


def test_every_path_of_a_recipe_is_found(own):
    degradation = "{name: compose, of: [{name: inpaint-mask, file: /m.png}, blur-gaussian]}"
    recipe = load_recipe(own, ["data.test_root=other", f"degradation={degradation}"])
    found = named_paths(recipe)
    assert {key: value.rpartition("/")[2] for key, value in found.items()} == {
        "data.root": "pics", "data.test_root": "other", "degradation.of.0.file": "m.png",
    }  # fmt: skip


@pytest.mark.parametrize(("seed", "seen"), [(0, 0), (1, 1)])
def test_a_prior_that_was_trained_on_test_images_is_named(own, tmp_path, seed, seen):
    prior = tmp_path / "prior.yaml"
    prior.write_text(own.read_text().replace("{name: inpaint-mask, file: mask.png}", "{name: nothing}"))
    few = ("train.steps=1", "eval.methods=[gaussian]", "eval.metrics=[crps]", "eval.images=2")
    path = run(load_recipe(prior, [*few, "model.fill=mean", f"seed={seed}"]), tmp_path / "prior", "cpu")
    recipe = load_recipe(own, [*few, f"eval.methods=[{{name: ddnm, prior: {path}, calls: 2}}]"])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run(recipe, tmp_path / "run", "cpu")
    found = [str(w.message) for w in caught if "of the test images; train a prior" in str(w.message)]
    assert bool(found) == bool(seen) and all("ddnm.prior" in text for text in found)
