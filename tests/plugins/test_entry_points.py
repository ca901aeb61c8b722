"""The entry points of real dist-infos: one that is damaged hides no other."""

from importlib.metadata import EntryPoint

import pytest

from invkit.plugins.entry_points import entries

GOOD = "[invkit]\nblur = invkit_blur\n[other]\nx = y\n"


def found():
    return {name: (version, point) for name, version, point in entries() if name not in ("invkit",)}


def test_the_first_party_plugins_come_this_way():
    assert ("invkit", "sparse") in {(name, point.name) for name, _, point in entries() if isinstance(point, EntryPoint)}


def test_an_installed_plugin(distribution):
    distribution("invkit-blur", {}, GOOD)
    version, point = found()["invkit-blur"]
    assert (version, point.name, point.value, point.group) == ("1.2", "blur", "invkit_blur", "invkit")


@pytest.mark.parametrize(
    "entry_points", ["[invkit]\nblur\n", b"[invkit]\nblur = \xff\xfe\n"], ids=["no value", "no text"]
)
def test_entry_points_that_cannot_be_read(distribution, entry_points):
    distribution("invkit-blur", {}, GOOD)
    distribution("invkit-bad", {}, entry_points)
    distribution("somebody-else", {}, entry_points)
    assert isinstance(found()["invkit-bad"][1], Exception)
    assert isinstance(found()["invkit-blur"][1], EntryPoint)
    assert "somebody-else" not in found()


@pytest.mark.parametrize("metadata", ["", "\0\1\2", "Name:\n"], ids=["empty", "binary", "no name"])
def test_a_distribution_without_a_name_goes_by_its_folder(distribution, metadata):
    distribution("invkit-bad", {}, GOOD, metadata)
    assert found()["invkit_bad"][0] == ""


def test_a_distribution_further_down_the_path_is_not_seen(distribution, monkeypatch, tmp_path):
    folder = distribution("invkit-blur", {}, GOOD)
    (tmp_path / "old").mkdir()
    folder.joinpath("invkit_blur-1.2.dist-info").rename(tmp_path / "old" / "invkit_blur-1.2.dist-info")
    distribution("invkit-blur", {}, GOOD.replace("blur =", "newer ="))
    monkeypatch.syspath_prepend(str(tmp_path / "old"))
    monkeypatch.syspath_prepend(str(folder))
    assert found()["invkit-blur"][1].name == "newer"
    assert sum(name == "invkit-blur" for name, *_ in entries()) == 1
