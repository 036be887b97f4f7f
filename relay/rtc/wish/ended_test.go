package wish

import (
	"strconv"
	"testing"
	"time"
)

// TestEndedIsBounded: strangers end as many sessions as they like, and nobody asks for most of them.
func TestEndedIsBounded(t *testing.T) {
	l, why, now := newEnded(), &Explanation{Cause: "kicked", Detail: "The session was ended."}, time.Unix(0, 0)
	const more = 10
	for i := range endedKept + more {
		l.add(&entry{id: strconv.Itoa(i), user: "ana", session: newTwin()}, why, now)
	}
	if len(l.byID) != endedKept || len(l.order) != endedKept {
		t.Errorf("%d of %d are kept, want %d", len(l.byID), len(l.order), endedKept)
	}
	if l.find(strconv.Itoa(more-1), now) != nil || l.find(strconv.Itoa(more), now) == nil {
		t.Error("not the oldest were forgotten")
	}
	newest := strconv.Itoa(endedKept + more - 1)
	if e := l.find(newest, now.Add(endedKeptIn-1)); e == nil || e.session != nil || e.user != "ana" || e.whyEnded() != why {
		t.Errorf("kept %+v, want whose it was and why it has ended, and nothing else", e)
	}
	if e := l.find(newest, now.Add(endedKeptIn)); e != nil || len(l.byID)+len(l.order) != 0 {
		t.Errorf("%+v and %d others are kept for longer than %v", e, len(l.order), endedKeptIn)
	}
}
