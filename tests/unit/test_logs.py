"""A log over lost connections: a real client against a server that hangs up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
from kubernetes import client

from kfspawner.cluster import Cluster
from kfspawner.errors import ClusterDenied, ClusterUnreachable
from kfspawner.training import logs
from kfspawner.training.logs import follow_log, read_log
from kfspawner.training.observation import Observation
from kfspawner.training.state import RunState, RunStatus

Serve = Callable[["LogServer"], Cluster]
LINES = [f"2024-05-04T12:00:{n // 4:02}.{n % 4 * 25:02}0000001Z line {n}\n" for n in range(60)]
TEXT = [f"line {n}" for n in range(60)]


@dataclass
class LogServer:
    """Answers each request for the log with the next of `answers`.

    An answer is how many of LINES there are by then, after how many bytes of
    what was asked for the connection is lost (None: never), and a status.
    """

    answers: list[tuple[int, int | None, int]]
    lines: list[str] = field(default_factory=lambda: list(LINES))
    asked: list[dict[str, list[str]]] = field(default_factory=list)

    def reply(self, query: dict[str, list[str]]) -> tuple[bytes, int | None, int]:
        self.asked.append(query)
        known, cut, status = self.answers.pop(0)
        since = query.get("sinceTime", [""])[0]
        # As kubelet does, in whole seconds.
        wanted = [line for line in self.lines[:known] if line[:19] >= since[:19]]
        return "".join(wanted).encode(), cut, status


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers = []

    def start(log: LogServer) -> Cluster:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body, cut, status = log.reply(parse_qs(urlsplit(self.path).query))
                self.send_response(status)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                sent = body if cut is None else body[:cut]
                for at in range(0, len(sent), 100):
                    piece = sent[at : at + 100]
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                if cut is None:
                    self.wfile.write(b"0\r\n\r\n")
                self.close_connection = True

            def log_message(self, *args: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        settings = client.Configuration()
        settings.host = f"http://127.0.0.1:{server.server_port}"
        settings.retries = False
        settings.proxy = None
        return Cluster("kf-alice", client.ApiClient(settings))

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_PAUSE", 0.0)


RUNNING = Observation(
    job={},
    pod={
        "metadata": {"name": "digits-x7k2p-abcde"},
        "status": {"containerStatuses": [{"name": "run", "state": {"running": {}}}]},
    },
    status=RunStatus("digits-x7k2p", RunState.RUNNING),
)
ENDED = replace(RUNNING, status=RunStatus("digits-x7k2p", RunState.SUCCEEDED))
WAITING = Observation(job={}, pod={}, status=RunStatus("digits-x7k2p", RunState.QUEUED))


@pytest.mark.parametrize(
    "answers",
    [
        [(60, None, 200), (60, None, 200)],
        [(20, None, 200), (60, None, 200)],
        # Lost in the middle of a line, at its end, before anything came.
        [(60, 777, 200), (60, None, 200)],
        [(60, len(LINES[0]) * 30, 200), (60, None, 200)],
        [(60, 0, 200), (60, None, 200)],
        # Lost while the end is read: what is there already is not given up.
        [(20, None, 200), (60, 1234, 200), (60, 40, 200), (60, None, 200)],
        # The node is away for a moment.
        [(20, None, 200), (0, None, 503), (60, None, 200)],
        [(0, None, 500), (60, None, 200)],
    ],
)
def test_each_line_comes_once(serve: Serve, answers: list[tuple[int, int | None, int]]) -> None:
    log = LogServer(answers)
    assert list(follow_log(serve(log), [WAITING, RUNNING, ENDED])) == TEXT
    assert not log.answers
    assert [query["follow"] for query in log.asked][:2] == [["true"], ["false"]]


def test_every_cut_is_survived(serve: Serve) -> None:
    size = sum(map(len, LINES))
    for cut in range(0, size, 97):
        log = LogServer([(60, cut, 200), (60, size - cut, 200), (60, None, 200)])
        assert list(follow_log(serve(log), [RUNNING, ENDED])) == TEXT


def test_equal_lines_of_one_moment_are_all_shown(serve: Serve) -> None:
    same = "2024-05-04T12:00:00.000000001Z tick\n"
    log = LogServer([(3, None, 200), (5, None, 200)], [same] * 5)
    assert list(follow_log(serve(log), [RUNNING, ENDED])) == ["tick"] * 5


def test_lines_out_of_order_are_all_shown(serve: Serve) -> None:
    late = "2024-05-04T12:00:04.999999999Z from stderr\n"
    lines = [*LINES[:21], late, *LINES[21:]]
    log = LogServer([(21, None, 200), (61, None, 200)], lines)
    shown = list(follow_log(serve(log), [RUNNING, ENDED]))
    assert shown == [*TEXT[:21], "from stderr", *TEXT[21:]]


def test_last_line_without_an_end_is_shown_once(serve: Serve) -> None:
    lines = [*LINES[:3], "2024-05-04T12:00:09Z the end"]
    log = LogServer([(4, None, 200), (4, None, 200)], lines)
    shown = list(follow_log(serve(log), [RUNNING, ENDED]))
    assert shown == [*TEXT[:3], "the end"]


def test_log_that_stays_away_is_an_error_and_no_short_log(serve: Serve) -> None:
    log = LogServer([(60, 500, 200)] * 5)
    with pytest.raises(ClusterUnreachable, match="reading the log of pod digits-x7k2p-abcde"):
        list(read_log(serve(log), ENDED))
    assert not log.answers


def test_forbidden_log_is_not_asked_for_again(serve: Serve) -> None:
    log = LogServer([(0, None, 403)])
    with pytest.raises(ClusterDenied):
        list(follow_log(serve(log), [RUNNING, ENDED]))


def test_removed_pod_ends_the_log(serve: Serve) -> None:
    log = LogServer([(20, None, 200), (0, None, 404)])
    assert list(follow_log(serve(log), [RUNNING, ENDED])) == TEXT[:20]


def test_run_that_never_ran_has_no_log(serve: Serve) -> None:
    log = LogServer([])
    assert list(read_log(serve(log), WAITING)) == []
