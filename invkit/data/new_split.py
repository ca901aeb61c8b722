"""A new split of a source of images, with copies and groups kept together."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from invkit.core.errors import DataError
from invkit.data.catalogue import Facts, Kind, catalogue, near_identical
from invkit.data.decoding import printable
from invkit.data.sources import Source
from invkit.data.split_record import Item, SplitRecord
from invkit.data.splits import split_names


@dataclass(frozen=True)
class Rules:
    """How to split; see `split_names`."""

    seed: int
    share: float
    test_folder: str | None
    kind: Kind  # of the digests


def new_split(
    source: Source,
    rules: Rules,
    groups: Mapping[str, str],  # labels that the user gave to images
    tests: tuple[Source, Mapping[str, str]] | None = None,
) -> SplitRecord:
    """Split the images of a source; if `tests` are given, with their groups, all of them are the test images.

    Training images identical to test images are left out. Raises DataError as `split_names`.
    """
    facts, root = catalogue(source, rules.kind), source.path.name
    label = labels(source.names, facts, groups)
    both = split_names(source.names, rules.seed, rules.share, rules.test_folder, root, label)
    description, tested, test = both.description, _of(facts, both.test), _items(both.test, source, facts, label)
    test_groups = {groups[item.name] for item in test if groups}
    if tests is not None:
        test, other = all_of(tests[0], rules.kind, tests[1]).test, tests[0].path.name
        description = f"train: {len(both.train)} of {len(source.names)} images of {root}, test: all images of {other}"
        tested, test_groups = catalogue(tests[0], rules.kind), set(tests[1].values())
    digests = {fact.digest for fact in tested.values()}
    train = [name for name in both.train if name not in facts or facts[name].digest not in digests]
    if both.train and not train:
        raise DataError(
            f"images: all {len(both.train)} training images of {root} are identical to test images; remove them"
        )
    notes = _notes(len(both.train) - len(train), _of(facts, train), tested)
    if copies := _copies([*train, *both.test], facts):
        notes = (copies, *notes)
    if across := sum(groups.get(name) in test_groups for name in train):
        notes = (*notes, f"images: training images of a group that also has test images: {across}; move those files")
    return SplitRecord(_items(train, source, facts, label), test, printable(description), notes, rules.kind)


def all_of(source: Source, kind: Kind, groups: Mapping[str, str]) -> SplitRecord:
    """All images of a source as test images."""
    facts, both = catalogue(source, kind), split_names(source.names, 0, 1.0, root=source.path.name)
    test = _items(both.test, source, facts, labels(source.names, facts, groups))
    return SplitRecord((), test, both.description, (), kind)


def _of(facts: Mapping[str, Facts], names: Sequence[str]) -> dict[str, Facts]:
    return {name: facts[name] for name in names if name in facts}


def _items(
    names: Sequence[str], source: Source, facts: Mapping[str, Facts], label: Mapping[str, str]
) -> tuple[Item, ...]:
    digests = {name: fact.digest for name, fact in facts.items()}
    return tuple(Item(name, label[name], digests.get(name, ""), source.stamps[name]) for name in names)


def labels(names: Sequence[str], facts: Mapping[str, Facts], groups: Mapping[str, str]) -> dict[str, str]:
    """The group of each image: those that share a content or a label in `groups` are one; named after its first image."""
    parent = {name: name for name in names}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = name = parent[parent[name]]
        return name

    first: dict[tuple[str, str], str] = {}
    for name in sorted(names):
        own = [("group", groups[name])] if name in groups else []
        own += [("content", facts[name].digest)] if name in facts else []
        for key in own:
            a, b = sorted((root(first.setdefault(key, name)), root(name)))
            parent[b] = a
    return {name: groups.get(root(name), root(name)) for name in names}


def _copies(names: Sequence[str], facts: Mapping[str, Facts]) -> str | None:
    """What to say of images that occur several times in one split."""
    same: dict[str, list[str]] = defaultdict(list)
    for name in sorted(names):
        if name in facts:
            same[facts[name].digest].append(name)
    copies = [(name, alike[0]) for alike in same.values() for name in alike[1:]]
    if not copies:
        return None
    return (
        f"images: copies of other images: {len(copies)}, such as {printable(copies[0][0])} of "
        f"{printable(copies[0][1])}; they are in the same split and count once in intervals"
    )


def _notes(left_out: int, train: Mapping[str, Facts], test: Mapping[str, Facts]) -> tuple[str, ...]:
    """What to say of images that are in both splits."""
    notes = []
    if left_out:
        notes.append(f"images: training images that are left out as identical to test images: {left_out}")
    if alike := near_identical(train, test):
        notes.append(
            f"images: test images that look like training images: {len(alike)}, such as {printable(alike[0][0])} like "
            f"{printable(alike[0][1])}; if they are copies, remove them"
        )
    return tuple(notes)
