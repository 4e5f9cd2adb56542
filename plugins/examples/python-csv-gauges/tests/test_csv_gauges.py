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

    content = b""

    class ConfigError(Exception):
        pass

    class Metric:
        def __init__(self, name):
            self.name = name

    class log:
        @staticmethod
        def warn(message, **fields):
            pass

    @staticmethod
    def read_file(path):
        return Host.content


sys.modules["whimbrel"] = Host("whimbrel")

from csv_gauges import CsvGauges  # noqa: E402


class CsvGaugesTest(unittest.TestCase):
    def test_rows_become_points_and_what_is_no_number_is_left_out(self):
        Host.content = b"queue,depth\nmail,3\nprint,none\n"
        points = []
        emit = types.SimpleNamespace(gauge=lambda metric, value, attributes: points.append((metric.name, value, attributes)))
        config = {"path": "/x", "labels": ["queue"], "figures": {"depth": "app.depth"}}
        CsvGauges(types.SimpleNamespace(config=config)).collect(emit)
        self.assertEqual(points, [("app.depth", 3, {"queue": "mail"})])

    def test_a_path_is_needed(self):
        with self.assertRaises(Host.ConfigError):
            CsvGauges(types.SimpleNamespace(config={"figures": {"a": "b"}}))


if __name__ == "__main__":
    unittest.main()
