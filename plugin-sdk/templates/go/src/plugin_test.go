package main

import (
	"strings"
	"testing"
	"time"

	"my-plugin/whimbrel"
)

// `go test ./...` runs here, without the sandbox; `whimbrel plugin test` runs the component.
func collect(t *testing.T, config string) *whimbrel.Emit {
	t.Helper()
	whimbrel.Test(&whimbrel.TestHost{Time: time.Unix(30, 0)})
	plugin, err := newMyPlugin(whimbrel.Context{Config: []byte(config)})
	if err != nil {
		t.Fatal(err)
	}
	out := &whimbrel.Emit{}
	if _, err := plugin.Collect(out, time.Second); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestItEmitsTheGauge(t *testing.T) {
	out := collect(t, `{"label": "tested"}`)
	if out.Points()["my_plugin.minute.elapsed"] == 0 || out.Records() {
		t.Fatalf("points %v, records %v", out.Points(), out.Records())
	}
}

func TestItTellsWhenTheMinuteGetsOld(t *testing.T) {
	if !collect(t, `{"warn_above": 20}`).Records() {
		t.Fatal("no log record")
	}
}

func TestItRefusesWhatNoMinuteHas(t *testing.T) {
	whimbrel.Test(&whimbrel.TestHost{})
	_, err := newMyPlugin(whimbrel.Context{Config: []byte(`{"warn_above": 61}`)})
	if err == nil || !strings.Contains(err.Error(), "warn_above") {
		t.Fatal(err)
	}
}
