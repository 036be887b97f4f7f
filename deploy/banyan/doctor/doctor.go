// Package doctor examines a machine before Banyan serves on it, and says in each case what to do.
//
// A check looks at one thing and returns a [Finding]: OK, WARN (it runs, with less) or FAIL (it does not run as
// configured). Whatever is wrong comes with its remedy, a command where there is one. Checks change nothing: ports
// are opened and closed again, and a data directory that was not there is not there afterwards. A machine on which
// Banyan runs already is a good one: the node that answers on admin.addr says which ports it has (see [Node]).
package doctor

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	"banyan/deploy/config"
)

// Status is how grave a finding is.
type Status string

// The statuses.
const (
	OK   Status = "OK"
	Warn Status = "WARN"
	Fail Status = "FAIL"
)

// A Finding is what one check saw.
type Finding struct {
	Check  string `json:"check"` // what was looked at
	Status Status `json:"status"`
	Found  string `json:"found"`            // what is the case
	Remedy string `json:"remedy,omitempty"` // what to do; empty if OK
}

func good(check, format string, arguments ...any) Finding {
	return Finding{Check: check, Status: OK, Found: fmt.Sprintf(format, arguments...)}
}

// Subject is what is examined, besides the machine.
type Subject struct {
	Config config.Config
	Pages  fs.FS // the pages built into the binary; nil if there are none
}

// Examine makes all checks, within a bounded time that the slowest FFmpeg decides.
func Examine(ctx context.Context, s Subject) []Finding {
	return slices.Concat(
		examineFFmpeg(ctx, s.Config),
		examinePorts(ctx, s.Config),
		examineICE(ctx, s.Config.RTC.ICEServers),
		examineTLS(s.Config.HTTP.TLS.Cert, s.Config.HTTP.TLS.Key, time.Now()),
		examineDirectory(s.Config.Data.Dir),
		examineSystem(),
		examinePages(s.Pages),
	)
}

// Failed says whether a finding keeps Banyan from running.
func Failed(findings []Finding) bool {
	return slices.ContainsFunc(findings, func(f Finding) bool { return f.Status == Fail })
}

// Print writes one line per finding, and its remedy below it.
func Print(w io.Writer, findings []Finding) error {
	var b strings.Builder
	for _, f := range findings {
		fmt.Fprintf(&b, "%-4s  %-18s %s\n", f.Status, f.Check, f.Found)
		if f.Remedy != "" {
			fmt.Fprintf(&b, "%25s-> %s\n", "", f.Remedy)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func examinePages(pages fs.FS) []Finding {
	const check = "pages"
	if pages != nil {
		if _, err := fs.Stat(pages, "index.html"); err == nil {
			return []Finding{good(check, "built into this binary")}
		}
	}
	return []Finding{{check, Warn, "this binary was built without the pages for browsers", "build it with: make build"}}
}
