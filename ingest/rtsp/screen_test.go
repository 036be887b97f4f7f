package rtsp

import (
	"io"
	"strings"
	"testing"
	"time"

	"banyan/relay/auth"
	"banyan/relay/media"
)

const watch = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1"

// mistake is a request that is refused. Afterwards its connection goes on.
type mistake struct {
	name, status, sentence string
	act                    func(*raw) string
}

func mistakes(n *node) []mistake {
	u, cam := n.url("victim"), n.url("cam")
	played := func(r *raw) string {
		return "Session: " + sessionOf(r.request("SETUP", cam+"/trackID=0", "", watch))
	}
	return []mistake{
		{"no CSeq", "400", "CSeq", func(r *raw) string { return r.ask("DESCRIBE " + u + " RTSP/1.0\r\n\r\n") }},
		{"two CSeq", "400", "CSeq", func(r *raw) string { return r.request("DESCRIBE", u, "", "CSeq: 8") }},
		{"no URL", "400", "URL", func(r *raw) string { return r.request("DESCRIBE", "*", "") }},
		{"SETUP without Transport", "400", "missing", func(r *raw) string { return r.request("SETUP", cam+"/trackID=0", "") }},
		{"SETUP with an empty Transport", "400", "missing", func(r *raw) string { return r.request("SETUP", cam+"/trackID=0", "", "Transport: ") }},
		{"SETUP with nonsense", "400", "cannot be read", func(r *raw) string { return r.request("SETUP", cam+"/trackID=0", "", "Transport: x") }},
		{"SETUP of an unknown track", "404", "no such track", func(r *raw) string { return r.request("SETUP", cam+"/trackID=9", "", watch) }},
		{"SETUP of no track", "404", "no such track", func(r *raw) string { return r.request("SETUP", cam, "", watch) }},
		{"SETUP of an unknown track, to publish", "404", "no such track", func(r *raw) string {
			r.request("ANNOUNCE", u, announcement)
			return r.request("SETUP", u+"/streamid=9", "", record)
		}},
		{"SETUP to record without ANNOUNCE", "400", "ANNOUNCE", func(r *raw) string { return r.request("SETUP", cam+"/trackID=0", "", record) }},
		{"SETUP to play after ANNOUNCE", "400", "mode=record", func(r *raw) string {
			r.request("ANNOUNCE", u, announcement)
			return r.request("SETUP", u+"/streamid=0", "", watch)
		}},
		{"SETUP twice", "455", "TEARDOWN", func(r *raw) string {
			r.request("ANNOUNCE", u, announcement)
			r.request("SETUP", u+"/streamid=0", "", record)
			return r.request("SETUP", u+"/streamid=0", "", strings.Replace(record, "0-1", "2-3", 1))
		}},
		{"SETUP twice, to play", "455", "TEARDOWN", func(r *raw) string {
			session := played(r)
			return r.request("SETUP", cam+"/trackID=0", "", session, strings.Replace(watch, "0-1", "2-3", 1))
		}},
		{"SETUP on channels that are taken", "400", "channels", func(r *raw) string {
			session := played(r)
			return r.request("SETUP", cam+"/trackID=0", "", session, strings.Replace(watch, "0-1", "1-2", 1))
		}},
		{"SETUP over UDP after one over TCP", "400", "same transport", func(r *raw) string {
			r.request("ANNOUNCE", u, announcement+strings.Replace(announcement[strings.Index(announcement, "m="):], "streamid=0", "streamid=1", 1))
			r.request("SETUP", u+"/streamid=0", "", record)
			return r.request("SETUP", u+"/streamid=1", "", "Transport: RTP/AVP;unicast;client_port=5000-5001;mode=record")
		}},
		{"SETUP of another stream", "455", "one stream", func(r *raw) string {
			session := played(r)
			return r.request("SETUP", n.url("other/trackID=0"), "", session, watch)
		}},
		{"ANNOUNCE on a play session", "455", "TEARDOWN", func(r *raw) string { return r.request("ANNOUNCE", u, announcement, played(r)) }},
		{"ANNOUNCE of nonsense", "400", "description", func(r *raw) string { return r.request("ANNOUNCE", u, "nonsense") }},
		{"ANNOUNCE of nothing", "400", "application/sdp", func(r *raw) string { return r.request("ANNOUNCE", u, "") }},
		{"RECORD before SETUP", "455", "SETUP", func(r *raw) string {
			r.request("ANNOUNCE", u, announcement)
			return r.request("RECORD", u, "")
		}},
		{"RECORD on a play session", "455", "ANNOUNCE", func(r *raw) string { return r.request("RECORD", cam, "", played(r)) }},
		{"PLAY of a part", "460", "begin together", func(r *raw) string { return r.request("PLAY", cam+"/trackID=0", "", played(r)) }},
		{"PLAY without its Session", "454", "missing", func(r *raw) string { played(r); return r.request("PLAY", cam, "") }},
		{"PLAY with another Session", "454", "no such session", func(r *raw) string { return r.request("PLAY", cam, "", played(r)+"0") }},
		{"PLAY before SETUP", "455", "SETUP", func(r *raw) string { return r.request("PLAY", cam, "") }},
		{"SET_PARAMETER", "501", "OPTIONS", func(r *raw) string { return r.request("SET_PARAMETER", cam, "") }},
		{"SET_PARAMETER in a session", "501", "OPTIONS", func(r *raw) string { return r.request("SET_PARAMETER", cam, "", played(r)) }},
	}
}

// TestMistakesAreExplained checks that whoever makes a mistake is told which, in the status line and in the body, and
// may go on; the operator is told, too.
func TestMistakesAreExplained(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil)
	push(t, n.url("cam"), "tcp", picture, x264())
	n.track("cam", media.Video)
	for _, m := range mistakes(n) {
		r := n.dial(t)
		before := len(n.logs.String())
		got := m.act(r)
		head, body, _ := strings.Cut(got, "\r\n\r\n")
		line, _, _ := strings.Cut(head, "\r\n")
		if status(got) != m.status || !strings.Contains(body, m.sentence) || !strings.Contains(line, ": ") {
			t.Errorf("%s: %q; want %s with %q", m.name, got, m.status, m.sentence)
		}
		if cseq := header(got, "CSeq"); (cseq == "7") == strings.HasSuffix(m.name, " CSeq") {
			t.Errorf("%s: the answer's CSeq is %q", m.name, cseq)
		}
		log := n.logs.String()[before:]
		if m.status != "501" && !strings.Contains(log, "RTSP request refused") {
			t.Errorf("%s: the log does not tell:\n%s", m.name, log)
		}
		if strings.Contains(m.name, "track") && strings.Contains(log, "RTSP player") {
			t.Errorf("%s: the log tells of a player that never was:\n%s", m.name, log)
		}
		if next := r.request("OPTIONS", "*", ""); status(next) != "200" {
			t.Errorf("%s: the connection does not go on: %q", m.name, next)
		}
		r.conn.Close()
	}
	eventually(t, "all sessions to be gone", func() bool { return n.server.Stats().Players == 0 })
}

// TestAnUnparsableRequestIsAnsweredWithItsNumber is R1.
func TestAnUnparsableRequestIsAnsweredWithItsNumber(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil)
	for name, request := range map[string]string{
		"method in lower case":  "options * RTSP/1.0\r\nCSeq: 7\r\n\r\n",
		"method of punctuation": "?! * RTSP/1.0\r\nCSeq: 7\r\n\r\n",
		"URL of another scheme": "DESCRIBE http://h/x RTSP/1.0\r\nCSeq: 7\r\n\r\n",
		"no version":            "OPTIONS *\r\nCSeq: 7\r\n\r\n",
		"too long":              "OPTIONS * RTSP/1.0\r\nCSeq: 7\r\n" + strings.Repeat("A: b\r\n", maxHead),
	} {
		if got := n.dial(t).ask(request); status(got) != "400" || header(got, "CSeq") != "7" {
			t.Errorf("%s: %q; want 400 with its CSeq", name, got)
		}
	}
}

// TestStrangersAreAskedWhoTheyAreFirst is R14: what a request holds is looked at after its credentials.
func TestStrangersAreAskedWhoTheyAreFirst(t *testing.T) {
	t.Parallel()
	n := newNode(t, func(c *Config) { c.Guard = newGuard(t, auth.NeedToken) })
	for name, ask := range map[string]func(*raw) string{
		"ANNOUNCE of nonsense": func(r *raw) string { return r.request("ANNOUNCE", n.url("cam"), "nonsense") },
		"ANNOUNCE of nothing":  func(r *raw) string { return r.request("ANNOUNCE", n.url("cam"), "") },
		"SETUP of nonsense":    func(r *raw) string { return r.request("SETUP", n.url("cam/trackID=0"), "", "Transport: x") },
	} {
		if got := ask(n.dial(t)); status(got) != "401" || !strings.Contains(got, "WWW-Authenticate") {
			t.Errorf("%s: %q; want 401", name, got)
		}
	}
}

func TestPingsNeedNoSession(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil)
	for _, url := range []string{n.url("cam"), n.url("")} {
		if got := n.dial(t).request("GET_PARAMETER", url, ""); status(got) != "200" || header(got, "CSeq") != "7" {
			t.Errorf("GET_PARAMETER %s: %q", url, got)
		}
	}
}

// TestPausedPlayersAreReaped is R16: who pauses and falls silent is no viewer for ever, and nothing is made for them.
func TestPausedPlayersAreReaped(t *testing.T) {
	t.Parallel()
	n := newNode(t, func(c *Config) { c.SessionTimeout = 2 * time.Second })
	n.hub.AddSupplier(silence{})
	push(t, n.url("cam"), "tcp", picture, x264())
	n.track("cam", media.Video)
	stream, err := n.hub.Stream("cam")
	if err != nil {
		t.Fatal(err)
	}
	readers := func() (count int) {
		for _, track := range stream.Tracks() {
			if track.ID.Format == "opus" {
				count += track.Readers
			}
		}
		return count
	}
	for _, transport := range []string{watch, "Transport: RTP/AVP;unicast;client_port=40020-40021"} {
		r := n.dial(t)
		setup := r.request("SETUP", n.url("cam?format=opus/trackID=0"), "", transport)
		session := header(setup, "Session")
		if !strings.HasSuffix(session, ";timeout=2") {
			t.Errorf("the session does not say how long it lasts: %s", setup)
		}
		if got := r.request("PLAY", n.url("cam?format=opus"), "", "Session: "+session); status(got) != "200" {
			t.Fatal(got)
		}
		if readers() == 0 || stream.Viewers()["rtsp"] != 1 {
			t.Fatalf("the player has no track: %d readers, viewers %v", readers(), stream.Viewers())
		}
		r.pause(n.url("cam?format=opus"), session)
		// What was on its way when the player paused does no harm.
		if _, err := io.WriteString(r.conn, "$\x01\x00\x04abcd"); err != nil {
			t.Fatal(err)
		}
		if got := r.request("GET_PARAMETER", n.url("cam"), "", "Session: "+session); status(got) != "200" {
			t.Fatalf("a report after PAUSE: %q", got)
		}
		eventually(t, "the silent player to be gone", func() bool {
			return n.server.Stats().Players == 0 && stream.Viewers()["rtsp"] == 0 && readers() == 0
		})
	}
}

// pause sends PAUSE and reads until its answer, past the media before it.
func (r *raw) pause(url, session string) {
	r.t.Helper()
	_ = r.conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(r.conn, "PAUSE "+url+" RTSP/1.0\r\nCSeq: 99\r\nSession: "+session+"\r\n\r\n"); err != nil {
		r.t.Fatal(err)
	}
	var text strings.Builder
	buffer := make([]byte, 1)
	for !strings.HasSuffix(text.String(), "\r\n\r\n") || !strings.Contains(text.String(), "CSeq: 99\r\n") {
		if _, err := r.conn.Read(buffer); err != nil {
			r.t.Fatalf("no answer to PAUSE: %v", err)
		}
		text.Write(buffer)
	}
	if !strings.Contains(text.String(), "RTSP/1.0 200 OK\r\nCSeq: 99") {
		r.t.Fatalf("PAUSE was refused: %q", text.String())
	}
}
