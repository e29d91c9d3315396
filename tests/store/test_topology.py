"""Who is master of what, as real servers, sentinels and a Cluster tell; and the clients for rare work."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis, RedisCluster
from redis.exceptions import ConnectionError as RedisConnectionError

from fastgw.store.address import Address
from fastgw.store.ping import ping
from fastgw.store.slots import SLOTS, slot_of
from fastgw.store.topology import ANSWER_TIMEOUT_S, SENTINEL_TIMEOUT_S, StoreUnreachable, Topology, explained
from tests.pure.loop import in_loop
from tests.support.ports import DeafPort, RefusingPort
from tests.support.valkey import PASSWORD, SERVICE, Cluster, SentinelSet, Valkey


async def reason_of(topology: Topology, question: str = "master") -> str:
    with pytest.raises(StoreUnreachable) as caught:
        await getattr(topology, question)()
    text = str(caught.value)
    assert "\n" not in text
    assert PASSWORD not in text
    return text


@asynccontextmanager
async def used(topology: Topology):
    """The client for rare work; its failures in one line."""
    async with explained(topology.where), topology.client() as client:
        yield client


# -- one server ---------------------------------------------------------------------------------------


@in_loop
async def test_one_server_is_its_own_master(valkey: Valkey) -> None:
    topology = Topology(valkey.url)
    assert topology.kind == "standalone"
    assert await topology.master() == Address("127.0.0.1", valkey.port, username="fastgw", password=PASSWORD)
    assert await ping(valkey.url, None, 2.0) > 0


@in_loop
async def test_the_client_logs_in_and_speaks_bytes(valkey: Valkey) -> None:
    async with used(Topology(valkey.url)) as client:
        assert isinstance(client, Redis)
        await client.set("gateway:a", "1")
        assert await client.get("gateway:a") == b"1"
    assert valkey.admin.get("gateway:a") == b"1"


@in_loop
async def test_password_and_database_from_the_settings(valkey: Valkey) -> None:
    url = valkey.url.replace(f":{PASSWORD}", "")
    async with used(Topology(url, PASSWORD, 3)) as client:
        await client.set("gateway:a", "3")
    assert valkey.admin.get("gateway:a") is None
    assert valkey.admin.execute_command("MOVE", "gateway:b", 3) == 0
    assert "db3" in valkey.admin.info("keyspace")


def test_an_address_that_can_not_be_read_is_refused_without_being_quoted() -> None:
    with pytest.raises(StoreUnreachable, match="can't be read") as caught:
        Topology("redis://:hem/lig@redis:6379")
    assert "lig" not in str(caught.value)


@in_loop
async def test_failures_of_rare_work_are_one_line(valkey: Valkey) -> None:
    valkey.stop()
    with pytest.raises(StoreUnreachable, match=r"^redis://127\.0\.0\.1:\d+: Connection refused; check"):
        async with used(Topology(valkey.url)) as client:
            await client.get("gateway:a")


@in_loop
async def test_a_wrong_password_is_named(valkey: Valkey) -> None:
    topology = Topology(valkey.url.replace(PASSWORD, "hemlig"))
    with pytest.raises(StoreUnreachable, match="refused the credentials") as caught:
        async with used(topology) as client:
            await client.get("gateway:a")
    assert "hemlig" not in str(caught.value)


@in_loop
async def test_a_server_that_hangs_is_given_up_once(valkey: Valkey) -> None:
    valkey.freeze()
    start = time.monotonic()
    with pytest.raises(StoreUnreachable, match="no answer within 1 s"):
        async with used(Topology(valkey.url)) as client:
            await client.get("gateway:a")
    assert time.monotonic() - start < ANSWER_TIMEOUT_S * 2
    with pytest.raises(StoreUnreachable, match=r"no answer within 0\.2 s"):
        async with explained("redis://a", 0.2):
            await asyncio.sleep(1)


# -- Sentinel -----------------------------------------------------------------------------------------


@in_loop
async def test_the_sentinels_name_the_master(sentinels: SentinelSet) -> None:
    topology = Topology(sentinels.url)
    assert topology.kind == "sentinel"
    port = sentinels.master().port
    assert await topology.master() == Address("127.0.0.1", port, username="fastgw", password=PASSWORD)
    assert await ping(sentinels.url, None, 2.0) > 0


def with_sentinels(url: str, *hosts: str) -> str:
    """The URL with other sentinels."""
    head, _, tail = url.partition("@")
    return f"{head}@{','.join(hosts)}/{tail.partition('/')[2]}"


@in_loop
async def test_sentinels_that_do_not_answer_cost_little(sentinels: SentinelSet) -> None:
    deaf, refusing = DeafPort(), RefusingPort()
    try:
        good = f"127.0.0.1:{sentinels.sentinels[1].port}"
        url = with_sentinels(sentinels.url, f"127.0.0.1:{deaf.port}", f"127.0.0.1:{refusing.port}", good)
        start = time.monotonic()
        assert (await Topology(url).master()).port == sentinels.master().port
        assert time.monotonic() - start < SENTINEL_TIMEOUT_S + 0.2
    finally:
        deaf.close()
        refusing.close()


@in_loop
async def test_what_most_sentinels_say_counts(sentinels: SentinelSet) -> None:
    """One that was cut off still names the old master, and answers first."""

    async def cut_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"main\r\n")
        writer.write(b"*2\r\n$9\r\n127.0.0.1\r\n$1\r\n9\r\n")
        writer.close()

    async with await asyncio.start_server(cut_off, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        alone = Topology(with_sentinels(sentinels.url, f"127.0.0.1:{port}"))
        assert (await alone.master()).port == 9
        hosts = [f"127.0.0.1:{port}", *(f"127.0.0.1:{one.port}" for one in sentinels.sentinels[:2])]
        assert (await Topology(with_sentinels(sentinels.url, *hosts)).master()).port == sentinels.master().port


@in_loop
async def test_a_service_that_no_sentinel_knows(sentinels: SentinelSet) -> None:
    topology = Topology(sentinels.url.replace(f"/{SERVICE}", "/other"))
    assert "no sentinel that answered knows the master" in await reason_of(topology)


@pytest.mark.slow
@in_loop
async def test_the_client_follows_a_failover(sentinels: SentinelSet) -> None:
    topology = Topology(sentinels.url)
    async with topology.client() as client:
        await client.set("gateway:a", "1")
        new = await asyncio.to_thread(sentinels.failover)
        assert (await topology.master()).port == new.port
        async with asyncio.timeout(5):
            while True:  # the old master closes the connection, or says that it is a replica now
                try:
                    await client.set("gateway:a", "2")
                    break
                except RedisConnectionError:
                    continue
    assert new.admin.get("gateway:a") == b"2"


# -- Cluster ------------------------------------------------------------------------------------------


@in_loop
async def test_a_cluster_tells_who_has_which_slot(cluster: Cluster) -> None:
    topology = Topology(cluster.url)
    assert topology.kind == "cluster"
    slots = await topology.slots()
    assert [number for first, last, _ in slots for number in range(first, last + 1)] == list(range(SLOTS))
    assert {address.port for *_, address in slots} == {node.port for node in cluster.nodes}
    assert {(a.username, a.password) for *_, a in slots} == {("fastgw", PASSWORD)}
    for key in (b"gateway:config", b"gateway:cache:{/regions}x"):
        (owner,) = (a.port for first, last, a in slots if first <= slot_of(key) <= last)
        assert owner == cluster.node_of(key).port
    assert await ping(cluster.url, None, 2.0) > 0


def test_slots_are_computed_as_the_server_does(valkey: Valkey, cluster: Cluster) -> None:
    chance = random.Random(1)
    alphabet = b"{}{}ab\x00\xff:"
    keys = [bytes(chance.choices(alphabet, k=chance.randrange(12))) for _ in range(500)]
    admin = cluster.nodes[0].admin
    assert [slot_of(key) for key in keys] == [admin.execute_command("CLUSTER KEYSLOT", key) for key in keys]


@in_loop
async def test_a_moved_slot_is_told(cluster: Cluster) -> None:
    topology = Topology(cluster.url)
    slot = slot_of(b"gateway:config")
    home = cluster.node_of(b"gateway:config")
    other = cluster.other_than(home)
    async with topology.client() as client:
        assert isinstance(client, RedisCluster)
        await client.set("gateway:config", "1")
        await asyncio.to_thread(cluster.move_slot, slot, other)
        (owner,) = (a.port for first, last, a in await topology.slots() if first <= slot <= last)
        assert owner == other.port
        assert await client.get("gateway:config") == b"1"


@in_loop
async def test_other_nodes_answer_for_one_that_hangs(cluster: Cluster) -> None:
    topology = Topology(cluster.url)
    assert await topology.slots()
    cluster.nodes[0].freeze()
    assert len(await topology.slots()) == 3
    start = time.monotonic()
    assert len(await topology.slots()) == 3
    assert time.monotonic() - start < ANSWER_TIMEOUT_S / 2, "the node that answered last is asked first"


@in_loop
async def test_nodes_known_from_before_answer_when_those_of_the_url_are_gone(cluster: Cluster) -> None:
    host = f"127.0.0.1:{cluster.nodes[0].port}"
    topology = Topology(f"redis+cluster://fastgw:{PASSWORD}@{host}")
    assert len(await topology.slots()) == 3
    cluster.nodes[0].freeze()
    assert len(await topology.slots()) == 3


@in_loop
async def test_a_cluster_that_is_not_there() -> None:
    refusing = RefusingPort()
    try:
        assert "Connection refused" in await reason_of(Topology(f"redis+cluster://127.0.0.1:{refusing.port}"), "slots")
    finally:
        refusing.close()


@in_loop
async def test_a_server_that_is_no_cluster_says_so(valkey: Valkey) -> None:
    topology = Topology(valkey.url.replace("redis://", "redis+cluster://"))
    assert "cluster support disabled" in await reason_of(topology, "slots")


@in_loop
async def test_tls_is_asked_for(valkey: Valkey) -> None:
    """The wheel's server speaks no TLS; that ours does shows in its first byte."""
    first = asyncio.get_running_loop().create_future()

    async def look(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first.set_result(await reader.read(1))
        writer.close()

    server = await asyncio.start_server(look, "127.0.0.1", 0, family=socket.AF_INET)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(StoreUnreachable):
            await ping(f"rediss://127.0.0.1:{port}", None, 2.0)
        assert await first == b"\x16"  # TLS record: handshake (RFC 8446 5.1)
