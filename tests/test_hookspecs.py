import inspect

from invkit import hookspecs
from invkit.plugins import HOOKS

FOUND = dict(inspect.getmembers(hookspecs, lambda value: hasattr(value, "invkit_spec")))


def test_every_hook_is_loaded_and_nothing_else():
    assert set(FOUND) == set(HOOKS)


def test_hooks_take_nothing_are_typed_and_show_an_example():
    for name, hook in FOUND.items():
        signature = inspect.signature(hook)
        assert name.startswith("invkit_")
        assert not signature.parameters
        assert "Mapping[str, type[" in str(signature.return_annotation)
        assert f"@hookimpl\n        def {name}():" in hook.__doc__
