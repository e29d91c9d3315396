"""REDIS_URL in all its forms."""

from __future__ import annotations

import ssl

import pytest

from fastgw.store.address import Address, Source, Tls, describe, read


def server(url: str, password: str | None = None, db: int | None = None) -> Address:
    source = read(url, password, db)
    assert source.kind == "standalone"
    assert source.nodes == ()
    return source.server


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://", Address("localhost", 6379)),
        ("redis://redis", Address("redis", 6379)),
        ("redis://redis:6380/3", Address("redis", 6380, db=3)),
        ("redis://redis/?db=4", Address("redis", 6379, db=4)),
        ("redis://redis/3?db=4", Address("redis", 6379, db=4)),
        ("redis://:p%40ss%2Fword@redis", Address("redis", 6379, password="p@ss/word")),
        ("redis://me:secret@redis", Address("redis", 6379, username="me", password="secret")),
        ("redis://[::1]:6380", Address("::1", 6380)),
        ("redis://redis?protocol=3&socket_timeout=5", Address("redis", 6379)),
        ("rediss://redis", Address("redis", 6379, tls=Tls())),
        (
            "rediss://redis?ssl_ca_certs=/ca.pem&ssl_check_hostname=False",
            Address("redis", 6379, tls=Tls(ca_certs="/ca.pem", check_hostname=False)),
        ),
        ("rediss://redis?ssl_cert_reqs=none", Address("redis", 6379, tls=Tls(cert_reqs="none"))),
        ("unix:///run/redis.sock", Address(socket_path="/run/redis.sock")),
        ("unix:///run/a%20b.sock?db=2", Address(socket_path="/run/a b.sock", db=2)),
        ("unix://fastgw@/run/redis.sock", Address(socket_path="/run/redis.sock", username="fastgw")),
        ("unix://me:pw@/run/redis.sock", Address(socket_path="/run/redis.sock", username="me", password="pw")),
    ],
)
def test_one_server(url: str, address: Address) -> None:
    assert server(url) == address


def test_password_and_database_of_the_settings_stand_in_for_what_the_url_leaves_out() -> None:
    assert server("redis://redis", "pw", 5) == Address("redis", password="pw", db=5)
    assert server("redis://me@redis", "pw") == Address("redis", username="me", password="pw")
    assert server("redis://:own@redis/2", "pw", 5) == Address("redis", password="own", db=2)
    assert server("redis://redis", "") == Address("redis")


@pytest.mark.parametrize(
    ("url", "source"),
    [
        ("redis+sentinel://a/main", Source("sentinel", Address(), (("a", 26379),), "main")),
        (
            "redis+sentinel://me:p%2Fw@a:1,b, [::1]:3/main/4",
            Source(
                "sentinel", Address(username="me", password="p/w", db=4), (("a", 1), ("b", 26379), ("::1", 3)), "main"
            ),
        ),
        ("redis+cluster://:pw@a,b:2", Source("cluster", Address(password="pw"), (("a", 6379), ("b", 2)))),
        ("redis+cluster://a/0", Source("cluster", Address(), (("a", 6379),))),
    ],
)
def test_several_servers(url: str, source: Source) -> None:
    assert read(url) == source


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost",
        "http://localhost",
        "redis://redis:port",
        "redis://:hem/lig@redis:6379",
        "redis://redis/name",
        "redis://redis/1/2",
        "redis://redis/-1",
        "redis://[::1",
        "rediss://redis?ssl_cert_reqs=perhaps",
        "unix://",
        "redis+sentinel://a",
        "redis+sentinel:///main",
        "redis+cluster://,",
    ],
)
def test_what_can_not_be_read(url: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        read(url)


def test_what_may_be_shown() -> None:
    assert describe("rediss://user:hemlig@redis:6380/2?ssl_ca_certs=x") == "rediss://redis:6380/2"
    assert describe("redis+sentinel://:hemlig@a,b:1/main") == "redis+sentinel://a,b:1/main"
    assert describe("unix://fastgw@/run/valkey.sock") == "unix:///run/valkey.sock"
    for unreadable in ("", "redis://:hem/lig@redis", "redis://[::1"):
        assert describe(unreadable) == "REDIS_URL"


def test_an_address_shows_no_password() -> None:
    address = Address("redis", 1, username="me", password="hemlig")
    assert "hemlig" not in repr(address)
    assert str(address) == "redis:1"
    assert str(Address("::1", 1)) == "[::1]:1"
    assert str(Address(socket_path="/a.sock")) == "/a.sock"


def test_tls_checks_the_certificate_unless_told_otherwise() -> None:
    strict = Tls().context()
    assert strict.verify_mode == ssl.CERT_REQUIRED
    assert strict.check_hostname
    lax = Tls(cert_reqs="none").context()
    assert lax.verify_mode == ssl.CERT_NONE
    assert not lax.check_hostname
    with pytest.raises(OSError, match="No such file"):
        Tls(ca_certs="/nothing/here.pem").context()


def test_the_options_for_redis_py() -> None:
    assert Address("redis", username="me", password="pw", db=2).client_options() == {
        "username": "me",
        "password": "pw",
        "db": 2,
    }
    options = Address("redis", tls=Tls(ca_certs="/ca.pem", cert_reqs="none")).client_options()
    assert options["ssl"] is True
    assert options["ssl_ca_certs"] == "/ca.pem"
    assert options["ssl_check_hostname"] is False
