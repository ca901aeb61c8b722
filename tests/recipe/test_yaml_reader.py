import math

import pytest
import yaml
from support.messages import missing

from invkit.recipe import yaml_reader as yamltree
from invkit.recipe.yaml_reader import MAX_BYTES, MAX_DEPTH, Problem, Tree, read, read_value


@pytest.fixture(params=["CSafeLoader", "SafeLoader"], autouse=True)
def loader(request, monkeypatch):
    """Both of PyYAML's parsers: the quick one is not in every build."""
    monkeypatch.setattr(yamltree, "_LOADER", getattr(yaml, request.param))


def one(raw) -> str:
    (problem,) = read(raw if isinstance(raw, bytes) else raw.encode(), "r.yaml").problems
    return str(problem)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4), ("1E3", 1000.0), (".5", 0.5), ("2.", 2.0), ("-3", -3), ("+3", 3), ("0", 0),
        ("yes", "yes"), ("no", "no"), ("on", "on"), ("off", "off"), ("y", "y"),
        ("true", True), ("False", False), ("null", None), ("~", None), ("", None),
        ("010", "010"), ("0o10", "0o10"), ("0x1f", "0x1f"), ("1_000", "1_000"), ("1:30", "1:30"),
        ("2020-01-01", "2020-01-01"), ("=", "="), (".inf", math.inf), ("'1'", "1"), ('"true"', "true"), ("'~'", "~"),
    ],
)  # fmt: skip
def test_scalars(text, value):
    got = read(f"a: {text}".encode(), "r").data["a"]
    assert got == value
    assert type(got) is type(value)


def test_positions():
    tree = read(b"data:\n  name: photos\neval:\n  methods: [nearest, {name: model}]\n", "f.yaml")
    assert tree.data == {"data": {"name": "photos"}, "eval": {"methods": ["nearest", {"name": "model"}]}}
    assert tree.where[("data", "name")] == "f.yaml:2:3"
    assert tree.where[("eval", "methods", 1)] == "f.yaml:4:22"
    assert tree.where[("eval", "methods", 1, "name")] == "f.yaml:4:23"
    assert tree.place(("data", "root", "x")) == "f.yaml:1:1"
    assert tree.problems == []


def test_windows_line_ends_and_byte_order_mark():
    tree = read(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n", "f")
    assert (tree.data, tree.where[("b",)]) == ({"a": 1, "b": 2}, "f:2:1")


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ("", ("r.yaml:1:1",)),
        ("# only a comment\n", ("r.yaml:1:1",)),
        ("a: 1\na: 2\n", ("r.yaml:2:1: a", "r.yaml:1:1")),
        ("t:\n  a: 1\n  a: 2\n", ("r.yaml:3:3: t.a", "r.yaml:2:3")),
        ("t:\n\ta: 1\n", ("r.yaml:2:1",)),
        ("t:\n  \ta: 1\n", ("r.yaml:2:3",)),
        ("a: !!python/object:os.system x\n", ("r.yaml:1:4: a",)),
        ("a: ! x\n", ("r.yaml:1:4: a",)),
        ("a: &x 1\n", ("r.yaml:1:4: a", "&x")),
        ("a: *x\n", ("r.yaml:1:4: a", "*x")),
        ("t:\n  <<: {a: 1}\n", ("r.yaml:2:3: t", "<<")),
        ("1: 2\n", ("r.yaml:1:1", 1)),
        ("? [a, b]\n: 2\n", ("r.yaml:1:3", ["a", "b"])),
        ("true: 2\n", ("r.yaml:1:1", "true")),
        ("a: 1\n---\nb: 2\n", ("r.yaml:2:1",)),
        ("a: " + "9" * 5000 + "\n", ("r.yaml:1:4: a",)),
        (b"a: 1\nb: \xff\n", ("r.yaml:2:4", "UTF-8")),
        (b"a: 1\n\x00\x01", ("r.yaml:2:1", "'\\x00'")),
        (b"#" * (MAX_BYTES + 1), ("r.yaml:1:1", "1 MiB")),
    ],
)  # fmt: skip
def test_refusals(raw, said):
    assert one(raw).startswith(f"{said[0]}: ") and not missing(one(raw), *said[1:])


@pytest.mark.parametrize("text", ["a: [1, 2\n", "a: 'x\n", "a: b: c\n", "@x\n", "a: {b: 1}}\n", "a:\n  - 1\n b: 2\n"])
def test_broken_yaml_has_a_place(text):
    assert one(text).startswith("r.yaml:")
    assert read(text.encode(), "r.yaml").data is None


def test_mistakes_are_collected():
    tree = read(b"a: 1\na: 2\nb: !x 3\n1: 4\nc: *q\n", "r")
    assert [problem.where for problem in tree.problems] == ["r:2:1", "r:3:4", "r:4:1", "r:5:4"]


def test_nesting_is_bounded():
    def nested(depth: int) -> Tree:
        return read(b"a: " + b"[" * depth + b"]" * depth, "r")

    assert nested(MAX_DEPTH).problems == []
    assert not missing(str(nested(MAX_DEPTH + 1).problems[0]), f"r:1:{4 + MAX_DEPTH}", MAX_DEPTH)
    assert nested(100_000).problems  # no RecursionError


def test_an_alias_bomb_is_refused_before_it_expands():
    lines = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    assert not missing(str(read("\n".join(lines).encode(), "r").problems[0]), "a0", "&a0")


def test_values_of_the_command_line():
    assert read_value("[32, 64]", "here") == Tree([32, 64], {(): "here", (0,): "here", (1,): "here"})
    assert read_value("{a: 1e-4}", "here").data == {"a": 1e-4}
    assert read_value("[1,", "here").problems[0].where == "here"


def test_a_problem_reads_as_place_path_message():
    assert str(Problem("r:1:2", ("a", 0, "b"), "bad")) == "r:1:2: a.0.b: bad"
    assert str(Problem("r:1:2", (), "bad")) == "r:1:2: bad"
