package main

import (
	"testing"
	"time"

	"spool-depth/whimbrel"
)

func TestAFolderThatIsMissingDoesNotHideTheOthers(t *testing.T) {
	host := &whimbrel.TestHost{Files: map[string][]byte{"/spool/a.job": nil, "/spool/b.tmp": nil}}
	whimbrel.Test(host)
	plugin, err := newSpoolDepth(whimbrel.Context{Config: []byte(`{"folders": ["/gone", "/spool"], "suffix": ".job"}`)})
	if err != nil {
		t.Fatal(err)
	}
	out := &whimbrel.Emit{}
	if _, err := plugin.Collect(out, time.Second); err != nil {
		t.Fatal(err)
	}
	if out.Points()["spool.entries"] == 0 {
		t.Fatal("no point")
	}
}

func TestItRefusesWhatIsNoPath(t *testing.T) {
	for _, config := range []string{`{"folders": ["spool"]}`, `{}`, `{"folder": "/spool"}`} {
		if _, err := newSpoolDepth(whimbrel.Context{Config: []byte(config)}); err == nil {
			t.Fatal(config)
		}
	}
}
