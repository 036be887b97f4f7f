package cluster

import (
	"strconv"
	"testing"
	"time"

	"banyan/relay/tree"
)

func TestDeparturesAreBounded(t *testing.T) {
	var d departures
	began := time.Now()
	for i := range maxDepartures + 5 {
		d.note(tree.Node{Name: strconv.Itoa(i)}, began.Add(time.Duration(i)*time.Second), i%2 == 0)
	}
	all := d.since(began.Add(-time.Second))
	if len(all) != maxDepartures || all[0].Node.Name != "24" || !all[0].Goodbye || all[1].Goodbye {
		t.Errorf("kept %d, the latest %+v and %+v", len(all), all[0], all[1])
	}
	if late := d.since(began.Add(21 * time.Second)); len(late) != 3 || late[2].Node.Name != "22" {
		t.Errorf("of the last moments: %+v", late)
	}
}

// TestDeparturesTellHow has one node leave and one die.
func TestDeparturesTellHow(t *testing.T) {
	all := family(t, 4)
	go all[2].stop()
	all[0].eventually("n2 gone", nodes(3))
	all[3].kill()
	all[0].eventually("n3 dead", nodes(2))
	got := all[0].Departures()
	if len(got) != 2 || got[0].Node.Name != "n3" || got[0].Goodbye || got[1].Node.Name != "n2" || !got[1].Goodbye || got[1].At.After(got[0].At) {
		t.Errorf("n0 tells of %+v, want that n3 died, and before it n2 left", got)
	}
	if len(got) > 0 && got[0].Node.Region != "local" {
		t.Errorf("what n3 was is forgotten: %+v", got[0].Node)
	}
}
