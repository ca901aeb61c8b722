"""Finds recipes, as given or among the installed ones, and reads them; imports nothing heavy."""

from pathlib import Path

from invkit.core.errors import RecipeError, suggest
from invkit.recipe.yaml_reader import MAX_BYTES, Tree, read

PACKAGE = Path(__file__).parent.parent


def installed() -> dict[str, Path]:
    """The recipes that ship with invkit, by name: `quickstart`, `folder/name`."""
    homes = (PACKAGE / "recipes", PACKAGE.parent / "recipes")  # a wheel; a development install
    home = next((home for home in homes if home.is_dir()), homes[0])
    return {path.relative_to(home).with_suffix("").as_posix(): path for path in sorted(home.rglob("*.yaml"))}


def find(recipe: str | Path) -> Path:
    """The file of a recipe: the path as given, else the installed recipe of that name. Raises RecipeError."""
    path = Path(recipe)
    if path.exists():
        return path
    shipped = installed()
    name = path.with_suffix("") if path.suffix in (".yaml", ".yml") else path
    for candidate in (name.as_posix(), name.as_posix().removeprefix("recipes/")):
        if candidate in shipped:
            return shipped[candidate]
    beside = sorted(map(str, path.parent.glob("*.y*ml"))) if path.parent.is_dir() else []
    hint = suggest(str(recipe), [*beside, *shipped, *(f"recipes/{name}.yaml" for name in shipped)], shipped)
    raise RecipeError(f"{recipe}:1:1: there is no such recipe{hint}")


def read_recipe(recipe: str | Path) -> tuple[Path, bytes, Tree]:
    """The file of a recipe, its bytes and its tree. Raises RecipeError where it cannot be understood at all."""
    path = find(recipe)
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise RecipeError(f"{path}:1:1: cannot be read: {error.strerror}") from None
    tree = read(raw, str(path))
    if tree.data is None and tree.problems:
        raise RecipeError("\n".join(map(str, tree.problems)))
    if not isinstance(tree.data, dict):
        raise RecipeError(f"{tree.place(())}: a recipe is a mapping of sections (data:, degradation:, ...)")
    return path, raw, tree
