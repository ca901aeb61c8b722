"""The recipe: all settings of a run, validated and frozen."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any, Self

import torch
import yaml
from pydantic import Field, PrivateAttr, model_validator

from invkit.core.errors import DataError, RecipeError, blamed
from invkit.core.grid import Grid, as_grid
from invkit.core.keys import Keys
from invkit.core.settings import Settings, named_paths
from invkit.data.base import Dataset, Images, Split
from invkit.diffusion import Sample
from invkit.diffusion.networks import NETWORKS, Network
from invkit.diffusion.samplers import OneStep, Sampler
from invkit.diffusion.settings import Diffusion
from invkit.evaluation.metrics import Metric, column
from invkit.evaluation.settings import Eval
from invkit.physics.degradation import Degradation
from invkit.physics.noise import Noise, NoiseLaw
from invkit.plugins import loader
from invkit.plugins.registry import Registry
from invkit.recipe.origins import with_origins
from invkit.recipe.overrides import override, with_value
from invkit.recipe.read import read_recipe
from invkit.recipe.resolve import plain, resolve
from invkit.recipe.yaml_reader import Tree, read, scalar
from invkit.training.incomplete import check_masks
from invkit.training.settings import Log, Train


@dataclass(frozen=True)
class Source:
    """Where a recipe came from. Not compared: recipes are equal if their settings are."""

    name: str = field(default="recipe", compare=False)
    text: str = field(default="", compare=False)
    registry: Registry | None = field(default=None, compare=False, repr=False)
    tree: Tree = field(default_factory=Tree, compare=False, repr=False)


class Recipe(Settings):
    """The sections of a recipe."""

    seed: int = Field(0, ge=0, lt=2**63, description="seed of all random numbers of the run")
    data: Dataset = Field(description="the images")
    degradation: Degradation = Field(description="how an image is measured")
    noise: NoiseLaw = Field(Noise(), description="distribution of the measured values about the noiseless ones")
    diffusion: Diffusion = Diffusion()
    model: Network = Field(
        NETWORKS["fno-unet"](), description="the network, and the estimate to which it adds a residual"
    )
    train: Train = Train()
    sample: Sample = Sample()
    eval: Eval = Eval()
    log: Log = Log()

    _source: Source = PrivateAttr(default_factory=Source)

    @model_validator(mode="after")
    def _sampler_of_the_training(self) -> Self:
        self.check_sampler(self.sample.method)
        self.sample.levels(self.diffusion.schedule)
        return self

    def check_sampler(self, method: Sampler) -> None:
        """Raises ValueError if the model is not trained for a sampler."""
        if isinstance(method, OneStep) and not self.train.one_step_share:
            raise ValueError(
                "the sampler one-step needs a model trained for it: train with train.one_step_share=0.5, or choose dpmpp-2m"
            )

    @model_validator(mode="after")
    def _flip_as_the_data_allow(self) -> Self:
        if self.train.flip is None:
            object.__setattr__(self, "train", self.train.model_copy(update={"flip": self.data.mirrored}))
        return self

    @property
    def name(self) -> str:
        """The file name without suffix."""
        return self._source.name

    @property
    def text(self) -> str:
        """The text of the file, without overrides."""
        return self._source.text

    @property
    def training_seed(self) -> int:
        """The seed of the training; that of the recipe is also the seed of the data, and of everything in an evaluation."""
        return self.seed if self.train.seed is None else self.train.seed

    @property
    def registry(self) -> Registry:
        """The registry with which the recipe was resolved."""
        return self._source.registry or loader.registry()

    @property
    def metrics(self) -> dict[str, Metric]:
        """The metrics of the table, by name."""
        return {column(self.registry.registered_name("metric", one), one): one for one in self.eval.metrics}

    def check_operators(self) -> None:
        """Apply an operator of each degradation of the table on each grid of the recipe.

        Raises RecipeError if the settings do not fit a grid or the measured values are complex, PluginError for mistakes of
        a plugin.
        """
        name = self.registry.name_of(self.degradation)
        for grid in dict.fromkeys(self.grids("train") + self.grids("test")):
            for _, degradation in self.degradation.table_rows():
                with blamed(f"the degradation {name!r} on {grid}", degradation):
                    try:
                        operator = degradation.sample(Keys.of(self.seed, "check", [0]), grid)
                        y = operator.forward(torch.zeros(1, *grid.picture, dtype=torch.float32))
                    except ValueError as error:
                        raise RecipeError(f"degradation: {name} does not fit a grid of {grid}: {error}") from None
                if y.is_complex():
                    raise RecipeError(
                        f"degradation: {name} measures complex values; its operator has to return real ones, such as "
                        "torch.view_as_real(y)"
                    )
        if not self.train.clean:
            check_masks(self.degradation, self.grids("train")[0], self.seed)

    def grids(self, split: Split) -> tuple[Grid, ...]:
        """`train.grids`, or for the test split `eval.grids` if they are given."""
        sizes = self.train.grids if split == "train" else self.eval.grids or self.train.grids
        return tuple(dict.fromkeys(as_grid(size, self.data.channels) for size in sizes))

    def check_data(self) -> str | None:
        """Open one test image on each grid of the table; returns a note, without opening, on data that a run downloads.

        Raises DataError if the data are missing or do not fit.
        """
        if self.data.downloads and (missing := self.data.missing()):
            return f"data: {missing}; `invkit run` downloads it"
        for grid in self.grids("test"):
            self.data.open("test", grid, self.seed, 1)
        return None

    def open_images(self, split: Split, say: Callable[[str], None] = lambda note: None) -> dict[Grid, Images]:
        """The images of a split on each of `train.grids`, or of `eval.grids` for other splits.

        `say` receives the notes of the dataset, each once. Raises DataError if the split is empty.
        """
        images: dict[Grid, Images] = {}
        notes: dict[str, None] = {}
        for grid in self.grids(split):
            images[grid] = self.data.open(split, grid, self.seed, None if split == "train" else self.eval.images)
            notes |= dict.fromkeys(filter(None, (images[grid].split_used, *images[grid].notes)))
            if not len(images[grid]):
                raise DataError(f"data: the {split} split contains no images")
        for note in notes:
            say(note)
        return images

    def dump(self) -> str:
        """All settings as YAML, with absolute paths; loading it gives an equal recipe."""
        return _as_yaml(plain(self, self.registry))

    def explained(self) -> str:
        """As `dump`, with a comment after each value on where it comes from."""
        return with_origins(self.dump(), self._source.tree)

    def portable(self) -> str:
        """As `dump`, but of each path only its last part, so that it is looked for beside the file that holds the recipe."""
        data: Any = plain(self, self.registry)
        for key, path in named_paths(self).items():
            data, _ = with_value(data, tuple(key.split(".")), FilePath(path).name)
        return _as_yaml(data)


class _Dumper(yaml.SafeDumper):
    """Writes YAML that `yaml_reader` reads: no aliases, and quotes around strings that YAML 1.1 and 1.2 read differently."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = None if isinstance(scalar(value), str) else "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style)


_Dumper.add_representer(str, _text)


def _as_yaml(data: Any) -> str:
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def load_recipe(recipe: str | FilePath, overrides: Sequence[str] = (), registry: Registry | None = None) -> Recipe:
    """Load a recipe, given by path or by the name of an installed one, with overrides of the form `a.b.c=value`.

    Raises one RecipeError with a line `file:line:column: key.path: message` for each mistake; PluginError if a plugin
    that failed to load may be the cause of an unknown name.
    """
    path, raw, tree = read_recipe(recipe)
    return _resolved(tree, raw.decode("utf-8-sig"), path, overrides, registry)


def parse_recipe(text: str, file: FilePath, overrides: Sequence[str] = (), registry: Registry | None = None) -> Recipe:
    """As `load_recipe`, for the text of a recipe that stands within a file."""
    tree = read(text.encode(), str(file))
    if not isinstance(tree.data, dict):
        raise RecipeError(f"{file}: its recipe is no mapping of sections")
    return _resolved(tree, text, file, overrides, registry)


def _resolved(tree: Tree, text: str, file: FilePath, overrides: Sequence[str], registry: Registry | None) -> Recipe:
    registry = registry or loader.registry()
    overridden = override(tree, overrides)
    loaded = resolve(Recipe, overridden, registry, file.parent)
    plain(loaded, registry)  # raises PluginError if several plugins provide the name of a default
    loaded._source = Source(file.stem, text, registry, overridden)
    return loaded
