"""Names of plugins: what is provided, and what is said of a name that is not."""

from support.messages import raises
from support.plugin_sources import GOOD

from invkit.core.errors import PluginError, RecipeError, suggest
from invkit.plugins.loader import load, registry


def test_the_core_goes_through_the_same_hooks():
    found = load([])
    assert set(found.names("dataset")) == {
        "photos",
        "cifar10",
        "images",
        "fields",
        "mixture-fields",
        "heavy-tailed-fields",
    }
    assert found.failures == ()
    assert found.origins["dataset", "photos"].distribution == "invkit"


def test_the_installed_plugins():
    found = registry()
    assert {"sparse-random", "sparse-grid", "sparse-center"} <= set(found.names("degradation"))
    assert found.failures == ()
    assert found is registry()


def test_a_good_plugin(entry):
    found = load([entry("blur", GOOD)])
    assert found.failures == ()
    assert found.get("degradation", "blur")().width == 0.1
    assert str(found.origins["degradation", "blur"]) == "blur (invkit-blur 1.2)"
    assert found.name_of(found.get("degradation", "blur")()) == "blur"


def test_an_unknown_name(entry):
    good = load([entry("blur", GOOD)])
    with raises(RecipeError, "degradation 'blurr'", "'blur'"):
        good.get("degradation", "blurr")
    broken = load([entry("broken", "1 / 0")])
    with raises(PluginError, "degradation 'blurr'", "broken (invkit-broken)", "ZeroDivisionError"):
        broken.get("degradation", "blurr")
    with raises(RecipeError, "schedule 'edn'", "'edm'"):  # no plugin provides schedules
        broken.get("schedule", "edn")


def test_a_name_whose_class_failed_is_told_apart(entry):
    """Another plugin's failure is not the reason then, and the other classes of its plugin are there."""
    found = load([entry("half", GOOD.replace("Blur}", 'Blur, "bad": 3}')), entry("broken", "1 / 0")])
    with raises(PluginError, "invkit-half") as caught:
        found.get("degradation", "bad")
    assert "invkit-broken" not in str(caught.value)
    assert "blur" in found.names("degradation")


def test_suggestions():
    assert suggest("stepz", ["steps", "batch"]) == " (did you mean 'steps'?)"
    assert suggest("zzz", ["steps", "batch"]) == " (known: batch, steps)"
    assert suggest("zzz", []) == " (known: none)"
