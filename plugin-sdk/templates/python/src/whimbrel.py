"""What a Whimbrel plugin in Python is written with: between a class of yours and the contract.

The contract's own types are in the module `wit_world`, which `whimbrel plugin build` makes.
"""

import json
import traceback

from componentize_py_types import Err
from wit_world.imports import clock as _clock
from wit_world.imports import emit as _emit
from wit_world.imports import log as _log
from wit_world.imports import secrets as _secrets

try:
    from wit_world.imports import types as t
except ImportError:  # Where WASI comes along there are more interfaces of this name.
    from wit_world.imports import whimbrel_plugin_types as t

from whimbrel_identity import NAME, VERSION


def now():
    """Nanoseconds since 1970. `time.time` does not work here."""
    return _clock.now_ns()


def monotonic():
    """Nanoseconds that never go back."""
    return _clock.monotonic_ns()


def random_bytes(length):
    """Unpredictable bytes, at most 65536. `random` and `os.urandom` are predictable here."""
    return _clock.random(length)


def secret(name):
    """A secret of the configuration, which `grants: {secrets: [NAME]}` allows."""
    return _secrets.reveal(name)


def read_file(path, most=8 << 20):
    """The bytes of a file: `wasi: [files]` in plugin.yaml, and the grant `read: [FOLDER]`. `open` works as well."""
    try:
        with open(path, "rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror}; is its folder granted?") from None
    if len(content) > most:
        raise Unavailable(f"{path}: it has more than {most} bytes")
    return content


class log:
    """Lines of the agent's own log: log.info("started", port=80)."""

    @staticmethod
    def _write(level, message, fields):
        _log.write(level, str(message), [(key, str(value)) for key, value in fields.items()])

    @staticmethod
    def debug(message, **fields):
        log._write(_log.Level.DEBUG, message, fields)

    @staticmethod
    def info(message, **fields):
        log._write(_log.Level.INFO, message, fields)

    @staticmethod
    def warn(message, **fields):
        log._write(_log.Level.WARN, message, fields)

    @staticmethod
    def error(message, **fields):
        log._write(_log.Level.ERROR, message, fields)


class ConfigError(Exception):
    """Raise it for a configuration that is wrong: the agent does not try again."""


class Unavailable(Exception):
    """Raise it for what may work next time."""


def _value(of):
    if isinstance(of, bool):
        return t.Value_Boolean(of)
    if isinstance(of, int):
        return t.Value_Int(of)
    if isinstance(of, float):
        return t.Value_Double(of)
    if isinstance(of, str):
        return t.Value_Text(of)
    if isinstance(of, (bytes, bytearray)):
        return t.Value_Bytes(bytes(of))
    return t.Value_Json(json.dumps(of))


def _attributes(of):
    return [t.Attribute(key, _value(value)) for key, value in (of or {}).items()]


class Metric:
    """What a metric is; units are UCUM: "By", "s", "1", "{request}"."""

    def __init__(self, name, unit="", description=""):
        self.name, self.unit, self.description = name, unit, description


class Emit:
    """What collect is given: takes points and records, and pushes them when collect returns."""

    def __init__(self):
        self._metrics, self._records = {}, []

    def _point(self, metric, kind, value, attributes, start_ns):
        _, _, points = self._metrics.setdefault(metric.name, (metric, kind, []))
        number = t.Number_Int(value) if isinstance(value, int) else t.Number_Double(float(value))
        points.append(t.Point(_attributes(attributes), start_ns, 0, number))

    def gauge(self, metric, value, attributes=None):
        """A point of a gauge."""
        self._point(metric, "gauge", value, attributes, 0)

    def counter(self, metric, value, attributes=None, *, start_ns):
        """A point of a counter, which began at start_ns."""
        self._point(metric, "counter", value, attributes, start_ns)

    def up_down_counter(self, metric, value, attributes=None, *, start_ns=0):
        """A point of a sum that also falls."""
        self._point(metric, "up-down", value, attributes, start_ns)

    def record(self, body, *, severity=9, severity_text="", event_name="", attributes=None, time_ns=0):
        """A log record."""
        self._records.append(
            t.LogRecord(time_ns, 0, severity, severity_text, event_name, _value(body), _attributes(attributes), 0, b"", b"")
        )

    def push(self, checkpoint=None):
        """Makes what was emitted durable, with a checkpoint if there is one. At most about 1000 items at once."""
        scope = t.Scope(NAME, VERSION, [])
        metrics = []
        for metric, kind, points in self._metrics.values():
            data = t.Data_Gauge(points)
            if kind != "gauge":
                data = t.Data_Sum(t.Sum(t.Temporality.CUMULATIVE, kind == "counter", points))
            metrics.append(t.Metric(metric.name, metric.unit, metric.description, data))
        records = self._records
        self._metrics, self._records = {}, []
        if metrics:
            with_metrics = None if records else checkpoint
            _emit.push(t.Batch_Metrics([t.ResourceMetrics([], scope, metrics)]), with_metrics)
        if records:
            _emit.push(t.Batch_Logs([t.ResourceLogs([], scope, records)]), checkpoint)
        elif checkpoint is not None and not metrics:
            _emit.push(t.Batch_Logs([]), checkpoint)


class Context:
    """What a plugin is made with; config is a dict."""

    def __init__(self, context):
        self.instance = context.instance
        self.config = json.loads(context.config)
        self.checkpoint = context.checkpoint
        self.interval_ms = context.interval_ms


def _refused(error):
    if isinstance(error, Err):
        return error
    if isinstance(error, ConfigError):
        return Err(t.Error_Config(str(error)))
    if isinstance(error, Unavailable):
        return Err(t.Error_Unavailable(str(error)))
    log.error(traceback.format_exc())
    return Err(t.Error_Transient(f"{type(error).__name__}: {error}"))


def collector(plugin_type):
    """The contract's exports, `Lifecycle` and `Collect`, for a class with `__init__(self, context)`, `collect(self,
    emit)`, which returns True where there is more, and `shutdown(self)` if need be."""
    running = []

    class Lifecycle:
        def init(self, ctx):
            try:
                running[:] = [plugin_type(Context(ctx))]
            except Exception as error:
                raise _refused(error) from None

        def shutdown(self, deadline_ms):
            if hasattr(running[0], "shutdown"):
                running[0].shutdown()

    class Collect:
        def collect(self, deadline_ms):
            try:
                emit = Emit()
                more = running[0].collect(emit) is True
                emit.push()
                return more
            except Exception as error:
                raise _refused(error) from None

    return Lifecycle, Collect
