"""Names: what is one response is one name, what is not is two; and the paths that have none."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from itertools import combinations

import pytest

from fastgw.cache.key import base_name, identity_scope, is_job_status, is_never_cached, path_pattern, variant_name

HOST = b"gw.example:3000"
PATH = b"/api/v1/queue/stats"
V = b"0123456789abcdef"
Field = tuple[bytes, bytes]


# -- paths ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        b"/api/v1/workers/w1/next-job",
        b"/api/v1/workers/w1/next-job/",
        b"/api/v1/workers/w1//next-job",
        b"//api/v1/workers/w1/next-job",
        b"/api//v1///workers//w1/next-job//",
        b"/api/v1/workers//next-job",
        b"/api/v1/workers/next-job",
        b"/api/v1/workers/w1/%6eext-job",
        b"/api/v1/workers/w1/%6Eext%2Djob",
        b"/api/v1/workers/w1/%6e%65%78%74%2d%6a%6f%62",
        b"/api/v1/workers/w1%2Fnext-job",
        b"/api/v1/workers/w1%2fnext%2Djob",
        b"%2Fapi/v1/workers/w1/next%2djob",
        b"/api/v1/w%6frkers/w1/next-job",
        b"/%61pi/v1/workers/w1/next%2djob",
        b"/api/v1/workers/w1/next-job%0A",
        b"/api/v1/workers/w1/next%2Djob%0a",
        b"/api/v1/workers/w1/next-job%00",
        b"/api/v1/workers/w1/next-job;a=b",
        b"/api/v1/workers/w1/next-job%3Fa",
        b"/api/v1/workers/w1/next-job%23",
        b"/api/v1/workers/w1/NEXT-JOB",
        b"/api/v1/workers/w1/%4Eext-job",
        b"/API/V1/WORKERS/w1/next-job",
        b"/api/v1/workers/w1/%256eext-job",
        b"/api/v1/workers/w1/%25256eext-job",
        b"/api/v1/workers/w1/%2525256eext-job",
        b"/api/v1/workers/w1/%252525256eext-job",
        b"/api/v1/workers/w1/%25252525256eext-job",
        b"/api/v1/workers/w1/x/../next-job",
        b"/api/v1/workers/w1/x/%2e%2E/next%2djob",
        b"/regions/../api/v1/workers/w1/next%2Djob",
        b"/api/v1/workers/w%201/next-job",
        b"/api/v1/workers/%E4%BD%A0/next-job",
        b"/api/v1/workers/%FF/next-job",
        b"/api/v1/workers/\xff/next-job",
        b"/mounted/api/v1/workers/w1/next-job",
        b"/next-job",
    ],
    ids=repr,
)
def test_next_job_is_never_cached_in_any_spelling(path: bytes) -> None:
    assert is_never_cached(path)


@pytest.mark.parametrize(
    "path",
    [
        b"/api/v1/workers/w1/config",
        b"/api/v1/workers/w1/%63onfig",
        b"/api/v1/workers/w1/jobs/j1/complete",
        b"/api/v1/workers/w1/anything",
        b"/api/v1/workers//w1//config",
        b"/api/v1%2Fworkers%2Fw1%2Fconfig",
        b"/a/./b",
        b"/a/..",
        b"/..",
        b"/.",
        b"/a/%2e%2e/b",
        b"/%2e",
        b"/a/%252e%252e/b",
        b"/%25252525252525",
    ],
    ids=repr,
)
def test_nor_is_anything_below_a_worker_or_of_doubtful_meaning(path: bytes) -> None:
    assert is_never_cached(path)


@pytest.mark.parametrize(
    "path",
    [
        b"/",
        b"",
        b"*",
        PATH,
        b"/regions",
        b"/api/v1/workers",
        b"/api/v1/workers/",
        b"/api/v1/workers/w1",
        b"/api/v1/workers/w%201",
        b"/api/v1/jobs/0123",
        b"/api/v1/jobs/nextjob",
        b"/docs/workers/how/to",
        b"/.well-known/x",
        b"/a/..b",
        b"/a/b..",
        b"/a/.../b",
        b"/a%20b",
        b"/100%",
        b"/100%25",
        b"/%zz",
        b"/%",
    ],
    ids=repr,
)
def test_other_paths_may_be_cached(path: bytes) -> None:
    assert not is_never_cached(path)


def test_whatever_starlette_routes_to_next_job_is_never_cached() -> None:
    """Every one- and two-byte change of the path that its router still takes for next-job is found."""
    routing = pytest.importorskip("starlette.routing")
    unquote = pytest.importorskip("urllib.parse").unquote
    route = routing.compile_path("/api/v1/workers/{worker_id}/next-job")[0]
    path = "/api/v1/workers/w1/next-job"
    candidates = {path + chr(code) for code in range(128)}
    for at in range(len(path) + 1):
        candidates |= {
            f"{path[:at]}{extra}{path[at:]}" for extra in ("/", "%2F", "%0A", "%00", ".", "%2e", "//", "%25")
        }
        for after in range(at + 1, min(at + 3, len(path) + 1)):
            coded = "".join(f"%{ord(char):02{case}}" for char, case in zip(path[at:after], "xX", strict=False))
            candidates.add(path[:at] + coded + path[after:])
    routed = [one for one in candidates if route.match(unquote(one))]
    assert len(routed) > 60
    assert [one for one in routed if not is_never_cached(one.encode())] == []


@pytest.mark.parametrize(
    "path",
    [
        b"/api/v1/jobs/0123",
        b"/api/v1/jobs/0123/",
        b"/api/v1/jobs//0123",
        b"//api/v1/jobs/0123",
        b"/api/v1/jobs/01%32",
        b"/api/v1/%6Aobs/0123",
        b"/api/v1/jobs%2F0123",
        b"/api/v1/jobs/0123%0A",
        b"/api/v1/jobs/a%2Fb",
        b"/api/v1/jobs/%2573ync",
        b"/api/v1/jobs/%25252525252525",
        b"/api/v1/jobs/sync2",
        b"/api/v1/jobs/SYNC",
        b"/api/v1/jobs/stats",
        b"/API/v1/jobs/0123",
        b"/api/v1/jobs/\xff",
    ],
    ids=repr,
)
def test_a_job_s_status(path: bytes) -> None:
    assert is_job_status(path)


@pytest.mark.parametrize(
    "path",
    [
        b"/api/v1/jobs",
        b"/api/v1/jobs/",
        b"/api/v1/jobs/sync",
        b"/api/v1/jobs/sync/",
        b"/api/v1/jobs/stats/queue",
        b"/api/v1/queue/stats",
        b"/api/v1/jobsx/1",
        b"/regions",
        b"/a%20b",
        b"",
    ],
    ids=repr,
)
def test_no_job_s_status(path: bytes) -> None:
    assert not is_job_status(path)


# -- base names -------------------------------------------------------------------------------------------


def test_the_form_of_a_base_name() -> None:
    name = base_name(HOST, PATH, PATH + b"?a=b")
    assert re.fullmatch(rb"\{[0-9a-f]{32}\}", name)
    assert name == base_name(HOST, PATH, PATH + b"?a=b")


def test_base_names_are_the_same_everywhere() -> None:
    """On all processes and nodes, of all versions: a change makes the whole cache cold."""
    assert base_name(b"h", b"/p", b"/p?q") == b"{00d74baf14ea415cf568cb628cf0b817}"  # sha256sum of "/p", "h\0/p?q"
    assert path_pattern(b"/p") == b"{00d74baf14ea415c*"


def test_what_a_base_name_depends_on() -> None:
    one = base_name(HOST, PATH, PATH)
    assert one == base_name(HOST.upper(), PATH, PATH), "a host has no case (RFC 9110 4.2.3)"
    others = {
        base_name(b"other.example", PATH, PATH),
        base_name(b"", PATH, PATH),
        base_name(HOST, PATH, PATH + b"?"),
        base_name(HOST, PATH, PATH + b"?a=1"),
        base_name(HOST, PATH, PATH + b"?a=2"),
        base_name(HOST, PATH + b"/", PATH + b"/"),
        base_name(HOST, PATH.upper(), PATH.upper()),
    }
    assert len(others | {one}) == 8


def test_host_and_target_do_not_run_together() -> None:
    assert base_name(b"a", b"/b", b"/b") != base_name(b"a/", b"/b", b"b")


def test_a_path_s_pattern_matches_its_names_and_no_others() -> None:
    pattern = path_pattern(PATH).decode()
    mine = [
        base_name(HOST, PATH, PATH),
        base_name(b"b", PATH, PATH + b"?x"),
        base_name(HOST, b"/api/v1/queue/st%61ts", b"?"),
    ]
    mine += [variant_name(mine[0], V, (), [], b"")]
    assert all(fnmatchcase(name.decode(), pattern) for name in mine)
    assert not fnmatchcase(base_name(HOST, b"/regions", b"/regions").decode(), pattern)
    assert re.fullmatch(r"\{[0-9a-f]{16}\*", pattern), "no other glob character comes in, whatever the path"


# -- variants ---------------------------------------------------------------------------------------------


def variant(
    *headers: Field, vary: tuple[bytes, ...] = (b"accept",), scope: bytes = b"", generation: bytes = V
) -> bytes:
    return variant_name(b"{base}", generation, vary, list(headers), scope)


def test_the_form_of_a_variant_name() -> None:
    assert re.fullmatch(rb"\{base\}[0-9a-f]{16}", variant())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([(b"accept", b"a")], [(b"accept", b" a\t")]),
        ([(b"accept", b"a, b")], [(b"accept", b"a ,b")]),
        ([(b"accept", b"a"), (b"accept", b"b")], [(b"accept", b"a,b")]),
        ([(b"accept", b"a;q=1   ;x")], [(b"accept", b"a;q=1 ;x")]),
        ([(b"accept", b"a")], [(b"x", b"y"), (b"accept", b"a"), (b"z", b"")]),
    ],
    ids=["blanks", "commas", "lines", "inner_blanks", "other_fields"],
)
def test_the_same_variant(one: list[Field], other: list[Field]) -> None:
    """RFC 9111 4.1."""
    assert variant(*one) == variant(*other)


def test_different_variants() -> None:
    """Each of these is another request, or another generation, or another identity."""
    names = [
        variant(),
        variant((b"accept", b"")),
        variant((b"accept", b"a")),
        variant((b"accept", b"b")),
        variant((b"accept", b"a,b")),
        variant((b"accept", b"b,a")),
        variant((b"accept", b'"a  b"')),
        variant((b"accept", b'"a b"')),
        variant(vary=()),
        variant(vary=(b"accept-language",)),
        variant((b"accept", b"a"), vary=(b"accept", b"x")),
        variant((b"x", b"a"), vary=(b"accept", b"x")),
        variant((b"accept", b"a"), scope=b"0" * 16),
        variant((b"accept", b"a"), scope=b"1" * 16),
        variant((b"accept", b"a"), generation=b"f" * 16),
    ]
    assert len(set(names)) == len(names)


def test_values_do_not_run_together() -> None:
    vary = (b"a", b"b")
    names = {
        variant((b"a", b"1"), (b"b", b"2:1"), vary=vary),
        variant((b"a", b"1=2"), (b"b", b":1"), vary=vary),
        variant((b"a", b"12"), (b"b", b":1"), vary=vary),
        variant((b"a", b"1:b4:=2"), vary=vary),
        variant((b"a", b""), (b"b", b"121"), vary=vary),
    }
    assert len(names) == 5


def test_commas_are_folded_only_where_they_part_lists() -> None:
    assert variant((b"x-a", b"a,b"), vary=(b"x-a",)) != variant((b"x-a", b"a, b"), vary=(b"x-a",))


# -- identities -------------------------------------------------------------------------------------------


def test_without_credentials_there_is_no_scope() -> None:
    assert identity_scope([]) == b""
    assert identity_scope([(b"cache-control", b"no-cache"), (b"if-none-match", b"*")]) == b""


def test_the_form_of_a_scope() -> None:
    scope = identity_scope([(b"x-api-key", b"secret")])
    assert re.fullmatch(rb"[0-9a-f]{16}", scope)


def test_no_two_credentials_have_the_same_scope() -> None:
    """In whatever field, in whatever combination, empty or not."""
    values = [b"", b"a", b"b", b"Bearer a", b"bearer a", b"A"]
    names = [b"x-api-key", b"x-worker-token", b"authorization", b"cookie"]
    singles = [[(name, value)] for name in names for value in values]
    pairs = [[*one, *other] for one, other in combinations(singles, 2)]
    scopes = {identity_scope(shown) for shown in singles + pairs}
    assert len(scopes) == len(singles) + len(pairs)
    assert b"" not in scopes


def test_credentials_do_not_run_together() -> None:
    one = [(b"x-api-key", b"a6:cookie1:b")]
    other = [(b"x-api-key", b"a"), (b"cookie", b"b")]
    assert identity_scope(one) != identity_scope(other)


def test_the_order_of_fields_and_what_else_is_sent_do_not_matter() -> None:
    one, other, more = (b"x-api-key", b"a"), (b"cookie", b"b"), (b"cache-control", b"no-cache")
    assert identity_scope([one, other]) == identity_scope([more, other, one])
