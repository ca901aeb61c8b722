import hashlib

import pytest
from support.messages import raises

from invkit.core.errors import DataError, ResourceError
from invkit.data.download import fetch

BODY = bytes(range(256)) * 4000
SIZE = len(BODY)
MD5 = "md5:" + hashlib.md5(BODY, usedforsecurity=False).hexdigest()
WAY_OUT = "set data.root=PATH"


@pytest.fixture(autouse=True)
def _served(server):
    server.body = BODY


def run(server, target, digest=MD5, size=SIZE):
    fetch(server.url, target, digest, size, WAY_OUT, say=lambda line: None, pause=0)


def test_a_cut_connection_is_resumed(server, tmp_path):
    server.cuts = 2
    run(server, tmp_path / "deep" / "file")
    assert (tmp_path / "deep" / "file").read_bytes() == BODY and not (tmp_path / "deep" / "file.part").exists()
    assert server.ranges == [None, "bytes=300000-", "bytes=600000-"]


def test_a_later_call_goes_on_where_an_earlier_one_stopped(server, tmp_path):
    (tmp_path / "file.part").write_bytes(BODY[:1000])
    run(server, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == BODY and server.ranges == ["bytes=1000-"]


def test_a_server_that_does_not_resume_sends_it_all_again(server, tmp_path):
    server.resumes = False
    (tmp_path / "file.part").write_bytes(b"x" * 1000)
    run(server, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == BODY


def test_a_wrong_checksum_is_refused_and_not_kept(server, tmp_path):
    server.body = b"y" + BODY[1:]
    with raises(DataError, MD5.removeprefix("md5:"), WAY_OUT):
        run(server, tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


def test_no_more_than_the_size_is_read(server, tmp_path):
    short = BODY[:1234]
    run(server, tmp_path / "file", "sha256:" + hashlib.sha256(short).hexdigest(), len(short))
    assert (tmp_path / "file").read_bytes() == short


def test_a_size_may_be_the_servers_and_a_digest_the_first_digits(server, tmp_path):
    digest = "sha256:" + hashlib.sha256(BODY).hexdigest()[:8]
    server.cuts = 1
    run(server, tmp_path / "file", digest, None)
    assert (tmp_path / "file").read_bytes() == BODY and server.ranges == [None, "bytes=300000-"]
    server.status = 416  # of a part that lacks nothing
    (tmp_path / "whole.part").write_bytes(BODY)
    run(server, tmp_path / "whole", digest, None)
    assert (tmp_path / "whole").read_bytes() == BODY
    server.status = 200
    with pytest.raises(DataError, match="wrong checksum"):
        run(server, tmp_path / "other", "sha256:01234567", None)


@pytest.mark.parametrize("status", [404, 503])
def test_an_error_of_the_server_says_the_way_out(server, tmp_path, status):
    server.status = status
    with raises(DataError, server.url, WAY_OUT) as error:
        run(server, tmp_path / "file")
    assert "\n" not in str(error.value) and len(server.ranges) == 1


def test_a_server_that_stops_sending_is_given_up_and_the_part_kept(server, tmp_path):
    server.body = BODY[:5000]
    with raises(DataError, server.url, 5000):
        run(server, tmp_path / "file")
    assert (tmp_path / "file.part").stat().st_size == 5000


def test_a_folder_that_cannot_be_written_is_named(server, tmp_path):
    (tmp_path / "taken").write_text("a file")
    with raises(ResourceError, "file.part", WAY_OUT):
        run(server, tmp_path / "taken" / "file")
