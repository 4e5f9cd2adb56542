#!/usr/bin/env python3
"""Makes hostmetrics.tsv anew from the source of the OpenTelemetry Collector's hostmetrics receiver.

    module=github.com/open-telemetry/opentelemetry-collector-contrib/receiver/hostmetricsreceiver
    go mod download -json $module@v0.165.1        # says Dir
    python3 plugins/host/tests/hostmetrics.py DIR v0.165.1 > plugins/host/tests/hostmetrics.tsv

A row is a metric of the scrapers whose figures we have, as it is without feature gates: name, whether it is told by
default, instrument, unit, number, attributes with their values where the metadata settles them. Needs PyYAML.
"""

import pathlib
import sys

import yaml

SCRAPERS = ["cpu", "disk", "filesystem", "load", "memory", "network", "paging", "process", "processes", "system"]


def main(directory, version):
    print(f"# opentelemetry-collector-contrib, receiver/hostmetricsreceiver {version}; an extract made by hostmetrics.py")
    rows = []
    for scraper in SCRAPERS:
        path = pathlib.Path(directory) / "internal" / "scraper" / f"{scraper}scraper" / "metadata.yaml"
        metadata = yaml.safe_load(path.read_text())
        for name, metric in metadata["metrics"].items():
            if "@" in name:  # behind a feature gate
                continue
            keys = []
            for key in metric.get("attributes") or []:
                attribute = metadata["attributes"][key]
                settled = attribute.get("enum") or []
                keys.append(attribute.get("name_override", key) + ("=" + "|".join(settled) if settled else ""))
            if "gauge" in metric:
                instrument, kind = "gauge", metric["gauge"]
            else:
                kind = metric["sum"]
                instrument = "counter" if kind["monotonic"] else "updowncounter"
            told = "default" if metric["enabled"] else "optional"
            rows.append((name, told, instrument, metric["unit"], kind["value_type"], " ".join(keys)))
    for row in sorted(rows):
        print(*row, sep="\t")


main(*sys.argv[1:])
