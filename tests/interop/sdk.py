#!/usr/bin/env python3
"""Applications with the OpenTelemetry SDKs for Python and JavaScript send to the agent; what arrives behind it is checked.

    tests/interop/sdk.py PATH/TO/whimbrel PATH/TO/whimbrel-stub

Each application sends spans, metrics and log records, over gRPC, HTTP with protobuf and (JavaScript) HTTP with JSON, plain
and with gzip. At the stub every span, log record and sum must be there once, within its trace and with its resource.
The SDKs come from PyPI and npm into ${XDG_CACHE_HOME:-~/.cache}/whimbrel-interop. Exit codes: 0 all held, 1 something did not.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent / "sdk"
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "whimbrel-interop"
PATIENCE = 30
ORDERS = 20


def install():
    python = CACHE / "sdk-py"
    if not (python / "bin" / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", python], check=True)
    subprocess.run([python / "bin" / "pip", "install", "-q", "-r", HERE / "requirements.txt"], check=True)
    modules = CACHE / "sdk-js"
    modules.mkdir(parents=True, exist_ok=True)
    wanted = (HERE / "package.json").read_text()
    if not (modules / "node_modules").exists() or (modules / "package.json").read_text() != wanted:
        (modules / "package.json").write_text(wanted)
        subprocess.run(["npm", "install", "--silent", "--no-fund", "--no-audit"], cwd=modules, check=True)
    return python / "bin" / "python", modules


def start_stub(program):
    stub = subprocess.Popen([program, "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--ui", "127.0.0.1:0",
                             "--data", "memory", "--json"], stdout=subprocess.PIPE, text=True)
    said = [json.loads(stub.stdout.readline()) for _ in range(3)]
    return stub, {one["listener"]: one["address"] for one in said}


def start_agent(program, folder, backend):
    (folder / "whimbrel.yaml").write_text(
        "receivers:\n  otlp: {grpc: \"127.0.0.1:0\", http: \"127.0.0.1:0\"}\n"
        "exporters:\n  stub: {endpoint: \"http://%s\", max_delay: 50ms}\n" % backend)
    log = open(folder / "agent.log", "w")
    agent = subprocess.Popen([program, "run"], cwd=folder, stderr=log, stdout=log)
    end = time.time() + PATIENCE
    while time.time() < end:
        status = subprocess.run([program, "status", "--json"], cwd=folder, capture_output=True)
        if status.returncode == 0:
            listening = json.loads(status.stdout)["receivers"][0]["listening"]
            return agent, dict(one.split(" ") for one in listening)
        time.sleep(0.1)
    sys.exit((folder / "agent.log").read_text())


def ask(ui, question, **parameters):
    url = "http://%s/api/%s?%s" % (ui, question, urllib.parse.urlencode(parameters))
    with urllib.request.urlopen(url) as answer:
        return json.load(answer)


def problems(ui, run):
    """What is not at the stub as it should be."""
    spans = [span for name in ("order", "pay") for span in ask(ui, "spans", name="%s %s" % (name, run), limit=1000)["spans"]]
    logs = ask(ui, "logs", contains="paid %s " % run, limit=1000)["logs"]
    found = []
    ids = {span["span_id"]: span for span in spans}
    if len(spans) != 2 * ORDERS or len(ids) != 2 * ORDERS:
        found.append("%d spans, %d of them different" % (len(spans), len(ids)))
    inner = [span for span in spans if span["name"].startswith("pay")]
    if any(span["parent_span_id"] not in ids or ids[span["parent_span_id"]]["trace_id"] != span["trace_id"] for span in inner):
        found.append("a span lost its parent")
    bodies = sorted(int(log["body"].split()[-1]) for log in logs)
    if bodies != list(range(ORDERS)):
        found.append("log records %s" % bodies)
    if any(log["span_id"] not in ids for log in logs):
        found.append("a log record lost its span")
    services = {str(one["resource"].get("service.name")) for one in spans + logs}
    if services != {"shop-" + run}:
        found.append("services %s" % services)
    values = [value for series in ask(ui, "values", name="orders." + run)["series"] for value in series["values"]]
    if values != [ORDERS]:
        found.append("orders %s" % values)
    if "took." + run not in {metric["name"] for metric in ask(ui, "metrics")["metrics"]}:
        found.append("no histogram")
    return found


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    whimbrel, stub_program = (str(pathlib.Path(given).resolve()) for given in sys.argv[1:])
    python, modules = install()
    stub, at = start_stub(stub_program)
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        agent, listening = start_agent(whimbrel, pathlib.Path(folder), at["http"])
        try:
            for language, protocols in (("python", ("grpc", "http")), ("javascript", ("grpc", "http", "json"))):
                for protocol in protocols:
                    for compression in ("none", "gzip"):
                        run = "-".join((language, protocol, compression))
                        command = [python, HERE / "app.py"] if language == "python" else ["node", HERE / "app.mjs"]
                        port = "grpc" if protocol == "grpc" else "http"
                        environment = dict(os.environ, MODULES=str(modules), OTEL_EXPORTER_OTLP_INSECURE="true",
                                           OTEL_EXPORTER_OTLP_ENDPOINT="http://" + listening[port])
                        if compression != "none":
                            environment["OTEL_EXPORTER_OTLP_COMPRESSION"] = compression
                        sent = subprocess.run([*command, protocol, run], env=environment, capture_output=True, text=True,
                                              timeout=PATIENCE)
                        end = time.time() + PATIENCE
                        told = problems(at["ui"], run)
                        while told and time.time() < end and sent.returncode == 0:
                            time.sleep(0.2)
                            told = problems(at["ui"], run)
                        if sent.returncode != 0:
                            told.append(sent.stderr[-2000:])
                        failed |= bool(told)
                        print("%-24s %s" % (run, "; ".join(told) or "all arrived once"), flush=True)
            refused = json.loads(subprocess.run([whimbrel, "status", "--json"], cwd=folder, capture_output=True).stdout)
            if refused["receivers"][0]["refused"]:
                failed = True
                print("refused:", refused["receivers"][0]["refused"])
        finally:
            agent.terminate()
            agent.wait()
            stub.kill()
    sys.exit(1 if failed else 0)


main()
