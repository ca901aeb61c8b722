"""Find and read recipe files, given by path or by the name of an installed recipe; imports no torch."""

from pathlib import Path

from invkit.core.errors import RecipeError, suggest
from invkit.recipe.yaml_reader import MAX_BYTES, Tree, read

PACKAGE = Path(__file__).parent.parent


def installed() -> dict[str, Path]:
    """Paths of the recipes shipped with invkit, by name: `quickstart`, `folder/name`."""
    homes = (PACKAGE / "recipes", PACKAGE.parent / "recipes")  # a wheel; a development install
    home = next((home for home in homes if home.is_dir()), homes[0])
    return {path.relative_to(home).with_suffix("").as_posix(): path for path in sorted(home.rglob("*.yaml"))}


def find(recipe: str | Path) -> Path:
    """The path of a recipe: the given path if it exists, otherwise the installed recipe of that name.

    An installed recipe is named `quickstart`, or as its file: `quickstart.yaml`, `recipes/quickstart.yaml`; `quickstart.yml`
    is another file. Raises RecipeError if there is neither.
    """
    path = Path(recipe)
    if path.exists():
        return path
    shipped = installed()
    name = path.with_suffix("") if path.suffix == ".yaml" else path
    for candidate in (name.as_posix(), name.as_posix().removeprefix("recipes/")):
        if candidate in shipped:
            return shipped[candidate]
    beside = sorted(map(str, path.parent.glob("*.y*ml"))) if path.parent.is_dir() else []
    hint = suggest(str(recipe), [*beside, *shipped, *(f"recipes/{name}.yaml" for name in shipped)], shipped)
    raise RecipeError(f"{recipe}:1:1: there is no such recipe{hint}")


def read_recipe(recipe: str | Path) -> tuple[Path, bytes, Tree]:
    """The path, bytes and tree of a recipe. Raises RecipeError if it cannot be read or is not a mapping."""
    path = find(recipe)
    if path.is_dir():
        raise RecipeError(
            f"{path}:1:1: a folder, and no run (it has no resolved.yaml); give a recipe, such as quickstart"
        )
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise RecipeError(f"{path}:1:1: cannot be read: {error.strerror}") from None
    tree = read(raw, str(path))
    if tree.data is None and tree.problems:
        other = "" if path.suffix in (".yaml", ".yml") else f"; {path.name} is no recipe, which is a .yaml file"
        raise RecipeError("\n".join(f"{problem}{other}" for problem in tree.problems))
    if not isinstance(tree.data, dict):
        raise RecipeError(f"{tree.place(())}: a recipe is a mapping of sections (data:, degradation:, ...)")
    return path, raw, tree
