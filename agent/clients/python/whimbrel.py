"""Sends telemetry to a Whimbrel agent as lines of JSON: events, metrics, progress, spans, heartbeats.

One file, standard library only, Python 3.8 or later. Calls never raise, and never wait for the agent: lines wait in a
buffer of 1000, a thread sends them. When the buffer is full the oldest is dropped, counted, and told to the agent later.
Safe to use from several threads, and after a fork. Protocol: agent/docs/ldjson.md.

    from whimbrel import Client
    w = Client("unix:/run/whimbrel/ldjson.sock", source="shop")
    w.event("order.paid", "order 17 was paid for", severity="info", order=17)
    with w.span("charge", kind="client"):
        w.metric("orders", 1, kind="counter")
    w.flush(2)  # True: all of it is durable
"""

import collections
import json
import math
import os
import random
import select
import socket
import threading
import time

LONGEST_LINE = 65536
BUFFER = 1000
CONNECT = 0.05  # seconds
FIRST_BACKOFF, LONGEST_BACKOFF = 0.1, 30.0


def _clean(value):
    """What JSON can hold: no NaN, no infinities, no surrogates."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, dict):
        return {_clean(str(key)): _clean(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [_clean(inner) for inner in value]
    return value if value is None or isinstance(value, (bool, int, float)) else _clean(str(value))


class Span:
    """A span: ends with its block, and hands its ids on to spans that begin within it."""

    def __init__(self, client, name, kind, parent, attributes):
        self.client, self.name, self.kind, self.attributes = client, name, kind, attributes
        outer = parent or client._current()
        self.trace_id = outer[0] if outer else os.urandom(16).hex()
        self.parent_id = outer[1] if outer else None
        self.span_id = os.urandom(8).hex()
        self.start, self.status, self.message = time.time(), None, None

    def __enter__(self):
        self.client._stack().append((self.trace_id, self.span_id))
        return self

    def __exit__(self, kind, error, _trace):
        stack = self.client._stack()
        if (self.trace_id, self.span_id) in stack:
            stack.remove((self.trace_id, self.span_id))
        if kind is not None:
            self.status, self.message = "error", "%s: %s" % (kind.__name__, error)
        self.end()
        return False

    def end(self):
        self.client._send("span", name=self.name, kind=self.kind, trace_id=self.trace_id, span_id=self.span_id,
                          parent_id=self.parent_id, start=round(self.start, 6), end=round(time.time(), 6),
                          status=self.status, message=self.message, attributes=self.attributes)

    def traceparent(self):
        """What a child process finds in $TRACEPARENT (W3C Trace Context)."""
        return "00-%s-%s-01" % (self.trace_id, self.span_id)


class Client:
    def __init__(self, address="unix:/run/whimbrel/ldjson.sock", source=None, token=None):
        self.address, self.source, self.token = address, source, token
        self.sent = self.dropped = 0
        self._local = threading.local()
        parts = os.environ.get("TRACEPARENT", "").split("-")
        good = len(parts) == 4 and len(parts[1]) == 32 and len(parts[2]) == 16
        self._root = (parts[1], parts[2]) if good else None
        self._begin()

    def event(self, name, message=None, severity="info", **attributes):
        self._send("event", name=name, message=message, severity=severity, attributes=attributes, within=True)

    def metric(self, name, value, kind="gauge", unit=None, **attributes):
        self._send("metric", name=name, value=value, kind=kind, unit=unit, attributes=attributes)

    def progress(self, name, current, total=None, unit=None, message=None, **attributes):
        self._send("progress", name=name, current=current, total=total, unit=unit, message=message,
                   attributes=attributes, within=True)

    def resource(self, **attributes):
        """What this source is. Sent again with every connection."""
        self._resource = dict(attributes)
        self._send("resource", attributes=attributes)

    def heartbeat(self, interval=30):
        self._send("heartbeat", interval=interval)

    def span(self, name, kind="internal", parent=None, **attributes):
        """For `with`, or to be ended by `end()`."""
        return Span(self, name, kind, parent, attributes)

    def traceparent(self):
        current = self._current()
        return "00-%s-%s-01" % current if current else None

    def flush(self, timeout=5.0):
        """Waits until everything sent so far is durable; False: the agent did not say so in time."""
        with self._lock:
            self._asked += 1
            mine = self._asked
        self._send("metric", name="client.flush", value=1, ack=mine)
        end = time.monotonic() + timeout
        with self._lock:
            while self._acknowledged < mine and time.monotonic() < end:
                self._news.wait(max(0.0, end - time.monotonic()))
            return self._acknowledged >= mine

    def close(self, timeout=2.0):
        """Sends what waits, for so long at most; what is left is lost, and counted in `dropped`."""
        durable = self.flush(timeout)
        with self._lock:
            self._closed = True
            if not durable:
                self.dropped += len(self._lines)
            self._news.notify_all()
        return durable

    def _begin(self):
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._news = threading.Condition(self._lock)
        self._lines = collections.deque()
        self._untold = self._asked = self._acknowledged = 0
        self._closed, self._thread = False, None
        self._resource = getattr(self, "_resource", None)

    def _stack(self):
        if not hasattr(self._local, "spans"):
            self._local.spans = []
        return self._local.spans

    def _current(self):
        stack = self._stack()
        return stack[-1] if stack else self._root

    def _send(self, type, within=False, attributes=None, **fields):
        try:
            line = {"type": type, "source": self.source, "timestamp": round(time.time(), 6)}
            current = self._current() if within else None
            if current:
                line["trace_id"], line["span_id"] = current
            line.update(fields)
            line = {key: value for key, value in line.items() if value is not None}
            if attributes:
                line["attributes"] = attributes
            try:
                text = json.dumps(line, ensure_ascii=False, allow_nan=False).encode("utf-8")
            except (TypeError, ValueError):
                text = json.dumps(_clean(line), ensure_ascii=False, default=str).encode("utf-8", "replace")
        except Exception:  # An attribute whose text can't be had: the application must not suffer.
            text = b""
        if os.getpid() != self._pid:
            self._begin()  # A child has a connection, a thread and a buffer of its own.
        with self._lock:
            if self._closed or not text or len(text) > LONGEST_LINE:
                self.dropped += 1
                self._untold += 1
                return
            if len(self._lines) >= BUFFER:
                self._lines.popleft()
                self.dropped += 1
                self._untold += 1
            self._lines.append(text)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True)
                self._thread.start()
            self._news.notify_all()

    def _connect(self):
        if self.address.startswith("unix:"):
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(CONNECT)
            sock.connect(self.address[5:])
        else:
            host, port = self.address.rsplit(":", 1)
            sock = socket.create_connection((host.strip("[]"), int(port)), CONNECT)
        sock.settimeout(5.0)
        hello = {"type": "hello", "version": 1, "token": self.token} if self.token else None
        resource = {"type": "resource", "source": self.source, "attributes": self._resource} if self._resource else None
        first = [json.dumps(_clean(line)) + "\n" for line in (hello, resource) if line]
        sock.sendall("".join(first).encode("utf-8"))
        return sock

    def _run(self):
        sock, backoff, heard = None, FIRST_BACKOFF, b""
        while True:
            with self._lock:
                # Waits for lines; while an acknowledgement is due, it looks for it now and then.
                while not self._lines and not self._closed and self._acknowledged >= self._asked:
                    self._news.wait()
                if self._closed and not self._lines:
                    break
                batch = list(self._lines)
                self._lines.clear()
                untold, self._untold = self._untold, 0
            try:
                if sock is None:  # open: closed again by a connection that works, one try at a time
                    sock, heard = self._connect(), b""
                if untold:
                    tell = {"type": "metric", "source": self.source, "name": "client.told", "value": untold,
                            "dropped": untold}
                    sock.sendall((json.dumps(tell) + "\n").encode("utf-8"))
                    untold = 0
                if batch:
                    sock.sendall(b"\n".join(batch) + b"\n")
                    self.sent += len(batch)
                    batch, backoff = [], FIRST_BACKOFF
                heard = self._hear(sock, heard)
            except Exception:  # The agent is away, or broke off: half-open after a while.
                if sock is not None:
                    sock.close()
                sock = None
                with self._lock:
                    self._untold += untold
                    room = BUFFER - len(self._lines)
                    lost = max(0, len(batch) - room)
                    self.dropped += lost
                    self._untold += lost
                    self._lines.extendleft(reversed(batch[lost:]))
                    if self._closed:
                        break
                    self._news.wait_for(lambda: self._closed, backoff * random.uniform(0.5, 1.0))
                backoff = min(backoff * 2, LONGEST_BACKOFF)
        if sock is not None:
            sock.close()

    def _hear(self, sock, heard):
        while select.select([sock], [], [], 0.01 if self._acknowledged < self._asked else 0)[0]:
            data = sock.recv(65536)
            if not data:
                raise ConnectionError("the agent closed the connection")
            *lines, heard = (heard + data).split(b"\n")
            for line in lines:
                answer = json.loads(line)
                if answer.get("type") == "ack":
                    with self._lock:
                        self._acknowledged = max(self._acknowledged, answer["ack"])
                        self._news.notify_all()
                elif answer.get("type") == "error":
                    self.dropped += 1
        return heard
