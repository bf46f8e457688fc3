"""Reads a page of metrics with the parsers of Prometheus's own client and prints what is on it as JSON.

The parser of OpenMetrics refuses what the format forbids: families apart, counters without _total, buckets that fall, labels twice, a
missing end. The older text parser must make the same samples of the page, since scrapers of either kind come by.
"""

import json
import sys

from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client import parser as text

page = sys.stdin.read()
families = list(openmetrics.text_string_to_metric_families(page))
samples = [(s.name, s.labels, s.value) for family in families for s in family.samples]
older = [(s.name, s.labels, s.value) for family in text.text_string_to_metric_families(page) for s in family.samples]
assert sorted(map(str, samples)) == sorted(map(str, older)), "the two parsers disagree"
for family in families:
    assert family.name.startswith("lodedb_"), family.name
    assert family.documentation.endswith("."), f"{family.name} has no help"
    assert family.type in ("counter", "gauge", "histogram", "info"), f"{family.name} is of type {family.type}"
    assert not family.unit or family.name.endswith(family.unit), family.name
json.dump([{"name": name, "labels": labels, "value": value} for name, labels, value in samples], sys.stdout)
