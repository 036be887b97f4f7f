package hls

import (
	"net/http"
	"strings"
	"sync"
	"time"

	"banyan/relay/media"
)

// viewers counts players without giving them sessions: requests for one stream from one address with
// one user agent are one player, until none has come for a while. Players behind one address with
// equal browsers count as one.
type viewers struct {
	stays time.Duration // after the last request
	most  int           // players remembered; beyond it new ones are not counted

	mu  sync.Mutex
	all map[viewer]*visit
}

type viewer struct {
	stream      media.Name
	host, agent string
}

type visit struct {
	seen  time.Time
	leave func()
}

// agentOf is a request's user agent; a long one is cut, so that it cannot fill memory.
func agentOf(r *http.Request) string {
	const most = 200 // bytes
	agent := r.UserAgent()
	return agent[:min(len(agent), most)]
}

// knows tells whether a player was seen lately.
func (v *viewers) knows(who viewer) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.all[who] != nil
}

// see notes a request. enter is called for a player that was not there.
func (v *viewers) see(who viewer, now time.Time, enter func() (leave func())) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if known := v.all[who]; known != nil {
		known.seen = now
		return
	}
	if len(v.all) >= v.most {
		return
	}
	if v.all == nil {
		v.all = map[viewer]*visit{}
	}
	who.agent = strings.Clone(who.agent) // not the whole request's memory
	v.all[who] = &visit{seen: now, leave: enter()}
}

// sweep lets go of those that have not been seen for a while, and tells how many are left.
func (v *viewers) sweep(now time.Time) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	for who, visit := range v.all {
		if now.Sub(visit.seen) > v.stays {
			visit.leave()
			delete(v.all, who)
		}
	}
	return len(v.all)
}

// since tells how many have been seen since a time.
func (v *viewers) since(t time.Time) (count int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, visit := range v.all {
		if visit.seen.After(t) {
			count++
		}
	}
	return count
}

// clear lets go of everyone.
func (v *viewers) clear() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, visit := range v.all {
		visit.leave()
	}
	v.all = nil
}
