"""Image files of a folder, a zip or an npz as a data set."""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, PrivateAttr, model_validator

from invkit.core.errors import DataError
from invkit.core.grid import Grid
from invkit.core.settings import PathSetting
from invkit.data.base import Dataset, Images, Split
from invkit.data.catalogue import Facts, catalogue, kind_of
from invkit.data.decoding import printable
from invkit.data.file_images import Opening, open_images
from invkit.data.groups import user_groups
from invkit.data.new_split import Rules, all_of, new_split
from invkit.data.sources import Source, open_source
from invkit.data.split_record import Item, SplitRecord
from invkit.data.splits import split_names

Relation = Literal["same", "moved", "other"]  # to the data set of a run: equal settings, another place, other settings


@dataclass(frozen=True)
class _Binding:
    """The split of a run that the data set is bound to. Not compared: settings are equal if their fields are."""

    record: SplitRecord | None = field(default=None, compare=False)
    relation: Relation | None = field(default=None, compare=False)
    same_groups: bool = field(default=False, compare=False)  # whether labels of groups are those of the record
    channels: int | None = field(default=None, compare=False)  # found in a data set without a record


class ImageFiles(Dataset):
    """Images of a folder (recursively), a .zip, an .npz or an .npy; folders such as `train` and `test` define the split.

    An image is turned upright, centre-cropped to the grid's aspect and averaged over its cells; images of 8 bits are
    rounded to 8 bits. Broken images and those smaller than the grid are left out and listed in `notes`. Up to 1 GiB of
    images is decoded on opening and kept in memory. For a larger set only headers are read on opening; an image that
    proves broken later is a DataError. An .npz holds `images`, an .npy is one array: `(N, H, W, 3)` or `(N, H, W)`.
    Identical images are one group, in the same split.
    """

    records_split: ClassVar[bool] = True

    root: PathSetting = Field(description="a folder, a .zip, an .npz or an .npy of images")
    test_root: PathSetting | None = Field(
        None,
        description="a folder, .zip, .npz or .npy of test images, all of which are used; root then holds no others",
    )
    test_share: float = Field(
        0.1, gt=0, le=1, description="share of test images, if the folders define no split; 1: all images of root"
    )
    test_folder: str | None = Field(
        None,
        description="folder of the test images, beside train; null: found by its name (test, val, dev and the like)",
    )
    group: str | None = Field(
        None,
        description="what images of one scene, slide or patient share: folder, prefix (the file name up to _, - or a "
        "space), or a column of group_file; they are never split and count once in intervals; null: nothing",
    )
    group_file: PathSetting | None = Field(
        None, description="CSV with a header; the first column holds the names of the image files"
    )

    mode: Literal["auto", "rgb", "grey"] = Field(
        "auto", description="channels: 3 for rgb, 1 for grey; auto: grey if all images are grey"
    )
    range: tuple[float, float] | None = Field(
        None,
        description="the values of an image that mean -1 and 1; null: those of black and white, 0 and 255 for 8 bits, 0 and "
        "65535 for 16, 0 and 1 for floats in [0, 1]",
    )
    crops: int | None = Field(
        None, ge=1, description="crops in the training split, each computed on access; null: whole images"
    )
    min_side: int | None = Field(
        None, ge=1, description="shorter side of the smallest crop, in pixels of the file; null: that of the grid"
    )

    _binding: _Binding = PrivateAttr(default_factory=_Binding)

    @model_validator(mode="after")
    def _group(self) -> Self:
        if self.group_file is None and self.group not in (None, "folder", "prefix"):
            raise ValueError(f"group should be folder or prefix, or a column of group_file, got {self.group!r}")
        if self.group_file is not None and self.group is None:
            raise ValueError("group should name a column of group_file")
        return self

    @model_validator(mode="after")
    def _values(self) -> Self:
        if self.min_side is not None and self.crops is None:
            raise ValueError("min_side is of crops; set crops to the number of training crops")
        if self.range is not None and not self.range[0] != self.range[1]:
            raise ValueError(f"range should be two different values, got {list(self.range)}")
        return self

    @property
    def channels(self) -> int:
        record, relation = self._binding.record, self._binding.relation
        if self.mode != "auto":
            return 1 if self.mode == "grey" else 3
        if record is not None or relation or not self._roots():
            return record.channels if record else 3
        if self._binding.channels is None:
            sources = [open_source(root) for root in self._roots()]
            facts = [fact for source in sources for fact in catalogue(source, kind_of(*sources)).values()]
            self._binding = replace(self._binding, channels=1 if facts and all(fact.grey for fact in facts) else 3)
        return self._binding.channels or 3

    @property
    def span(self) -> tuple[float, float] | None:
        return self.range

    def missing(self) -> str | None:
        absent = [root for root in (self.root, self.test_root) if root and not Path(root).exists()]
        return f"images: {absent[0]} does not exist" if absent else None

    def record_split(self, seed: int) -> dict[str, Any]:
        return replace(self._new(seed, self._source("train")), channels=self.channels).as_json()

    def with_split(self, record: dict[str, Any] | None, changed: Collection[str] = ()) -> Self:
        bound = self.model_copy()
        relation: Relation = "moved" if set(changed) <= {"root"} else "other"
        groups = self.group is not None and not {"group", "group_file"} & set(changed)
        split = None if record is None else SplitRecord.of(record)
        bound._binding = _Binding(split, relation if changed else "same", groups)
        return bound

    def changed(self) -> str | None:
        record = self._binding.record
        if record is None or self._binding.relation == "other":
            return None
        facts = self._catalogue(self._source("train"), record)
        if not (gone := record.located("train", facts).gone):
            return None
        return (
            f"images: {len(gone)} of {len(record.train)} training images of this run are gone from {self.root} or have "
            f"changed, such as {printable(gone[0])}; put them back, or train anew with --fresh or another --out DIR"
        )

    def test_digest(self, seed: int) -> str | None:
        if self._binding.record is None:
            return None
        try:
            digests = [item.digest for item in self._split(self._source("test"), "test", seed).test]
        except DataError:  # evaluating states the cause
            return None
        return hashlib.sha256("".join(digests).encode()).hexdigest()

    def test_images_in(self, record: dict[str, Any], seed: int) -> int:
        other, tested = SplitRecord.of(record), self._split(self._source("test"), "test", seed)
        trained = {item.digest for item in other.train if item.digest}
        return sum(item.digest in trained for item in tested.test) if tested.kind == other.kind else 0

    def open(self, split: Split, grid: Grid, seed: int, limit: int | None = None) -> Images:
        source = self._source(split, grid)
        record = self._split(source, split, seed)
        record = replace(record, notes=(*record.notes, *source.notes))
        if not record.items(split):
            raise DataError(
                "images: data.test_share=1 leaves no images to train on; give the test set as data.test_root"
            )
        min_side = self.min_side or min(grid.shape)
        return open_images(source, record, Opening(split, grid, seed, limit, self.range, self.crops, min_side))

    def _source(self, split: Split, grid: Grid | None = None) -> Source:
        root = Path(self.test_root if self.test_root and split == "test" else self.root)
        if not root.exists():
            raise DataError(f"images: {root} does not exist; set data.root to a folder, a .zip or an .npz of images")
        return open_source(root, grid)

    def _catalogue(self, source: Source, record: SplitRecord) -> dict[str, Facts]:
        return catalogue(source, record.kind, record.digests())

    def _split(self, source: Source, split: Split, seed: int) -> SplitRecord:
        """The split of the run that the data set is bound to, else a new one."""
        record, relation, root = self._binding.record, self._binding.relation, printable(source.path.name)
        if relation and record is None:
            return self._by_names(source, split, seed)
        if record is not None and relation != "other":
            found = record.located(split, self._catalogue(source, record))
            if relation == "same" or not found.gone:
                if not found.items:
                    raise DataError(f"images: no {split} image of this run is in {source.path} any more; put them back")
                located = record.with_items(split, found.items)
                return replace(located, notes=(*record.notes, *found.notes(split, root)))
        if self.test_root and split == "test":  # which needs no other images
            fresh = all_of(source, record.kind if record else kind_of(source), self._groups(source))
        else:
            fresh = self._new(seed, source)
        return (
            fresh
            if record is None or split == "train"
            else fresh.without_trained(record, root, self._binding.same_groups)
        )

    def _by_names(self, source: Source, split: Split, seed: int) -> SplitRecord:
        """The split of a run of a version that did not record it."""
        whole = bool(self.test_root) and split == "test"
        both = split_names(
            source.names, seed, 1.0 if whole else self._share, None if whole else self.test_folder, source.path.name
        )
        notes = (
            "images: this run is of a version that did not record its split; if files were moved, renamed or removed since, "
            "images that it was trained on may be among the test images",
        )  # fmt: skip
        train, test = (tuple(Item(name, name) for name in names) for names in (both.train, both.test))
        return SplitRecord(train, test, both.description, notes if "by the seed" in both.description else ())

    @property
    def _share(self) -> float:
        return 0.0 if self.test_root else self.test_share

    def _new(self, seed: int, source: Source) -> SplitRecord:
        """A new split; its digests are of the kind of the record, if there is one."""
        tests = open_source(Path(self.test_root)) if self.test_root and Path(self.test_root).exists() else None
        record = self._binding.record
        kind = record.kind if record else kind_of(source, *filter(None, [tests]))
        if self.test_share == 1 and not self.test_root:
            return all_of(source, kind, self._groups(source))
        rules = Rules(seed, self._share, self.test_folder, kind)
        return new_split(source, rules, self._groups(source), None if tests is None else (tests, self._groups(tests)))

    def _roots(self) -> list[Path]:
        return [path for path in map(Path, filter(None, (self.root, self.test_root))) if path.exists()]

    def _groups(self, source: Source) -> Mapping[str, str]:
        return user_groups(source.names, self.group, Path(self.group_file) if self.group_file else None)
