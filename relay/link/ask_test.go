package link

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"sync/atomic"
	"testing"
	"time"
)

func TestANodeIsAskedHowItIs(t *testing.T) {
	var state atomic.Pointer[[]byte]
	say := func(b []byte) { state.Store(&b) }
	say([]byte("well"))
	parent, _ := start(t, Config{Node: "ingest", Identity: identity(t, key, "ingest"), Limits: patient, State: func() []byte { return *state.Load() }})
	child, _ := node(t, "edge", nil, patient)
	p := peer(t, child, parent)
	for _, want := range [][]byte{[]byte("well"), {}, bytes.Repeat([]byte("x"), mostState)} {
		say(want)
		if got, err := p.Ask(t.Context()); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("it says %d bytes, %v; want %d", len(got), err, len(want))
		}
	}
	say(make([]byte, mostState+1))
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if got, err := p.Ask(short); !errors.Is(err, ErrSilent) {
		t.Errorf("of a state that is too long it says %d bytes, %v; want nothing", len(got), err)
	}
	short, cancel = context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := peer(t, parent, child).Ask(short); !errors.Is(err, ErrSilent) {
		t.Errorf("a node that says nothing of itself: %v, want %v", err, ErrSilent)
	}
	if isClosed(p.Down()) {
		t.Error("a question without an answer ended the link")
	}
}

// Who asks without end is answered a few times, and keeps its link.
func TestManyQuestions(t *testing.T) {
	var told atomic.Int64
	n, _ := start(t, Config{Node: "ingest", Identity: identity(t, key, "ingest"), Limits: patient,
		State: func() []byte { told.Add(1); return []byte("well") }})
	s := child(t, n)
	s.beat()
	for i := range uint64(1000) {
		s.send(frameAsk, appendNumber(i+1))
	}
	s.send(frameSubscribe, subscribe{sub: 1, id: videoID}.append(nil))
	s.want(frameRefused) // it has come to this, and there is no such track
	if got := told.Load(); got < 1 || got > askBurst+askRate*int64(soon/time.Second) {
		t.Errorf("a thousand questions are answered %d times", got)
	}
}

// Neighbours of the version before do not know the question.
func TestAnOlderNodeIsNotAsked(t *testing.T) {
	said := appendNumber(1)
	for newest, want := range map[uint64]error{askVersion - 1: ErrOld, askVersion: nil, askVersion + 1: nil} {
		n, _ := node(t, "edge", nil, patient)
		p := n.Peer("ingest", parentOf(t, newest, frameAsk, func(s *stranger) {
			s.beat()
			s.group([]byte{streamState}, said, []byte("well"))
		}))
		got, err := p.Ask(t.Context())
		if !errors.Is(err, want) || want == nil && string(got) != "well" {
			t.Errorf("a node whose newest version is %d says %q, %v; want %v", newest, got, err, want)
		}
		p.Close()
	}
}

func TestHostileAnswers(t *testing.T) {
	for name, answer := range map[string][]byte{
		"to what was not asked":   appendNumber(2),
		"to no question":          appendNumber(0),
		"a number without end":    bytes.Repeat([]byte{0xff}, 20),
		"cut short":               {},
		"more than it may tell":   append(appendNumber(1), make([]byte, mostState+1)...),
		"to a question of 64 bit": binary.AppendUvarint(nil, 1<<63),
	} {
		n, _ := node(t, "edge", nil, patient)
		p := n.Peer("ingest", parentOf(t, askVersion, frameAsk, func(s *stranger) { s.beat(); s.group([]byte{streamState}, answer) }))
		if got, err := p.Ask(t.Context()); !errors.Is(err, ErrViolation) {
			t.Errorf("%s: %d bytes, %v; want %v", name, len(got), err, ErrViolation)
		}
		p.Close()
	}
}
