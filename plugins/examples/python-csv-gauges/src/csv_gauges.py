"""Turns the columns of a CSV file into gauges."""

import csv
import encodings.utf_8_sig  # What is to be found at run time has to be imported when the component is made.

from whimbrel import ConfigError, Metric, log, read_file


class CsvGauges:
    """The collector."""

    def __init__(self, context):
        config = context.config
        if not config.get("path") or not config.get("figures"):
            raise ConfigError("path and figures: both are needed")
        self.path = config["path"]
        self.labels = config.get("labels", [])
        self.figures = {column: Metric(name) for column, name in config["figures"].items()}
        self.delimiter = config.get("delimiter", ",")

    def collect(self, emit):
        text = read_file(self.path).decode("utf-8-sig")
        rows = csv.DictReader(text.splitlines(), delimiter=self.delimiter)
        for number, row in enumerate(rows, start=2):
            attributes = {label: row.get(label) or "" for label in self.labels}
            for column, metric in self.figures.items():
                try:
                    value = float(row.get(column) or "")
                except ValueError:
                    log.warn("no number", file=self.path, row=number, column=column)
                    continue
                emit.gauge(metric, int(value) if value.is_integer() else value, attributes)
