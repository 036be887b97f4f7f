package e2e

import (
	"bufio"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/pion/ice/v4"
	"github.com/pion/webrtc/v4"
)

// socket is the one of a viewer. It is known to the test, so that what the kernel throws away there is not held against
// the server.
type socket struct {
	conn *net.UDPConn
	mux  ice.UDPMux
}

func newSocket() (*socket, error) {
	conn, err := net.ListenUDP("udp4", nil)
	if err != nil {
		return nil, err
	}
	return &socket{conn, webrtc.NewICEUDPMux(nil, conn)}, nil
}

func (s *socket) port() int { return s.conn.LocalAddr().(*net.UDPAddr).Port }

// Close returns once nothing reads from it any more.
func (s *socket) Close() error { return s.mux.Close() }

// overflows are how many datagrams the kernel has thrown away at each UDP socket of this machine, as they came faster than
// they were read, by local port. Where the kernel does not tell, it is nil: then all that is missing counts.
func overflows() map[int]int {
	f, err := os.Open("/proc/net/udp")
	if err != nil {
		return nil
	}
	defer f.Close()
	drops := map[int]int{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		columns := strings.Fields(lines.Text())
		const local, width = 1, 13 // and drops is the last one
		if len(columns) != width {
			continue // the line that names them
		}
		_, digits, _ := strings.Cut(columns[local], ":")
		port, err := strconv.ParseUint(digits, 16, 16)
		if err != nil {
			continue
		}
		if n, err := strconv.Atoi(columns[width-1]); err == nil {
			drops[int(port)] += n
		}
	}
	return drops
}
