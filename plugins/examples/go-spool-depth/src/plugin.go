// Counts what waits in folders.
package main

import (
	"strings"
	"time"

	"spool-depth/whimbrel"
)

var entries = whimbrel.Metric{
	Name:        "spool.entries",
	Unit:        "{entry}",
	Description: "Files that wait in the folder.",
}

// Config is what stands under `config:` in whimbrel.yaml.
type Config struct {
	Folders []string `json:"folders"`
	Suffix  string   `json:"suffix"`
}

// SpoolDepth is the collector.
type SpoolDepth struct {
	config Config
}

func newSpoolDepth(context whimbrel.Context) (whimbrel.Collector, error) {
	var config Config
	if err := context.ReadConfig(&config); err != nil {
		return nil, err
	}
	for _, folder := range config.Folders {
		if !strings.HasPrefix(folder, "/") {
			return nil, whimbrel.ConfigError("folders: %q: name it from / on", folder)
		}
	}
	if len(config.Folders) == 0 {
		return nil, whimbrel.ConfigError("folders: name one at least")
	}
	return &SpoolDepth{config}, nil
}

// Collect counts each folder; one that can't be read does not keep the others from being told.
func (p *SpoolDepth) Collect(out *whimbrel.Emit, _ time.Duration) (bool, error) {
	for _, folder := range p.config.Folders {
		found, err := whimbrel.ReadFolder(folder)
		if err != nil {
			whimbrel.Log(whimbrel.Warn, "a folder can't be counted", "folder", folder, "error", err)
			continue
		}
		count := int64(0)
		for _, entry := range found {
			if !entry.IsFolder && strings.HasSuffix(entry.Name, p.config.Suffix) {
				count++
			}
		}
		out.Gauge(entries, count, whimbrel.Attributes{"folder": folder})
	}
	return false, nil
}

func init() {
	whimbrel.Register(newSpoolDepth)
}

// A plugin is a library: main is not called.
func main() {}
