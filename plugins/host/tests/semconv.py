#!/usr/bin/env python3
"""Makes semconv.tsv anew from a checkout of the OpenTelemetry semantic conventions.

    python3 plugins/host/tests/semconv.py PATH/TO/semantic-conventions v1.44.0 > plugins/host/tests/semconv.tsv

A row is a metric: name, instrument, unit, number, attributes. An attribute whose values are settled has them behind
an equals sign. Needs git and PyYAML; the checkout may be bare, and nothing in it is run.
"""

import re
import subprocess
import sys

import yaml

MODEL = ["system", "process", "hardware", "cpu", "disk", "network"]
WANTED = re.compile(r"(system|process)\..*|hw\.temperature(\..*)?")


def git(checkout, *arguments):
    return subprocess.run(
        ["git", "-C", checkout, *arguments], check=True, capture_output=True, text=True
    ).stdout


def documents(checkout, tag):
    listed = git(checkout, "ls-tree", "-r", "--name-only", tag, *[f"model/{part}/" for part in MODEL])
    for path in listed.split():
        if path.endswith(".yaml") and "deprecated" not in path:
            yield yaml.safe_load(git(checkout, "show", f"{tag}:{path}"))


def values_of(attribute):
    kind = attribute.get("type")
    if not isinstance(kind, dict):
        return []
    return [str(member["value"]) for member in kind["members"] if "deprecated" not in member]


def noted(reference):
    """A metric may settle the values of a wider attribute in its note, in backticks."""
    note = reference.get("note") or ""
    if "SHOULD be used" not in note:
        return []
    return re.findall(r"`([a-z]+)`", note.split("Other modes")[0].replace("`cpu.mode`", ""))


def main(checkout, tag):
    everything = list(documents(checkout, tag))
    values, groups, metrics = {}, {}, {}
    for document in everything:
        for group in document.get("groups", []) + document.get("attribute_groups", []):
            for attribute in group.get("attributes") or []:
                if "id" in attribute:
                    values[attribute["id"]] = values_of(attribute)
            groups[group["id"]] = [it for it in group.get("attributes") or [] if "ref" in it]
            if group.get("type") == "metric":
                metrics[group["metric_name"]] = group
        for attribute in document.get("attributes", []):
            values[attribute.get("key", attribute.get("id"))] = values_of(attribute)
        for metric in document.get("metrics", []):
            metrics[metric["name"]] = metric

    print(f"# OpenTelemetry semantic conventions {tag}; an extract made by semconv.py")
    for name, metric in sorted(metrics.items()):
        if not WANTED.fullmatch(name):
            continue
        references = []
        for attribute in metric.get("attributes") or []:
            references += groups[attribute["ref_group"]] if "ref_group" in attribute else [attribute]
        keys = []
        for reference in references:
            settled = noted(reference) or values.get(reference["ref"], [])
            keys.append(reference["ref"] + ("=" + "|".join(settled) if settled else ""))
        number = metric["annotations"]["code_generation"]["metric_value_type"]
        print(name, metric["instrument"], metric["unit"], number, " ".join(keys), sep="\t")


main(*sys.argv[1:])
