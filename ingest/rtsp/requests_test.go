package rtsp

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/bluenviron/gortsplib/v4/pkg/conn"
)

// pass reads all that a requestReader passes on of what came, and what it refuses.
func pass(from io.Reader, flowing bool) (passed string, refused []refusal) {
	r := newRequestReader(from, func() bool { return flowing }, func(r refusal) error {
		refused = append(refused, r)
		return nil
	})
	all, _ := io.ReadAll(r) // the error is the end of what came, or a refusal
	return string(all), refused
}

const options = "OPTIONS rtsp://h/x RTSP/1.0\r\nCSeq: 1\r\n\r\n"

func TestRequestsArePassedOnWhole(t *testing.T) {
	t.Parallel()
	frame := "$\x00\x00\x05OPTI\n"
	announce := "ANNOUNCE rtsp://h/x RTSP/1.0\r\ncontent-length:  7\r\n\r\nDANCE\r\n"
	for _, c := range []struct {
		name, in, want string
		flowing        bool
		refused        []int
	}{
		{name: "requests and frames", in: options + frame + announce + frame + options, want: options + frame + announce + frame + options},
		{name: "empty lines", in: "\r\n\r\n" + options + "\r\n" + options, want: options + options},
		{name: "unknown method with a body", in: "DANCE x RTSP/1.0\r\nContent-Length: 40\r\n\r\n" + options + options, want: options, refused: []int{501}},
		{name: "begun only", in: options[:20], want: ""},
		{name: "noise", in: options + "\x00" + options, want: options, refused: []int{400}},
		{name: "noise between frames", in: frame + "\x00\xff" + frame + "\x00" + options, flowing: true, want: frame + frame + options},
		{name: "another version", in: options + "OPTIONS * RTSP/2.0\r\n\r\n" + options, want: options, refused: []int{505}},
		{name: "no version", in: "OPTIONS *\r\n\r\n", refused: []int{400}},
		{name: "a space in the address", in: "ANNOUNCE rtsp://h/cup/z z RTSP/1.0\r\nCSeq: 1\r\n\r\n", refused: []int{404}},
		{name: "HTTP", in: "GET / HTTP/1.1\r\nHost: h\r\n\r\n", refused: []int{400}},
		{name: "an answer", in: "RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n", refused: []int{400}},
		{name: "head without end", in: strings.Repeat("A", 2*maxHead), refused: []int{400}},
		{name: "header without a name", in: "OPTIONS * RTSP/1.0\r\n: x\r\n\r\n", refused: []int{400}},
		{name: "length of nonsense", in: "OPTIONS * RTSP/1.0\r\nContent-Length: 5 \r\n\r\n", refused: []int{400}},
	} {
		for _, from := range []io.Reader{strings.NewReader(c.in), iotest.OneByteReader(strings.NewReader(c.in)), iotest.DataErrReader(strings.NewReader(c.in))} {
			passed, refused := pass(from, c.flowing)
			var statuses []int
			for _, r := range refused {
				statuses = append(statuses, int(r.status))
			}
			if passed != c.want || !slices.Equal(statuses, c.refused) {
				t.Errorf("%s, by %T: passed on %q, refused %v; want %q, %v", c.name, from, passed, statuses, c.want, c.refused)
			}
		}
	}
}

// FuzzRequests feeds what a peer may send. How it is cut up makes no difference, and gortsplib finds in what is
// passed on as many requests and frames as the reader saw there.
func FuzzRequests(f *testing.F) {
	f.Add([]byte(options + "$\x00\x00\x02ab" + options))
	f.Add([]byte("ANNOUNCE rtsp://h/x RTSP/1.0\r\nContent-Length: 5\r\n\r\nhello" + options))
	f.Add([]byte("HELLO x RTSP/1.0\r\nContent-Length: 2\r\n\r\nab" + options))
	f.Add([]byte("OPTIONS * RTSP/1.0\r\nnonsense\r\nContent-Length: 9\r\n\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		passed, refused := pass(bytes.NewReader(in), false)
		again, refusedAgain := pass(iotest.OneByteReader(bytes.NewReader(in)), false)
		if passed != again || fmt.Sprint(refused) != fmt.Sprint(refusedAgain) {
			t.Fatalf("whole: %q, %v\nbyte by byte: %q, %v", passed, refused, again, refusedAgain)
		}
		ours := newRequestReader(strings.NewReader(passed), func() bool { return false }, func(refusal) error { return nil })
		theirs := conn.NewConn(struct {
			io.Reader
			io.Writer
		}{strings.NewReader(passed), io.Discard})
		for {
			for ours.pass == 0 {
				if ours.next() != nil {
					return
				}
			}
			size := ours.pass
			whole, err := io.ReadAll(io.LimitReader(ours, int64(size)))
			if err != nil || len(whole) < size {
				return // the last one is cut off
			}
			what, err := theirs.Read()
			if err != nil {
				return // it ends the connection
			}
			if got := fmt.Sprintf("%T", what); (whole[0] == '$') != (got == "*base.InterleavedFrame") {
				t.Fatalf("%q is %s for gortsplib", whole, got)
			}
		}
	})
}
