package wish

import (
	"net/http"
	"time"

	"banyan/relay/problem"
)

const (
	endedKept   = 1000        // sessions that have ended and are remembered: their owners are strangers
	endedKeptIn = time.Minute // a client that still cares asks within seconds
)

// ended remembers the newest sessions that told why they have ended, so that their clients can be told. Who is sent away
// and hears of it as of a connection that broke comes back, and sends away who came instead. It knows no clock.
type ended struct {
	byID  map[string]*entry
	order []*entry // the oldest first; entries without session, with explanation and endedAt
}

func newEnded() ended { return ended{byID: map[string]*entry{}} }

// add remembers what is left of e, which has ended as explained.
func (l *ended) add(e *entry, why *Explanation, now time.Time) {
	rest := &entry{id: e.id, endpoint: e.endpoint, stream: e.stream, user: e.user, explanation: why, endedAt: now}
	l.expire(now, endedKept-1)
	l.order = append(l.order, rest)
	l.byID[rest.id] = rest
}

// find gives what is left of a session, or nil.
func (l *ended) find(id string, now time.Time) *entry {
	l.expire(now, endedKept)
	return l.byID[id]
}

// expire forgets what is old, and the oldest beyond most.
func (l *ended) expire(now time.Time, most int) {
	for len(l.order) > most || len(l.order) > 0 && now.Sub(l.order[0].endedAt) >= endedKeptIn {
		delete(l.byID, l.order[0].id)
		l.order[0] = nil
		l.order = l.order[1:]
	}
}

// whyEnded is why the session of e has ended or is about to; nil while it goes on, and where it tells nothing.
func (e *entry) whyEnded() *Explanation {
	if e.session == nil {
		return e.explanation
	}
	if x, ok := e.session.(Explainer); ok {
		return x.Explain()
	}
	return nil
}

// answerEnded answers a request for a session that has ended. To a client that ended it by itself, as it closed the
// connection before it sent the DELETE, that DELETE has come true.
func answerEnded(w http.ResponseWriter, r *http.Request, why *Explanation) {
	switch {
	case why.Cause != "":
		problem.Write(w, http.StatusGone, why.Detail, problem.Member("cause", why.Cause))
	case r.Method == http.MethodDelete:
		w.WriteHeader(http.StatusOK)
	default:
		gone(w)
	}
}
