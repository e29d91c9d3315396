"""auth/accepted.py: keys, hashes, and the file that is read again when it changes."""

from __future__ import annotations

import hashlib
import os
import socket

import pytest

from fastgw.auth import accepted
from fastgw.auth.accepted import Accepted, parse
from tests.pure.loop import in_loop

A, B, C = (hashlib.sha256(text).hexdigest() for text in (b"a", b"b", b"c"))


def digest(text: str) -> bytes:
    return bytes.fromhex(text)


def key(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def test_keys_have_the_name_that_was_given_or_the_start_of_their_digest():
    one = Accepted(["ops:secret-1", "secret-2", "a:b:c"], [], None)
    assert one.key(key("secret-1")) == "key:ops"
    assert one.key(key("secret-2")) == "key:" + key("secret-2").hex()[:12]
    assert one.key(key("b:c")) == "key:a"
    assert one.key(key("ops:secret-1")) is None
    assert one.has_keys
    assert not one.has_tokens


def test_neither_keys_nor_hashes_are_kept_or_shown():
    one = Accepted(["ops:secret-1"], [A], None)
    assert "secret-1" not in repr(vars(one)) + repr(one)


def test_keys_and_tokens_are_told_apart():
    one = Accepted(["a"], [B], None)
    assert one.token(digest(A)) is None
    assert one.key(digest(B)) is None
    assert one.token(digest(B)) == f"token:{B[:12]}"


def test_a_hit_is_confirmed_by_a_constant_time_comparison_of_digests(monkeypatch):
    compared = []
    monkeypatch.setattr(accepted, "compare_digest", lambda one, other: compared.append((one, other)) or one == other)
    one = Accepted(["secret-1"], [A], None)
    assert one.key(key("secret-1"))
    assert one.token(digest(A))
    assert one.key(key("wrong")) is None
    assert compared == [(key("secret-1"), key("secret-1")), (digest(A), digest(A))]


@pytest.mark.parametrize("text", ["schlüssel", "two words", "x" * 5000])
def test_a_key_that_no_field_can_carry_is_warned_about_and_left_out(text, caplog):
    one = Accepted(["good", f"bad:{text}"], [], None)
    assert one.key(key(text)) is None
    assert one.key(key("good"))
    assert "key 2 " in caplog.text
    assert text not in caplog.text


def test_a_file_has_hashes_comments_and_blank_lines():
    text = f"\ufeff# our workers\n{A}\n\n  {B.upper()}\t# west\r\n#{C}\n{C}"
    found = parse(text.encode())
    assert found.digests == {digest(A), digest(B), digest(C)}
    assert found.bad_lines == ()


@pytest.mark.parametrize(
    "line", [A[:-1], A + "0", "g" * 64, f"{A} {B}", f"{A},{B}", "ä", "\x00", A[:32] + " " + A[32:]]
)
def test_what_is_no_hash_is_told_by_its_line_number(line):
    found = parse(f"{B}\n{line}\n{C}\n".encode())
    assert found.digests == {digest(B), digest(C)}
    assert found.bad_lines == (2,)


def test_a_file_that_holds_too_much_is_refused_whole(monkeypatch):
    monkeypatch.setattr(accepted, "MAX_HASHES", 1)
    parse(f"{A}\n{A}\n".encode())
    with pytest.raises(ValueError, match="more than 1 hashes"):
        parse(f"{A}\n{B}\n".encode())
    monkeypatch.setattr(accepted, "MAX_FILE_BYTES", 10)
    with pytest.raises(ValueError, match="larger than 10 bytes"):
        parse(b"#" * 11)


def replace(path, *lines: str) -> None:
    """As `mv` does: in one step."""
    new = path.with_suffix(".new")
    new.write_text("\n".join(lines))
    new.replace(path)


@in_loop
async def with_file(path, body) -> None:
    await body(Accepted([], [], path))


def test_the_file_is_read_at_once_and_again_when_it_has_changed(tmp_path):
    path = tmp_path / "hashes"
    replace(path, A, B)

    async def body(one: Accepted) -> None:
        assert one.token(digest(A)) == f"token:{A[:12]}"
        assert not await one.refresh()
        replace(path, B, C)
        assert await one.refresh()
        assert one.token(digest(A)) is None
        assert one.token(digest(B))
        assert one.token(digest(C))
        path.write_text(A)  # in place
        assert await one.refresh()
        assert one.token(digest(A))
        assert one.token(digest(C)) is None

    with_file(path, body)


def test_a_rewrite_of_the_same_length_with_the_old_time_is_seen(tmp_path):
    path = tmp_path / "hashes"
    path.write_text(A)
    facts = path.stat()

    async def body(one: Accepted) -> None:
        path.write_text(B)
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
        assert await one.refresh()
        assert one.token(digest(B))

    with_file(path, body)


def test_a_file_that_is_the_same_is_not_read_again(tmp_path, monkeypatch):
    path = tmp_path / "hashes"
    path.write_text(A)

    async def body(one: Accepted) -> None:
        monkeypatch.setattr(accepted, "parse", None)
        assert not await one.refresh()

    with_file(path, body)


def spoil_by_removal(path) -> None:
    path.unlink()


def spoil_by_directory(path) -> None:
    path.unlink()
    path.mkdir()


def spoil_by_fifo(path) -> None:
    path.unlink()
    os.mkfifo(path)


def spoil_by_socket(path) -> None:
    path.unlink()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


def spoil_by_size(path) -> None:
    replace(path, A * 1000)


@pytest.mark.parametrize(
    "spoil",
    [spoil_by_removal, spoil_by_directory, spoil_by_fifo, spoil_by_socket, spoil_by_size],
    ids=lambda f: f.__name__,
)
def test_a_file_that_can_be_read_no_more_leaves_the_last_good_hashes(spoil, tmp_path, caplog, monkeypatch):
    caplog.set_level("INFO")
    monkeypatch.setattr(accepted, "MAX_FILE_BYTES", 1000)
    path = tmp_path / "hashes"
    path.write_text(A)

    async def body(one: Accepted) -> None:
        spoil(path)
        for _ in range(3):
            assert not await one.refresh()
        assert one.token(digest(A))
        assert caplog.text.count("WARNING") == 1, "one line for one change of state"
        assert "stay in force" in caplog.text
        path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
        path.write_text(B)
        assert await one.refresh()
        assert one.token(digest(A)) is None
        assert one.token(digest(B))
        assert "can be read again" in caplog.text

    with_file(path, body)


def test_a_bad_line_is_warned_about_once_by_its_number(tmp_path, caplog):
    path = tmp_path / "hashes"
    path.write_text(f"{A}\nmy-secret-token\n{B}\nanother")

    async def body(one: Accepted) -> None:
        await one.refresh()
        assert one.token(digest(B))
        assert caplog.text.count("WARNING") == 1
        assert "line 2 " in caplog.text
        assert "and 1 more" in caplog.text
        assert "secret" not in caplog.text

    with_file(path, body)


def test_a_process_starts_without_the_file_and_takes_it_when_it_comes(tmp_path, caplog):
    path = tmp_path / "hashes"

    async def body(one: Accepted) -> None:
        assert one.has_tokens
        assert "can't be read" in caplog.text
        path.write_text(A)
        assert await one.refresh()
        assert one.token(digest(A))

    with_file(path, body)


def test_without_a_file_there_is_nothing_to_refresh():
    @in_loop
    async def body() -> None:
        assert not await Accepted([], [A], None).refresh()

    body()
