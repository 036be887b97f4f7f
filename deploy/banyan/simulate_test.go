package main

import (
	"encoding/json"
	"strings"
	"testing"

	"banyan/deploy/sim"
)

func TestSimulatePrintsAReport(t *testing.T) {
	small := []string{"simulate", "--edges", "50", "--viewers", "2000", "--regions", "eu-west=0.7,us-east=0.3", "--kill", "relay"}
	out, err := banyan(t, small...)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"50 edges", "2 regions", "origin egress", "time to re-attach"} {
		if !strings.Contains(out, want) {
			t.Errorf("the report lacks %q:\n%s", want, out)
		}
	}
	out, err = banyan(t, append(small, "--json")...)
	if err != nil {
		t.Fatal(err)
	}
	var report sim.Report
	if err := json.Unmarshal([]byte(out), &report); err != nil || report.Viewers != 2000 || report.Failure == nil {
		t.Errorf("as JSON it is %s (%v)", out, err)
	}
}

func TestSimulateRefusesWhatItCannot(t *testing.T) {
	for _, c := range []struct{ flag, value, want string }{
		{"--edges", "-3", "edges"}, {"--regions", "eu=much", "eu=much"}, {"--regions", "eu=-1", "share"}, {"--kill", "all", "kill"}, {"--silence", "-1s", "negative"},
	} {
		if out, err := banyan(t, "simulate", c.flag+"="+c.value); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: %q, %v; want an error with %q", c.flag, c.value, out, err, c.want)
		}
	}
}
