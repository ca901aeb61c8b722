"""The split of a run: which images it trains on and is tested on, by content, so that moved or missing files change nothing."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple, Self

from invkit.core.errors import DataError
from invkit.data.base import Split
from invkit.data.catalogue import Facts, Kind
from invkit.data.decoding import printable

SCHEMA = "invkit.split/1"


class Item(NamedTuple):
    """One image of a split."""

    name: str
    group: str = ""  # images of one group are not independent
    digest: str = ""  # of the content; empty for a file that cannot be read
    stamp: str = ""  # unchanged only if the file is


@dataclass(frozen=True)
class SplitRecord:
    """The images of both splits in their order, as recorded in the run folder."""

    train: tuple[Item, ...]
    test: tuple[Item, ...]
    description: str
    notes: tuple[str, ...] = ()
    kind: Kind = "pixels"
    channels: int = 3

    def items(self, split: Split) -> tuple[Item, ...]:
        return self.train if split == "train" else self.test

    def with_items(self, split: Split, items: tuple[Item, ...]) -> Self:
        return replace(self, train=items) if split == "train" else replace(self, test=items)

    def as_json(self) -> dict[str, Any]:
        return {"schema": SCHEMA, **asdict(self)}

    @classmethod
    def of(cls, data: Any) -> Self:
        """The record from JSON. Raises DataError if it is damaged."""
        try:
            train, test = (tuple(Item(*map(str, item)) for item in data[split]) for split in ("train", "test"))
            kind: Kind = "bytes" if data["kind"] == "bytes" else "pixels"
            return cls(train, test, str(data["description"]), tuple(data["notes"]), kind, int(data["channels"]))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DataError(f"the recorded split is damaged ({error!r})") from None

    def digests(self) -> dict[tuple[str, str], str]:
        """Digests of files by name and stamp."""
        return {(item.name, item.stamp): item.digest for item in (*self.train, *self.test) if item.digest}

    def located(self, split: Split, facts: Mapping[str, Facts]) -> "Located":
        """The items of a split under the names that their contents have now."""
        names: dict[str, list[str]] = defaultdict(list)
        for name in sorted(facts, reverse=True):
            names[facts[name].digest].append(name)
        items, gone, moved = [], [], 0
        for item in self.items(split):
            here = names[item.digest]
            if not item.digest:  # could not be read when the split was recorded
                continue
            if not here:
                gone.append(item.name)
                continue
            name = item.name if item.name in here else here[-1]
            here.remove(name)
            moved += name != item.name
            items.append(item._replace(name=name))
        known = {item.digest for item in (*self.train, *self.test)}
        new = sum(fact.digest not in known for fact in facts.values())
        return Located(tuple(items), gone, moved, new)

    def without_trained(self, trained: "SplitRecord", root: str, groups: bool) -> Self:
        """This split without the test images that another one trains on, or with `groups` whose group it trains on.

        Raises DataError if none is left.
        """
        digests = {item.digest for item in trained.train if item.digest}
        labels = {item.group for item in trained.train} if groups else set()
        kept = tuple(item for item in self.test if item.digest not in digests and item.group not in labels)
        if not kept:
            raise DataError(f"images: the run was trained on all {len(self.test)} test images of {root}; use others")
        if left := len(self.test) - len(kept):
            what = "images of these groups" if groups else "them"
            note = (
                f"images: {left} of {len(self.test)} test images of {root} are left out: the run was trained on {what}"
            )
            return replace(self, test=kept, notes=(*self.notes, note))
        return self


@dataclass(frozen=True)
class Located:
    """Recorded images as they are found now."""

    items: tuple[Item, ...]
    gone: Sequence[str]  # recorded names
    moved: int
    new: int

    def notes(self, split: Split, root: str) -> tuple[str, ...]:
        """What has changed, for the user."""
        notes = []
        kind = "training" if split == "train" else "test"
        if self.gone:
            notes.append(
                f"images: {len(self.gone)} of {len(self.items) + len(self.gone)} {kind} images of this run are gone from "
                f"{root} or have changed, such as {printable(self.gone[0])}; the others are used"
            )
        if self.moved:
            notes.append(f"images: {kind} images with other names than in the recorded split of this run: {self.moved}")
        if self.new:
            notes.append(
                f"images: images of {root} that are not in the recorded split of this run, and not used: {self.new}"
            )
        return tuple(notes)
