// Tells how old the minute is, as an example.
package main

import (
	"time"

	"my-plugin/whimbrel"
)

var elapsed = whimbrel.Metric{
	Name:        "my_plugin.minute.elapsed",
	Unit:        "s",
	Description: "Seconds since the minute began.",
}

// Config is what stands under `config:` in whimbrel.yaml.
type Config struct {
	Label     string  `json:"label"`
	WarnAbove float64 `json:"warn_above"`
}

// MyPlugin is the collector.
type MyPlugin struct {
	config Config
}

func newMyPlugin(context whimbrel.Context) (whimbrel.Collector, error) {
	config := Config{Label: "hello", WarnAbove: 50}
	if err := context.ReadConfig(&config); err != nil {
		return nil, err
	}
	if !(config.WarnAbove >= 0 && config.WarnAbove <= 60) {
		return nil, whimbrel.ConfigError("warn_above: give a number from 0 to 60")
	}
	whimbrel.Log(whimbrel.Info, "started", "label", config.Label)
	return &MyPlugin{config}, nil
}

// Collect is called once an interval.
func (p *MyPlugin) Collect(out *whimbrel.Emit, _ time.Duration) (bool, error) {
	seconds := whimbrel.Now().Unix() % 60
	out.Gauge(elapsed, seconds, whimbrel.Attributes{"label": p.config.Label})
	if float64(seconds) > p.config.WarnAbove {
		out.Record(whimbrel.Record{
			Severity:     whimbrel.SeverityWarn,
			SeverityText: "WARN",
			Body:         "the minute is getting old",
			Attributes:   whimbrel.Attributes{"elapsed": seconds},
		})
	}
	return false, nil
}

func init() {
	whimbrel.Register(newMyPlugin)
}

// A plugin is a library: main is not called.
func main() {}
