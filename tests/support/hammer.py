"""Many connections of one client that ask as fast as they are answered, in a process of their own.

    python -m tests.support.hammer OUT SECONDS ADDRESS WORKERS EACH PORT [PORT ...]

Connects until each of the WORKERS processes behind each port has EACH connections, prints their numbers as JSON
({pid: connections}), waits for a line on stdin, and hammers. OUT gets signed 64-bit integers, three per request: when
it was sent, when its answer was there (microseconds of this machine's clock, which is Redis's too), and the status.
"""

from __future__ import annotations

import json
import re
import select
import socket
import sys
from array import array
from collections import Counter
from pathlib import Path
from time import monotonic, time_ns

CONNECT_S = 30.0
LAST_ANSWERS_S = 10.0
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
WHO = b"GET /gateway/health/detailed HTTP/1.1\r\nHost: gateway.test\r\n\r\n"


def complete(data: bytes) -> bool:
    """Whether a whole response is there."""
    head, end, body = data.partition(b"\r\n\r\n")
    if not end:
        return False
    length = LENGTH.search(head)
    assert length is not None, head
    return len(body) >= int(length[1])


def exchange(sock: socket.socket, request: bytes) -> bytes:
    """One request on an idle connection."""
    sock.sendall(request)
    data = b""
    while not complete(data):
        more = sock.recv(65536)
        assert more, "closed in an answer"
        data += more
    return data


def connect(ports: list[int], workers: int, each: int) -> tuple[list[socket.socket], Counter[int]]:
    """So many connections to each process; the kernel decides which one a connection reaches, so some are closed."""
    socks: list[socket.socket] = []
    held: Counter[int] = Counter()
    deadline = monotonic() + CONNECT_S
    for number, port in enumerate(ports, 1):
        while len(held) < number * workers or min(held.values()) < each:
            assert monotonic() < deadline, f"the connections did not reach every process: {held}"
            sock = socket.create_connection(("127.0.0.1", port), 10)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pid = json.loads(exchange(sock, WHO).partition(b"\r\n\r\n")[2])["resources"]["pid"]
            if held[pid] < each:
                held[pid] += 1
                socks.append(sock)
            else:
                sock.close()
    return socks, held


def hammer(socks: list[socket.socket], request: bytes, seconds: float) -> array[int]:
    """Ask on all connections at once, again as soon as one is answered."""
    notes = array("q")
    poll = select.epoll()
    by_fd = {sock.fileno(): sock for sock in socks}
    sent: dict[int, int] = {}
    rest: dict[int, bytes] = {}

    def ask(fd: int) -> None:
        sent[fd] = time_ns() // 1000
        by_fd[fd].sendall(request)

    for fd in by_fd:
        poll.register(fd, select.EPOLLIN)
        ask(fd)
    end = monotonic() + seconds
    while sent and monotonic() < end + LAST_ANSWERS_S:
        for fd, _ in poll.poll(0.1):
            more = by_fd[fd].recv(65536)
            assert more, "closed in an answer"
            data = rest.pop(fd, b"") + more
            if not complete(data):
                rest[fd] = data
                continue
            notes.extend((sent.pop(fd), time_ns() // 1000, int(data[9:12])))
            if monotonic() < end:
                ask(fd)
    assert not sent, f"{len(sent)} requests were not answered"
    return notes


def main() -> None:
    out, seconds, address, workers, each, *ports = sys.argv[1:]
    socks, held = connect([int(port) for port in ports], int(workers), int(each))
    print(json.dumps(held), flush=True)
    sys.stdin.readline()
    request = f"GET /x HTTP/1.1\r\nHost: gateway.test\r\nX-Forwarded-For: {address}\r\n\r\n".encode()
    with Path(out).open("wb") as file:
        hammer(socks, request, float(seconds)).tofile(file)


if __name__ == "__main__":
    main()
