import re
from pathlib import Path
from typing import ClassVar

import pytest

from invkit.plugins.loader import registry
from invkit.recipe.citations import citations
from invkit.recipe.recipe import load_recipe

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "references.md"


@pytest.mark.parametrize(
    ("override", "author"),
    [
        ("data={name: cifar10, root: .}", "Krizhevsky"),
        ("sample.method.name=heun", "Karras"),
        ("eval.methods=[{name: dps, prior: 'pretrained:photos-prior'}]", "Chung"),
        ("eval.methods=[tv]", "Rudin"),
        ("eval.methods=[gaussian]", "Matheron"),
        ("eval.metrics=[ssim]", "Wang, Z."),
        ("eval.metrics=[crps]", "Ferro"),
        ("model.name=fno-unet", "Li, Z."),
    ],
)
def test_what_a_recipe_uses_is_cited(override, author):
    found = citations(load_recipe("quickstart", [override], registry()))
    assert found[0].startswith("invkit") and any(line.startswith(author) for line in found[1:])
    page = PAGE.read_text("utf-8").replace("*", "")
    assert all(line in page for line in found[1:])


def test_what_a_recipe_does_not_use_is_not_cited():
    found = " ".join(
        citations(load_recipe("quickstart", ["eval.methods=[nearest]", "eval.metrics=[psnr]"], registry()))
    )
    assert not re.search("Chung|Rudin|Matheron|Wang|Krizhevsky|Song, J", found)


def test_a_class_of_a_plugin_names_what_to_cite():
    recipe = load_recipe("quickstart", (), registry())

    class Known(type(recipe.degradation)):
        cites: ClassVar[str] = "Someone (2020). Something."

    assert Known.cites in citations(recipe.model_copy(update={"degradation": Known()}))
