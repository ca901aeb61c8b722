"""The split of image files into training and test images: by the names of their folders, else by the seed."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from invkit.core.errors import DataError
from invkit.data.base import Split
from invkit.data.decoding import printable

_KINDS = {
    "train": ("train", "training", "trainset", "trainval"),
    "test": ("test", "testing", "testset"),
    "val": ("val", "valid", "validation", "valset", "dev"),
}
_WORDS = {word: kind for kind, words in _KINDS.items() for word in words}
# One of the words, next to anything but letters, or to letters of the other case: HR_train, trainA, HRtrain, not Strain.
_WORD = re.compile(
    r"(?:(?<![A-Za-z])|(?<=[A-Z][A-Z])(?=[a-z])|(?<=[a-z])(?=[A-Z]))"
    rf"((?i:{'|'.join(sorted(_WORDS, key=len, reverse=True))}))(?:(?![A-Za-z])|(?<=[a-z])(?=[A-Z]))"
)


@dataclass(frozen=True)
class SplitNames:
    """The names of both splits in pseudo-random order, so that the first n are a representative sample, and a description."""

    train: Sequence[str]
    test: Sequence[str]
    description: str

    def names(self, split: Split) -> Sequence[str]:
        return self.train if split == "train" else self.test


@dataclass(frozen=True)
class _Role:
    """What the last part of a folder's path says: train, test or val; folders of one family differ in this word only."""

    kind: str
    family: tuple[str, str]

    @classmethod
    def of(cls, folder: str) -> "_Role | None":
        parent, _, name = folder.rpartition("/")
        words = list(_WORD.finditer(name))
        if len(words) != 1:
            return None
        word = words[0]
        return cls(_WORDS[word[1].lower()], (parent, f"{name[: word.start()]}*{name[word.end() :]}".casefold()))


def split_names(
    names: Iterable[str],
    seed: int,
    test_share: float,
    test_folder: str | None = None,
    root: str = "",
    groups: Mapping[str, str] | None = None,
) -> SplitNames:
    """Split names by folders called train and test (or val, dev and the like), at any level; else by the seed.

    A folder's name may have any case, a prefix and a suffix: `HR_train` and `HR_valid`. If there are folders of all three
    kinds, those called test are used. `test_folder`, a name or a path, chooses the folder of the test images, and all
    images outside the split are ignored. The order of the test images of a folder does not depend on the seed. If the
    seed splits, the count of test images is exact, unless `groups`, a label of each name, have to be kept together. A
    `test_share` of 1 makes all images test images, and 0 none, unless folders define the split. All depends on the names
    and labels only. Raises DataError if several splits are possible; `root` is its name for users.
    """
    names = list(names)
    if test_share < 1 and (pair := _find_pair(names, test_folder, root)):
        train, test = ([name for name in names if name.startswith(f"{folder}/")] for folder in pair)
        used = f"train: {_path(root, pair[0])} ({len(train)}), test: {_path(root, pair[1])} ({len(test)})"
        unused = f"; not used: {left} other images" if (left := len(names) - len(train) - len(test)) else ""
        return SplitNames(_shuffled(train, seed), _shuffled(test, 0), used + unused)
    if test_share == 1:
        return SplitNames([], _shuffled(names, 0), f"test: all {len(names)} images of {printable(root)}")
    count = min(max(round(test_share * len(names)), 1), len(names) - 1) if test_share else 0
    if count < 1 and test_share:
        raise DataError(
            f"images: {len(names)} images found; at least two are needed, one for training and one for testing"
        )
    drawn = _draw(names, groups or {}, count, seed) if count else set[str]()
    order, here = _shuffled(names, seed), f"of {printable(root)}" if root else "of all images"
    how = "no folders train and test, chosen by the seed"
    return SplitNames(
        [name for name in order if name not in drawn],
        [name for name in order if name in drawn],
        f"train: {len(names) - len(drawn)}, test: {len(drawn)} {here} ({how})",
    )


def _draw(names: Iterable[str], groups: Mapping[str, str], count: int, seed: int) -> set[str]:
    """Whole groups of about `count` images in total, exactly if groups are single images; groups that exceed it are skipped."""
    members: dict[str, list[str]] = defaultdict(list)
    for name in names:
        members[groups.get(name, name)].append(name)
    if len(members) < 2:
        raise DataError(
            f"images: all images are copies of one, or of one group ({printable(next(iter(members)))}); at least two groups "
            "are needed, one for training and one for testing"
        )
    order, drawn = _shuffled(members, seed), set[str]()
    for label in order:
        if len(drawn) + len(members[label]) <= count:
            drawn.update(members[label])
    return drawn or set(members[min(order, key=lambda label: len(members[label]))])


def _shuffled(names: Iterable[str], seed: int) -> list[str]:
    def rank(name: str) -> tuple[bytes, str]:
        word = f"{seed}/{name}".encode("utf-8", "surrogateescape")
        return hashlib.blake2b(word, digest_size=8).digest(), name

    return sorted(names, key=rank)


def _path(root: str, folder: str) -> str:
    return printable(f"{root}/{folder}" if root else folder)


def _within(path: str, folders: Iterable[str]) -> bool:
    return any(path.startswith(f"{folder}/") for folder in folders)


def _find_pair(names: Sequence[str], test_folder: str | None, root: str) -> tuple[str, str] | None:
    """The folders of the training and the test images; None if the names define no split."""
    folders = {""}
    for folder in {name.rpartition("/")[0] for name in names}:
        while folder not in folders:
            folders.add(folder)
            folder = folder.rpartition("/")[0]
    roles = {folder: role for folder in sorted(folders) if (role := _Role.of(folder))}
    if test_folder is not None:
        return _given_pair(folders - {""}, roles, test_folder.strip("/"))
    pairs = _pairs(roles)
    if not pairs:
        return None
    way = f"set data.test_folder={pairs[0][1]}"
    if len(pairs) > 1:
        several = ", ".join(" and ".join(_path(root, folder) for folder in pair) for pair in pairs[:3])
        more = f" and {len(pairs) - 3} more" if len(pairs) > 3 else ""
        raise DataError(
            f"images: several folders could be the split: {several}{more}; {printable(way)} to use the first, or "
            "move the others out of data.root"
        )
    outside = [name for name in names if not _within(name, roles)]
    if outside:
        pair = " and ".join(_path(root, folder) for folder in pairs[0])
        raise DataError(
            f"images: {len(outside)} images lie outside of {pair} (such as {_path(root, outside[0])}); "
            f"{printable(way)} to leave them out, or move them"
        )
    return pairs[0]


def _pairs(roles: dict[str, _Role]) -> list[tuple[str, str]]:
    """Possible folders of training and test images: within families, else of all outermost folders with a role."""

    def pairs(folders: Iterable[str]) -> list[tuple[str, str]]:
        kinds: dict[str, list[str]] = defaultdict(list)
        for folder in folders:
            kinds[roles[folder].kind].append(folder)
        return list(product(kinds["train"], kinds["test"] or kinds["val"]))

    families: dict[tuple[str, str], list[str]] = defaultdict(list)
    for folder, role in roles.items():
        families[role.family].append(folder)
    found = [pair for family in families.values() for pair in pairs(family)]
    used = {folder for pair in found for folder in pair}
    found = [pair for pair in found if not _within(pair[0], used)]
    return found or pairs(folder for folder in roles if not _within(folder, roles))


def _given_pair(folders: set[str], roles: dict[str, _Role], given: str) -> tuple[str, str]:
    """The folder given as test folder, and the training folder beside it or, if there is none, the only one elsewhere."""
    tests = [given] if given in folders else [folder for folder in folders if folder.endswith(f"/{given}")]
    tests = sorted(folder for folder in tests if not _within(folder, tests))
    if len(tests) != 1:
        found = (
            "several folders, " + ", ".join(tests[:5]) if tests else "no folder with images; use a folder beside train"
        )
        raise DataError(printable(f"images: data.test_folder={given}: this is the name of {found}"))
    (test,) = tests
    trains = [f for f, role in roles.items() if role.kind == "train" and f != test and not _within(f, tests)]
    trains = [folder for folder in trains if not _within(test, [folder])]
    family, parent = roles[test].family if test in roles else None, test.rpartition("/")[0]
    near = [folder for folder in trains if roles[folder].family == family]
    near = near or [folder for folder in trains if folder.rpartition("/")[0] == parent]
    near = near or [folder for folder in trains if not _within(folder, trains)]
    if len(near) != 1:
        found = "several folders of training images: " + ", ".join(near[:5]) if near else "no folder train beside it"
        raise DataError(printable(f"images: data.test_folder={given}: there is {found}; move or rename folders"))
    return near[0], test
