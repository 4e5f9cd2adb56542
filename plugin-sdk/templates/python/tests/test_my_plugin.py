"""Runs in CPython, without the sandbox: `python3 -m unittest discover tests`.

`whimbrel plugin test` runs the component.
"""

import sys
import types
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "src"))


class Host(types.ModuleType):
    """Stands in for the module `whimbrel`, which needs the sandbox."""

    class ConfigError(Exception):
        pass

    class Metric:
        def __init__(self, name, unit="", description=""):
            self.name = name

    class log:
        @staticmethod
        def info(message, **fields):
            pass

    @staticmethod
    def now():
        return 30_000_000_000


sys.modules["whimbrel"] = Host("whimbrel")

from my_plugin import MyPlugin  # noqa: E402


class Emit:
    def __init__(self):
        self.points, self.records = [], []

    def gauge(self, metric, value, attributes=None):
        self.points.append((metric.name, value, attributes))

    def record(self, body, **fields):
        self.records.append((body, fields))


def run(config):
    emit = Emit()
    MyPlugin(types.SimpleNamespace(config=config)).collect(emit)
    return emit


class MyPluginTest(unittest.TestCase):
    def test_it_labels_the_gauge(self):
        emit = run({"label": "tested"})
        self.assertEqual(emit.points, [("my_plugin.minute.elapsed", 30, {"label": "tested"})])
        self.assertEqual(emit.records, [])

    def test_it_tells_when_the_minute_gets_old(self):
        self.assertEqual(run({"warn_above": 20}).records[0][1]["severity_text"], "WARN")

    def test_it_refuses_what_no_minute_has(self):
        with self.assertRaises(Host.ConfigError):
            run({"warn_above": 61})


if __name__ == "__main__":
    unittest.main()
