module github.com/whimbrel-telemetry/whimbrel/tests/interop/victoria-metrics

go 1.24.5

require github.com/VictoriaMetrics/VictoriaMetrics v1.122.0
