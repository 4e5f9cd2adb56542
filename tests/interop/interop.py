#!/usr/bin/env python3
"""Sends to a real OpenTelemetry Collector and to VictoriaMetrics, and checks what they then hold.

    tests/interop/interop.py receivers
        requests made by hand, in every compression that the agent uses, joined zstd frames among them, and
        the probe by which the agent finds out whether a receiver reads several frames
    tests/interop/interop.py agent PATH/TO/whimbrel
        the agent with the host collector at 1 s, with zstd, gzip and no compression, over HTTP and, to the
        OpenTelemetry Collector, over gRPC; every name, unit and kind is held against host-metrics.tsv. Then a
        backlog: the receiver comes up late, so that several stored frames become one request, and of the
        heartbeats, which are numbered, every one must be there once

Needs Python 3.9 and what build.sh needs. Everything listens on loopback, on free ports, and is stopped at the
end; what the programs wrote is kept and named if a check fails. Exit codes: 0 all held, 1 something did not,
2 wrong use.
"""

import argparse
import contextlib
import gzip
import json
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
COMPRESSIONS = ("zstd", "gzip", "none")
# How long the agent runs before its receiver does.
BACKLOG = 6
# Long enough for the slowest machine; every wait ends as soon as what it waits for is there.
PATIENCE = 60


class Failed(Exception):
    """A check that did not hold."""


# ---------------------------------------------------------------- OTLP by hand


def varint(n):
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def field(number, payload):
    """A length-delimited field."""
    payload = payload.encode() if isinstance(payload, str) else payload
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def fixed64(number, value):
    return varint(number << 3 | 1) + struct.pack("<q", value)


def request(name, unit, kind, value):
    """An ExportMetricsServiceRequest with one point of one metric."""
    now = time.time_ns()
    point = fixed64(2, now - 10**9) + fixed64(3, now) + fixed64(6, value)
    points = field(1, point)
    if kind == "gauge":
        data = field(5, points)
    else:
        cumulative = varint(2 << 3) + varint(2)
        monotonic = varint(3 << 3) + varint(1) if kind == "counter" else b""
        data = field(7, points + cumulative + monotonic)
    metric = field(1, name) + field(3, unit) + data
    attribute = field(1, "service.name") + field(2, field(1, "interop"))
    resource = field(1, field(1, attribute))
    return field(1, resource + field(2, field(2, metric)))


def zstd_frame(data):
    """A zstd frame with one raw block (RFC 8878): what a compressor makes of bytes it can't shrink."""
    assert len(data) < 128 * 1024
    header = bytes([0b1010_0000]) + struct.pack("<I", len(data))  # single segment, 4 bytes of content size
    block = struct.pack("<I", len(data) << 3 | 1)[:3] + data  # last block, raw
    return b"\x28\xb5\x2f\xfd" + header + block


# An empty frame with checksum: the low four bytes of XXH64("") = ef46db3751d8e999.
EMPTY_FRAME = b"\x28\xb5\x2f\xfd" + bytes([0b0010_0100, 0, 1, 0, 0]) + bytes.fromhex("99e9d851")


def post(url, body, encoding):
    """POSTs OTLP; the status of the answer."""
    headers = {"Content-Type": "application/x-protobuf"}
    if encoding:
        headers["Content-Encoding"] = encoding
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


# ---------------------------------------------------------------- receivers


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(what, ready, process=None):
    deadline = time.monotonic() + PATIENCE
    while True:
        result = ready()
        if result:
            return result
        if process and process.poll() is not None:
            raise Failed(f"{what}: the process ended with {process.returncode}")
        if time.monotonic() > deadline:
            raise Failed(f"{what}: not within {PATIENCE} s")
        time.sleep(0.1)


def answers(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


@contextlib.contextmanager
def running(folder, name, command):
    """Runs a program, its output in NAME.log, and ends it with TERM."""
    with open(folder / f"{name}.log", "ab") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class Collector:
    """An OpenTelemetry Collector that writes what it receives to a file."""

    name = "OpenTelemetry Collector"

    def __init__(self, programs, folder):
        self.folder, self.port, self.received = folder, free_port(), folder / "received.json"
        grpc = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.endpoints = {"http/protobuf": self.endpoint, "grpc": f"http://127.0.0.1:{grpc}"}
        protocols = {
            "http": {"endpoint": f"127.0.0.1:{self.port}"},
            "grpc": {"endpoint": f"127.0.0.1:{grpc}"},
        }
        pipelines = {s: {"receivers": ["otlp"], "exporters": ["file"]} for s in ("metrics", "logs", "traces")}
        config = {
            "receivers": {"otlp": {"protocols": protocols}},
            "exporters": {"file": {"path": str(self.received), "flush_interval": "100ms"}},
            "service": {"telemetry": {"metrics": {"level": "none"}}, "pipelines": pipelines},
        }
        # JSON is YAML.
        (folder / "collector.yaml").write_text(json.dumps(config, indent=1))
        self.command = [programs / "otelcol-interop", f"--config={folder / 'collector.yaml'}"]

    def metrics(self):
        lines = self.received.read_text().split("\n") if self.received.exists() else []
        for line in lines[:-1]:  # the last one may still be being written
            for of_resource in json.loads(line).get("resourceMetrics", []):
                for of_scope in of_resource.get("scopeMetrics", []):
                    yield from of_scope["metrics"]

    def holds(self):
        """{name: {(unit, kind)}} of all metrics received."""
        found = {}
        for metric in self.metrics():
            found.setdefault(metric["name"], set()).add((metric.get("unit", ""), self.kind(metric)))
        return found

    def heartbeats(self):
        """The numbers of all heartbeats received, repeats included."""
        beats = (metric for metric in self.metrics() if metric["name"] == "whimbrel.heartbeat.count")
        return [int(point["asInt"]) for metric in beats for point in metric["sum"]["dataPoints"]]

    @staticmethod
    def kind(metric):
        if "sum" in metric:
            # 2 is cumulative, in which VictoriaMetrics and Prometheus want sums.
            if metric["sum"].get("aggregationTemporality") != 2:
                return "sum that is not cumulative"
            return "counter" if metric["sum"].get("isMonotonic") else "updowncounter"
        return next(kind for kind in ("gauge", "histogram", "exponentialHistogram", "summary") if kind in metric)

    def expected(self, name, unit, kind):
        return name, (unit, kind)


class VictoriaMetrics:
    """VictoriaMetrics, told to write units and kinds into the names as Prometheus does.

    It keeps neither apart from the names. What shows there: units but those in braces; counters, and gauges
    that are ratios, but not what sets other gauges and up-down counters apart.
    """

    name = "VictoriaMetrics"
    units = {"s": "seconds", "By": "bytes", "Hz": "hertz", "Cel": "celsius", "bit/s": "bit_per_second", "1": ""}

    def __init__(self, programs, folder):
        self.folder, self.port = folder, free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        self.endpoint = f"{self.base}/opentelemetry"
        self.endpoints = {"http/protobuf": self.endpoint}
        self.command = [
            programs / "victoria-metrics",
            f"-httpListenAddr=127.0.0.1:{self.port}",
            f"-storageDataPath={folder / 'victoria'}",
            "-opentelemetry.usePrometheusNaming",
            "-loggerLevel=WARN",
        ]

    def get(self, path):
        with urllib.request.urlopen(self.base + path, timeout=10) as answer:
            return answer.read().decode()

    def series(self, selector):
        self.get("/internal/force_flush")
        lines = self.get(f"/api/v1/export?match[]={urllib.parse.quote(selector)}").splitlines()
        return [json.loads(line) for line in lines]

    def holds(self):
        """{name: {}} of all metrics that have a sample."""
        return {one["metric"]["__name__"]: {()} for one in self.series('{__name__!=""}') if one["values"]}

    def heartbeats(self):
        """The numbers of all heartbeats received; one that came twice with its time is kept once."""
        series = self.series('{__name__=~"whimbrel_heartbeat_count.*"}')
        return [int(value) for one in series for value in one["values"]]

    def expected(self, name, unit, kind):
        words = name.replace(".", "_").split("_")
        word = "" if "{" in unit else self.units[unit]
        if word and word not in words:
            words.append(word)
        suffix = "total" if kind == "counter" else "ratio" if kind == "gauge" and unit == "1" else None
        if suffix:
            words = [word for word in words if word != suffix] + [suffix]
        return "_".join(words), ()


@contextlib.contextmanager
def receiver(kind, programs, folder):
    folder.mkdir()
    one = kind(programs, folder)
    with running(folder, "receiver", one.command) as process:
        wait_for(f"{one.name} listens", lambda: answers(one.port), process)
        yield one


# ---------------------------------------------------------------- checks


def compare(receiver, table, found):
    """What does not fit between a table of (name, unit, kind, need) and what a receiver holds."""
    wrong, known = [], set()
    for name, unit, kind, need in table:
        there, facts = receiver.expected(name, unit, kind)
        known.add(there)
        if there not in found:
            if need == "always":
                wrong.append(f"{name} is missing" + (f" (as {there})" if there != name else ""))
        elif found[there] != {facts}:
            wrong.append(f"{name}: {sorted(found[there])} instead of {facts}")
    wrong.extend(f"{name} is in no table" for name in sorted(set(found) - known))
    return wrong


def check_receivers(programs, folder):
    for kind in (Collector, VictoriaMetrics):
        with receiver(kind, programs, folder / kind.__name__) as one:
            url = f"{one.endpoint}/v1/metrics"
            table = []

            def make(name, unit, kind):
                table.append((f"interop.{name}", unit, kind, "always"))
                return request(f"interop.{name}", unit, kind, len(table))

            joined = [make("joined.a", "By", "counter"), make("joined.b", "s", "gauge"), make("joined.c", "1", "gauge")]
            bodies = {
                "plain": (make("plain", "{thing}", "updowncounter"), None),
                "plain, two requests joined": (make("plain.a", "s", "counter") + make("plain.b", "By", "gauge"), None),
                "gzip": (gzip.compress(make("gzip", "By", "counter")), "gzip"),
                "zstd": (zstd_frame(make("zstd", "1", "gauge")), "zstd"),
                "zstd, three frames": (b"".join(map(zstd_frame, joined)), "zstd"),
                "zstd, two empty frames": (EMPTY_FRAME + EMPTY_FRAME, "zstd"),
            }
            for what, (body, encoding) in bodies.items():
                status = post(url, body, encoding)
                if status != 200:
                    raise Failed(f"{one.name} answers {status} to {what}")
            status = post(url, EMPTY_FRAME + zstd_frame(b"\x0a"), "zstd")
            if status != 400:
                raise Failed(f"{one.name} answers {status} to a broken second frame: the probe would not join frames")
            try:
                wait_for("everything arrived", lambda: not compare(one, table, one.holds()))
            except Failed:
                raise Failed(f"{one.name}: " + "; ".join(compare(one, table, one.holds()))) from None
            print(f"ok  {one.name}: {len(table)} metrics in {len(bodies)} requests; reads all frames of a body")


def configure(place, one, protocol, compression, collectors):
    """Writes whimbrel.yaml; the arguments by which every command of the agent finds it."""
    backend = {"endpoint": one.endpoints[protocol], "protocol": protocol, "compression": compression}
    config = {
        "data_dir": str(place / "data"),
        "collectors": collectors,
        "exporters": {"backend": backend},
        "health": {"listen": f"127.0.0.1:{free_port()}"},
    }
    (place / "whimbrel.yaml").write_text(json.dumps(config, indent=1))
    return ["-c", str(place / "whimbrel.yaml")]


def ended_well(agent, place):
    if agent.returncode != 0:
        raise Failed(f"whimbrel ended with {agent.returncode}: see {place / 'whimbrel.log'}")


def check_agent(programs, folder, whimbrel):
    lines = (HERE / "host-metrics.tsv").read_text().splitlines()
    table = [line.split("\t") for line in lines if line and not line.startswith("#")][1:]
    host = {"host": {"plugin": "builtin:host", "interval": "1s", "grants": {"system": True}}}
    for kind, protocol in ((Collector, "http/protobuf"), (Collector, "grpc"), (VictoriaMetrics, "http/protobuf")):
        for compression in COMPRESSIONS:
            place = folder / f"{kind.__name__}-{protocol.replace('/', '-')}-{compression}"
            with receiver(kind, programs, place) as one:
                found_by = configure(place, one, protocol, compression, host)
                with running(place, "whimbrel", [whimbrel, "run", *found_by]) as agent:
                    with contextlib.suppress(Failed):
                        wait_for("all metrics", lambda: not compare(one, table, one.holds()), agent)
                ended_well(agent, place)
                # Once more, after the drain: nothing that came late may be wrong.
                found = one.holds()
                wrong = compare(one, table, found)
                if wrong:
                    raise Failed(f"{one.name}, {protocol}, {compression}: " + "; ".join(wrong))
                absent = [row[0] for row in table if one.expected(*row[:3])[0] not in found]
                note = f"; this host does not have {', '.join(absent)}" if absent else ""
                print(f"ok  {one.name}, {protocol}, {compression}: {len(found)} metrics by name, unit and kind{note}")
            if compression != "none":
                backlog(kind, programs, folder, whimbrel, protocol, compression)


def backlog(kind, programs, folder, whimbrel, protocol, compression):
    """The agent first, and the receiver some seconds later."""
    place = folder / f"{kind.__name__}-{protocol.replace('/', '-')}-{compression}-backlog"
    place.mkdir()
    one = kind(programs, place)
    collectors = {"beat": {"plugin": "builtin:heartbeat", "interval": "100ms"}}
    found_by = configure(place, one, protocol, compression, collectors)

    def status():
        asked = subprocess.run([whimbrel, "status", "--json", *found_by], capture_output=True, text=True, check=False)
        return json.loads(asked.stdout) if asked.returncode == 0 else None

    with running(place, "whimbrel", [whimbrel, "run", *found_by]) as agent:
        wait_for("the agent answers", status, agent)
        time.sleep(BACKLOG)
        before = status()
        with running(place, "receiver", one.command) as process:
            wait_for(f"{one.name} listens", lambda: answers(one.port), process)
            appended = before["wal"]["appended_records"]
            wait_for("the backlog", lambda: len(one.heartbeats()) >= appended, agent)
            lane = next(lane for lane in status()["exporters"][0]["lanes"] if lane["signal"] == "metrics")
            agent.send_signal(signal.SIGTERM)
            agent.wait(PATIENCE)
            beats = one.heartbeats()
    ended_well(agent, place)
    what = f"{one.name}, {protocol}, {compression}, a backlog of {appended} records"
    if sorted(beats) != list(range(1, len(beats) + 1)):
        raise Failed(f"{what}: not every heartbeat once, but {sorted(beats)}")
    frames, accepted = lane["frames"], lane["requests"]["accepted"]
    if lane["encoding"] != compression or (compression == "zstd" and frames != "many"):
        raise Failed(f"{what}: sent as {lane['encoding']}, frames: {frames}")
    if lane["requests"]["unreadable_answers"]:
        raise Failed(f"{what}: {lane['requests']['unreadable_answers']} answers could not be read")
    if accepted >= appended / 2:
        raise Failed(f"{what}: {accepted} requests, so they were not joined")
    refused = ", ".join(f"{count} {name}" for name, count in lane["requests"].items() if count and name != "accepted")
    print(f"ok  {what}: {len(beats)} heartbeats, each once, in {accepted} requests (frames: {frames}; also {refused})")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("check", choices=("receivers", "agent"))
    parser.add_argument("whimbrel", nargs="?", help="the agent's program, for `agent`")
    arguments = parser.parse_args()
    if (arguments.check == "agent") != (arguments.whimbrel is not None):
        parser.error("`agent` takes the path of whimbrel, `receivers` takes none")
    built = subprocess.run([HERE / "build.sh"], stdout=subprocess.PIPE, text=True, check=False)
    if built.returncode != 0:
        print("the receivers could not be built", file=sys.stderr)
        return 1
    programs = pathlib.Path(built.stdout.strip())
    folder = pathlib.Path(tempfile.mkdtemp(prefix="whimbrel-interop-"))
    # Proxies of the environment are not for loopback.
    os.environ["no_proxy"] = "127.0.0.1"
    try:
        if arguments.check == "receivers":
            check_receivers(programs, folder)
        else:
            check_agent(programs, folder, os.path.abspath(arguments.whimbrel))
    except Failed as failure:
        print(f"FAILED  {failure}\nwhat the programs wrote is in {folder}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
