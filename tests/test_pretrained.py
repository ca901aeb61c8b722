"""The models that ship with invkit: small, as their sums and cards say, listed, in the wheel, and better than kriging."""

import hashlib
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from support import DOCS, ROOT
from support.messages import missing

import invkit
from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.experiment.model_file import SHIPPED, shipped
from invkit.experiment.model_summary import summary
from invkit.physics.measurement import measure
from invkit.reconstructors.zeroshot.denoising import error_ratios, linear_denoiser
from invkit.reconstructors.zeroshot.prior import TrainedPrior

NAMES = sorted(shipped())
LARGEST = 8_000_000  # bytes


def test_sums_files_and_cards_are_of_the_same_models():
    files = {path.name: path.read_bytes() for path in SHIPPED.glob("*.safetensors")}
    assert {name: hashlib.sha256(data).hexdigest() for name, data in files.items()} == {
        f"{name}.safetensors": digest for name, digest in shipped().items()
    }
    assert {"photos-sparse", "photos-prior"} <= set(NAMES) and {path.stem for path in SHIPPED.glob("*.md")} == set(
        NAMES
    )
    listed = re.findall(r"^\| `pretrained:([\w-]+)`", (DOCS / "howto/models.md").read_text("utf-8"), re.M)
    assert sorted(listed) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_each_is_small_states_its_licence_and_names_no_folder(name):
    facts, data = summary(name), (SHIPPED / f"{name}.safetensors").read_bytes()
    assert facts["size"] <= LARGEST and facts["licence"] != "not stated"
    header = data[8 : 8 + int.from_bytes(data[:8], "little")].decode()
    assert not re.search(r'"/(tmp|work|home|root|Users)/', header) and "/tmp/" not in header
    card = (SHIPPED / f"{name}.md").read_text("utf-8")
    assert card.startswith(f"# {name}\n") and not missing(
        card, facts["licence"], f"{facts['images_seen']:,}", "Known limits"
    )
    for key in ("psnr", "gain"):  # the figures of the card are those of its file
        assert facts[key] is None or f"{facts[key]:.2f}" in card
    assert facts["crps"] is None or f"{facts['crps']:.4f}"[1:] in card


def test_the_command_lists_them_and_prints_a_card(invkit):
    code, out, _ = invkit("models")
    rows = {line.split()[0]: line for line in out.splitlines()[1 : len(NAMES) + 1]}
    assert code == 0 and sorted(rows) == NAMES and max(map(len, out.splitlines()[: len(NAMES) + 1])) <= 80
    assert not missing(rows["photos-sparse"], "sparse-random", "32x32", "22.03", "MIT")
    code, out, _ = invkit("models", "--json")
    assert [one["name"] for one in json.loads(out)["models"]] == list(shipped())
    assert invkit("models", "pretrained:photos-prior")[1] == (SHIPPED / "photos-prior.md").read_text("utf-8")
    code, out, err = invkit("models", "photos-spare")
    assert (code, out) == (2, "") and not missing(err, "photos-sparse")


def test_the_sparse_one_beats_kriging_on_photographs_that_it_has_not_seen():
    trained = invkit.load("pretrained:photos-sparse", device="cpu")
    recipe, grid, count = trained.recipe, Grid(32, 32), 28
    x = recipe.data.open("test", grid, recipe.seed, count)[range(count)]
    keys = Keys.of(5, "pretrained", range(count))
    measurement = measure(recipe.degradation.sample(keys.child("operator"), grid), x, recipe.noise, keys.child("noise"))
    kriging = measurement.paste(trained.model.initial_estimate(measurement).mean)
    error, other = (
        (one - x).square().mean((1, 2, 3)) for one in (measurement.paste(trained.mean(measurement)), kriging)
    )
    gain = 10 * torch.log10(other / error)  # in dB; of the test set .35
    assert gain.mean() > 0.15 and (gain > 0).double().mean() > 0.7


def test_the_prior_is_better_than_the_linear_denoiser():
    trained = invkit.load("pretrained:photos-prior", device="cpu")
    x = trained.recipe.data.open("test", Grid(32, 32), 0, 14)[range(14)]
    prior = TrainedPrior(trained.model)
    ratios = error_ratios(prior, linear_denoiser(prior, Grid(32, 32)), x, [3.0, 1.0, 0.5])
    assert ratios == pytest.approx([0.862, 0.783, 0.804], abs=0.05)  # of the card


def test_the_wheel_contains_them(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    for name in ("SHA256SUMS", *(f"{one}.{suffix}" for one in NAMES for suffix in ("safetensors", "md"))):
        assert f"invkit/pretrained/{name}" in inside
    assert not any(Path(name).parts[0] == "tests" for name in inside)
