package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"banyan/relay"
	"banyan/relay/media"
	"banyan/transcoder"
)

const (
	// loadEvery is how often a node measures what it carries. Placement needs no more: who is full keeps what it has.
	loadEvery = 2 * time.Second
	// usualLine is taken for the speed of a network card that does not tell, in bit/s.
	usualLine = 1e9
	// processesPerCore is how many encoders a transcoder takes at most, where transcoder.workers does not say.
	processesPerCore = 8
)

// guessed is the most that a line counts as loaded by a guess of its speed: nobody is turned away for a guess.
const guessed = 0.9

// meter measures the shares of its capacities that a node uses. It is coarse: the bit rate that leaves it, by what its
// tracks have and how many read them, and the processor time of its encoders. What else the machine does is not seen.
type meter struct {
	line    float64 // bit/s that can leave the node
	guessed bool    // the line is as usual, for all that is known
	cores   float64 // that encoders may take
	workers int     // most encoders

	at   time.Time             // of the last look
	used map[int]time.Duration // processor time of encoders by then, by process
}

// newMeter makes one. What is zero is found out: line by what the network cards in a directory such as /sys/class/net tell.
func newMeter(line float64, cards string, workers int, cores float64) *meter {
	m := &meter{line: line, cores: cores, workers: workers, used: map[int]time.Duration{}}
	if m.line <= 0 {
		m.line = lineSpeed(cards)
	}
	if m.line <= 0 {
		m.line, m.guessed = usualLine, true
	}
	if m.cores <= 0 {
		m.cores = float64(runtime.NumCPU())
	}
	if m.workers <= 0 {
		m.workers = processesPerCore * runtime.NumCPU()
	}
	return m
}

// capacity is what the node can carry beside others of its role: processors for one that encodes, else Gbit/s.
func (m *meter) capacity(encodes bool) float64 {
	if encodes {
		return m.cores
	}
	return m.line / 1e9
}

// loads are of the line and of the encoders, each from 0 to 1. They are apart, as an edge whose encoders are busy has
// room for viewers.
type loads struct{ line, encoding float64 }

func (m *meter) loads(streams []*relay.Stream, encoders []transcoder.Worker, now time.Time) loads {
	rate := 0.0
	for _, s := range streams {
		rate += egress(s.Tracks(), s.Viewers()["hls"])
	}
	most := 1.0
	if m.guessed {
		most = guessed
	}
	// Of encoders whatever is scarcer counts: their number or their processor time.
	return loads{min(rate/m.line, most), min(max(float64(len(encoders))/float64(m.workers), m.encoding(encoders, now)), 1)}
}

// egress is the bit rate of what readers of a stream are sent. Children on other nodes, and viewers by WebRTC and
// RTSP, are readers one by one. Viewers of HLS share one; each is taken to have the best picture and one sound.
func egress(tracks []relay.Track, hls int) (rate float64) {
	best := map[media.Kind]float64{}
	for _, t := range tracks {
		if t.Log == nil || t.Readers == 0 {
			continue
		}
		each := t.Log.Stats().Bitrate
		rate += each * float64(t.Readers)
		best[t.ID.Kind] = max(best[t.ID.Kind], each)
	}
	return rate + float64(hls)*(best[media.Video]+best[media.Audio])
}

// encoding is the share of the processors that encoders took since the last look.
func (m *meter) encoding(encoders []transcoder.Worker, now time.Time) float64 {
	used := make(map[int]time.Duration, len(encoders))
	var sum time.Duration
	for _, e := range encoders {
		t, err := processorTime(e.PID)
		if err != nil {
			continue // it has ended, or this system does not tell
		}
		used[e.PID] = t
		if before, known := m.used[e.PID]; known {
			sum += t - before
		}
	}
	span := now.Sub(m.at)
	m.used, m.at = used, now
	if span <= 0 {
		return 0
	}
	return sum.Seconds() / span.Seconds() / m.cores
}

// processorTime is what a process has used so far (proc_pid_stat(5): fields 14 and 15, in hundredths of a second).
func processorTime(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, err
	}
	return parseStat(stat)
}

func parseStat(stat []byte) (time.Duration, error) {
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:]) // the name before may have spaces
	const user, system = 14 - 3, 15 - 3
	if len(fields) <= system {
		return 0, fmt.Errorf("%q is no line of /proc/PID/stat", stat)
	}
	var sum int64
	for _, i := range []int{user, system} {
		ticks, err := strconv.ParseInt(string(fields[i]), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/PID/stat: %w", err)
		}
		sum += ticks
	}
	return time.Duration(sum) * 10 * time.Millisecond, nil
}

// lineSpeed is that of the fastest network card listed in a directory such as /sys/class/net, in bit/s; zero where none tells.
func lineSpeed(dir string) float64 {
	fastest := 0.0
	files, _ := filepath.Glob(filepath.Join(dir, "*", "speed"))
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // as for a card that is down
		}
		if mbits, err := strconv.ParseFloat(strings.TrimSpace(string(text)), 64); err == nil {
			fastest = max(fastest, mbits*1e6) // -1 where it is not known
		}
	}
	return fastest
}

// newMeter measures this node.
func (n *node) newMeter() *meter {
	return newMeter(float64(n.cfg.Node.Line)*1e6, "/sys/class/net", n.cfg.Transcoder.Workers, float64(n.cfg.Transcoder.Capacity)/1000)
}

// measure is what the node carries now.
func (n *node) measure(m *meter, now time.Time) loads {
	var encoders []transcoder.Worker
	if t := n.parts.transcoder; t != nil {
		encoders = t.Workers()
	}
	return m.loads(n.parts.hub.Streams(), encoders, now)
}

// everyLook calls look when the load is to be measured, until ctx ends.
func everyLook(ctx context.Context, look func(now time.Time)) error {
	tick := time.NewTicker(loadEvery)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			look(now)
		case <-ctx.Done():
			return nil
		}
	}
}

// gauge holds the newest loads of a node that stands alone; in a cluster the fabric tells all of them.
type gauge struct{ newest atomic.Pointer[loads] }

func (g *gauge) set(now loads) { g.newest.Store(&now) }

func (g *gauge) loads() loads {
	if now := g.newest.Load(); now != nil {
		return *now
	}
	return loads{}
}

// line is how much of the line is in use.
func (g *gauge) line() float64 { return g.loads().line }
