"""Uploads in parts: over presigned links, from several senders, through restarts of whoever coordinates them."""

import base64
import hashlib
import os
import socket
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
import urllib3

from components.contracts.errors import AlreadyExistsError, ObjectNotFoundError, StorageError
from components.storage import S3Store

pytestmark = pytest.mark.s3

MINUTE = timedelta(minutes=1)
MIB = 2**20


@pytest.fixture
def key() -> str:
    return f"robots/{uuid.uuid4().hex}/episode ü.h5"


def _send(url: str, body: bytes, **headers: str) -> int:
    return urllib3.request("PUT", url, body=body, headers=headers, retries=False).status


def _link(store: S3Store, key: str, upload: str, number: int) -> str:
    return store.part_link("inbox", key, upload, number, expires=MINUTE)


def test_parts_sent_over_links_in_any_order_become_one_object(platform: S3Store, key: str) -> None:
    pieces = [os.urandom(5 * MIB), os.urandom(5 * MIB), os.urandom(1234)]
    upload = platform.begin_parts("inbox", key)

    for number in (3, 1, 2):
        assert _send(_link(platform, key, upload, number), pieces[number - 1]) == 200
    parts = platform.list_parts("inbox", key, upload)
    visible_before = platform.stat("inbox", key)
    platform.complete_parts("inbox", key, upload, parts, if_absent=True)

    assert visible_before is None
    assert [(part.number, part.size) for part in parts] == [(1, 5 * MIB), (2, 5 * MIB), (3, 1234)]
    assert [part.etag for part in parts] == [hashlib.md5(piece, usedforsecurity=False).hexdigest() for piece in pieces]
    assert platform.get("inbox", key) == b"".join(pieces)
    assert platform.open_uploads("inbox", key) == []


def test_link_takes_a_part_of_its_length_and_no_other(platform: S3Store, key: str) -> None:
    upload = platform.begin_parts("inbox", key)
    link = platform.part_link("inbox", key, upload, 1, expires=MINUTE, size=5)

    for body in (b"", b"four", b"sixsix", b"x" * MIB):
        assert _send(link, body) == 403
    chunked = urllib3.request("PUT", link, body=iter([b"five5", b"more"]), retries=False)
    assert chunked.status in {403, 411}
    assert platform.list_parts("inbox", key, upload) == []

    assert _send(link, b"five5") == 200
    assert [part.size for part in platform.list_parts("inbox", key, upload)] == [5]


def test_link_of_a_length_that_is_tampered_with_takes_nothing(platform: S3Store, key: str) -> None:
    upload = platform.begin_parts("inbox", key)
    link = platform.part_link("inbox", key, upload, 1, expires=MINUTE, size=5)
    for changed in (
        link.replace("content-length%3Bhost", "host"),
        link.replace("partNumber=1", "partNumber=2"),
        link.replace("X-Amz-Expires=60", "X-Amz-Expires=6000"),
    ):
        assert changed != link
        assert _send(changed, b"other size") >= 400
    assert platform.list_parts("inbox", key, upload) == []


def test_abandoned_uploads_are_dropped_by_their_age(platform: S3Store, key: str) -> None:
    upload, other = platform.begin_parts("inbox", key), platform.begin_parts("inbox", f"{key}2")
    _send(_link(platform, key, upload, 1), b"part")

    assert platform.abandon_older_than("inbox", timedelta(hours=1)) == []
    assert [found.upload_id for found in platform.all_open_uploads("inbox") if found.key == key] == [upload]

    deadline = time.monotonic() + 20  # some servers date parts by the second
    dropped: set[str] = set()
    while not {upload, other} <= dropped and time.monotonic() < deadline:
        dropped |= {found.upload_id for found in platform.abandon_older_than("inbox", timedelta(0))}
    assert {upload, other} <= dropped
    assert platform.open_uploads("inbox", key) == []
    with pytest.raises(ObjectNotFoundError):
        platform.list_parts("inbox", key, upload)


def test_part_changed_on_its_way_is_refused(platform: S3Store, key: str) -> None:
    upload = platform.begin_parts("inbox", key)
    digest = base64.b64encode(hashlib.md5(b"sent", usedforsecurity=False).digest()).decode()

    status = _send(_link(platform, key, upload, 1), b"came", **{"Content-MD5": digest})

    assert status == 400
    assert platform.list_parts("inbox", key, upload) == []


def test_part_sent_again_with_other_bytes_is_one_of_both_and_what_is_listed(platform: S3Store, key: str) -> None:
    upload = platform.begin_parts("inbox", key)
    sent = [b"first, longer", b"second"]
    for body in sent:
        _send(_link(platform, key, upload, 1), body)

    (part,) = platform.list_parts("inbox", key, upload)
    platform.complete_parts("inbox", key, upload, [part], if_absent=True)

    content = platform.get("inbox", key)
    assert content in sent
    assert part.size == len(content)


def test_part_cut_off_on_its_way_is_no_part(platform: S3Store, key: str) -> None:
    """With a Content-MD5, as robots send it: without, versitygw lists what was cut off as a whole part."""
    upload = platform.begin_parts("inbox", key)
    url = urlsplit(_link(platform, key, upload, 1))
    body = b"x" * 5 * MIB
    head = (
        f"PUT {url.path}?{url.query} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Length: {len(body)}\r\n"
        f"Content-MD5: {base64.b64encode(hashlib.md5(body).digest()).decode()}\r\n\r\n"  # noqa: S324  # S3's word
    )

    with socket.create_connection((url.hostname, url.port)) as wire:
        wire.sendall(head.encode() + body[:-100])
    _send(_link(platform, key, upload, 2), b"later")

    assert [part.number for part in platform.list_parts("inbox", key, upload)] == [2]


def test_empty_part_counts_as_none(platform: S3Store, key: str) -> None:
    upload = platform.begin_parts("inbox", key)
    _send(_link(platform, key, upload, 1), b"x")
    _send(_link(platform, key, upload, 2), b"")

    assert [part.number for part in platform.list_parts("inbox", key, upload)] == [1]


def test_more_parts_than_a_page_are_listed_whole(platform: S3Store, key: str) -> None:
    upload = platform.begin_parts("inbox", key)
    numbers = [*range(1, 1021), 10_000]
    with urllib3.PoolManager(maxsize=8) as http, ThreadPoolExecutor(8) as pool:
        links = [(_link(platform, key, upload, number), b"%d" % number) for number in numbers]
        list(pool.map(lambda link: http.request("PUT", link[0], body=link[1], retries=False), links))

    assert [part.number for part in platform.list_parts("inbox", key, upload)] == numbers
    platform.abandon_parts("inbox", key, upload)


def test_open_uploads_are_those_of_the_key_alone_newest_last(platform: S3Store, key: str) -> None:
    others = [key + "-longer", key + "/below", key[:-1]]
    for other in others:
        platform.begin_parts("inbox", other)
    uploads = [platform.begin_parts("inbox", key) for _ in range(3)]

    found = platform.open_uploads("inbox", key)

    assert sorted(found) == sorted(uploads)
    assert platform.open_uploads("inbox", key + "-none") == []
    assert [len(platform.open_uploads("inbox", other)) for other in others] == [1, 1, 1]


def test_abandoned_upload_is_gone(platform: S3Store, key: str) -> None:
    upload = platform.begin_parts("inbox", key)
    link = _link(platform, key, upload, 1)
    _send(link, b"x")

    platform.abandon_parts("inbox", key, upload)

    assert platform.open_uploads("inbox", key) == []
    assert _send(link, b"x") == 404
    with pytest.raises(ObjectNotFoundError, match="not open"):
        platform.list_parts("inbox", key, upload)
    assert platform.stat("inbox", key) is None


def test_upload_never_begun_is_reported_as_not_open(platform: S3Store, key: str) -> None:
    with pytest.raises(ObjectNotFoundError, match="not open"):
        platform.list_parts("inbox", key, "nonsense")
    for upload in ("../../x", "a b&c=d", str(uuid.uuid4())):
        with pytest.raises(StorageError):
            platform.list_parts("inbox", key, upload)
        assert _send(_link(platform, key, upload, 1), b"x") in {400, 404}
    assert platform.stat("inbox", key) is None


def test_completion_repeated_does_no_harm(platform: S3Store, key: str) -> None:
    upload = platform.begin_parts("inbox", key)
    _send(_link(platform, key, upload, 1), b"content")
    parts = platform.list_parts("inbox", key, upload)
    platform.complete_parts("inbox", key, upload, parts, if_absent=True)

    with suppress(AlreadyExistsError):  # versitygw remembers that it was this upload, and says so
        platform.complete_parts("inbox", key, upload, parts, if_absent=True)
    with pytest.raises(ObjectNotFoundError, match="not open"):
        platform.list_parts("inbox", key, upload)

    assert platform.get("inbox", key) == b"content"


def test_second_upload_of_a_key_loses_on_completion_and_leaves_the_first(platform: S3Store, key: str) -> None:
    first, second = (platform.begin_parts("inbox", key) for _ in range(2))
    _send(_link(platform, key, first, 1), b"first")
    _send(_link(platform, key, second, 1), b"second")
    parts = platform.list_parts("inbox", key, second)

    platform.complete_parts("inbox", key, first, platform.list_parts("inbox", key, first), if_absent=True)
    with pytest.raises(AlreadyExistsError):
        platform.complete_parts("inbox", key, second, parts, if_absent=True)

    assert platform.get("inbox", key) == b"first"


def test_completion_with_a_part_that_is_not_there_is_refused(platform: S3Store, key: str) -> None:
    upload = platform.begin_parts("inbox", key)
    _send(_link(platform, key, upload, 1), b"x" * (5 * MIB))
    (part,) = platform.list_parts("inbox", key, upload)

    for parts in ([], [part, part.model_copy(update={"number": 2})], [part.model_copy(update={"etag": "0" * 32})]):
        with pytest.raises(StorageError):
            platform.complete_parts("inbox", key, upload, parts, if_absent=True)

    assert platform.stat("inbox", key) is None
    assert platform.open_uploads("inbox", key) == [upload]


def test_link_expires_and_says_for_which_part_it_is(platform: S3Store, key: str) -> None:
    upload = platform.begin_parts("inbox", key)
    link = _link(platform, key, upload, 1)

    assert _send(link.replace("partNumber=1", "partNumber=2"), b"x") == 403
    assert _send(link.replace(key.split("/")[1], "another-robot"), b"x") == 403
    for expires in (timedelta(0), timedelta(days=8)):
        with pytest.raises(StorageError, match="between 1 s and 7 days"):
            platform.part_link("inbox", key, upload, 1, expires=expires)
    assert platform.list_parts("inbox", key, upload) == []
