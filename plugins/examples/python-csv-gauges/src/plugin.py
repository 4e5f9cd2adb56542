"""Where the plugin begins: your class, and the contract's exports for it."""

from csv_gauges import CsvGauges
from whimbrel import collector

Lifecycle, Collect = collector(CsvGauges)
