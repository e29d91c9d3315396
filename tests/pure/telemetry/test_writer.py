"""Log lines on their way out: whole, in order, bounded, and never waited for."""

from __future__ import annotations

import json
import logging
import os
import threading
import time

from fastgw.telemetry import logs
from fastgw.telemetry.writer import MAX_PENDING_BYTES, PIPE_BYTES, LogWriter, pieces, write_now


def drained(fd: int) -> bytes:
    data = b""
    while piece := os.read(fd, 65536):
        data += piece
    return data


def test_lines_come_out_in_order() -> None:
    out, into = os.pipe()
    writer = LogWriter(into)
    for number in range(1000):
        writer.add(b"%d\n" % number)
    writer.close()
    os.close(into)
    assert drained(out).split() == [b"%d" % number for number in range(1000)]
    assert writer.dropped == 0


def test_lines_of_two_processes_are_never_mixed() -> None:
    out, into = os.pipe()
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(drained(out)))
    reader.start()
    writers = [LogWriter(into), LogWriter(into)]
    for number in range(3000):
        for name, writer in zip(b"ab", writers, strict=True):
            writer.add(bytes([name]) * (1 + number % 300) + b"\n")
            if number % 50 == 0:
                writer.flush()
    for writer in writers:
        writer.close()
    os.close(into)
    reader.join()
    lines = read[0].splitlines()
    assert len(lines) == 6000
    assert all(len(set(line)) == 1 for line in lines)


def test_a_reader_that_does_not_read_costs_lines_and_no_time() -> None:
    out, into = os.pipe()
    writer = LogWriter(into)
    line = b"x" * 999 + b"\n"
    slowest = 0.0
    for _ in range(MAX_PENDING_BYTES // 1000 * 2):
        begun = time.perf_counter()
        writer.add(line)
        slowest = max(slowest, time.perf_counter() - begun)
    assert writer.dropped > 1000
    assert slowest < 0.5, "nothing waits for the pipe, which would be for ever"
    begun = time.perf_counter()
    writer.close()
    assert time.perf_counter() - begun < 5
    os.close(out)  # ends the thread


def test_a_closed_stdout_is_borne() -> None:
    out, into = os.pipe()
    os.close(out)
    writer = LogWriter(into)
    for _ in range(10):
        writer.add(b"x\n")
        writer.flush()
    writer.close()
    assert writer.dropped == 10
    assert not write_now(into, b"x\n", 0.1)
    os.close(into)


def test_a_process_without_a_writer_waits_a_moment_only() -> None:
    out, into = os.pipe()
    os.set_blocking(into, False)
    while True:
        try:
            os.write(into, b"x" * 4096)
        except BlockingIOError:
            break
    os.set_blocking(into, True)
    begun = time.perf_counter()
    assert not write_now(into, b"late\n", 0.05)
    assert time.perf_counter() - begun < 2
    os.close(out)
    os.close(into)


def test_pieces_are_whole_lines() -> None:
    data = b"".join(b"y" * (number % 97) + b"\n" for number in range(1000)) + b"z" * 3 * PIPE_BYTES + b"\n" + b"a\n"
    cut = list(pieces(data, PIPE_BYTES))
    assert b"".join(cut) == data
    assert all(piece.endswith(b"\n") for piece in cut)
    assert [len(piece) for piece in cut if len(piece) > PIPE_BYTES] == [3 * PIPE_BYTES + 1]


def test_a_lifecycle_line_is_json() -> None:
    record = logging.LogRecord("fastgw.x", logging.WARNING, "", 0, 'a "quoted"\n%s', ("\udcff",), None)
    line = json.loads(logs.JsonFormatter().format(record))
    assert (line["level"], line["logger"]) == ("warning", "fastgw.x")
    assert line["message"].startswith('a "quoted"\n')
    assert line["time"].endswith("Z")
