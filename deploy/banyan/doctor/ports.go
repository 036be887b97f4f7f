package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"banyan/deploy/config"
)

// Port is an address that a node opens.
type Port struct{ Key, Network, Addr string }

// String is as in "http.addr :8080/tcp".
func (p Port) String() string { return fmt.Sprintf("%s %s/%s", p.Key, p.Addr, p.Network) }

// ports are those of a configuration, the pair of rtsp.udp_addr apart.
func ports(c config.Config) []Port {
	all := []Port{
		{"http.addr", "tcp", c.HTTP.Addr},
		{"http.tls.addr", "tcp", c.HTTP.TLS.Addr},
		{"admin.addr", "tcp", c.Admin.Addr},
		{"rtsp.addr", "tcp", c.RTSP.Addr},
		{"rtsp.tls.addr", "tcp", c.RTSP.TLS.Addr},
		{"rtc.addr", "udp", c.RTC.Addr},
		{"rtc.addr", "tcp", c.RTC.Addr},
	}
	return slices.DeleteFunc(all, func(p Port) bool { return p.Addr == "" })
}

// Taken lists the addresses of a configuration that somebody else has open.
func Taken(c config.Config) []Port {
	var taken []Port
	all := append(ports(c), Port{"rtsp.udp_addr", "udp", c.RTSP.UDPAddr})
	if c.Clustered() {
		all = append(all, Port{"cluster.addr", "tcp", c.Cluster.Addr}, Port{"link.addr", "udp", c.Link.Addr})
	}
	for _, port := range all {
		if port.Addr != "" && errors.Is(tryPort(port.Network, port.Addr), syscall.EADDRINUSE) {
			taken = append(taken, port)
		}
	}
	return taken
}

func examinePorts(ctx context.Context, c config.Config) []Finding {
	neighbour := findNode(ctx, c.Admin.Addr)
	var findings []Finding
	for _, port := range ports(c) {
		findings = append(findings, neighbour.excuse(port.Addr, port.Network, examinePort(port.Key, port.Network, port.Addr)))
	}
	if c.RTSP.UDPAddr != "" {
		findings = append(findings, neighbour.excuse(c.RTSP.UDPAddr, "udp", examinePair("rtsp.udp_addr", c.RTSP.UDPAddr)))
	}
	return findings
}

// examinePair looks at the port for RTP and the one after it, for RTCP.
func examinePair(key, addr string) Finding {
	rtp := examinePort(key, "udp", addr)
	host, text, err := net.SplitHostPort(addr)
	port, _ := strconv.Atoi(text)
	if rtp.Status != OK || err != nil || port == 0 {
		return rtp
	}
	rtcp := examinePort(key, "udp", net.JoinHostPort(host, strconv.Itoa(port+1)))
	if rtcp.Status != OK {
		return rtcp
	}
	return good(key, "%s/udp and the port after it are free", addr)
}

func examinePort(key, network, addr string) Finding {
	err := tryPort(network, addr)
	finding := Finding{Check: key, Status: Fail, Found: fmt.Sprintf("%s/%s cannot be opened: %v", addr, network, err)}
	switch {
	case err == nil:
		return good(key, "%s/%s is free", addr, network)
	case errors.Is(err, syscall.EADDRINUSE):
		finding.Found = fmt.Sprintf("%s/%s is in use by another program, or by a Banyan with other settings", addr, network)
		finding.Remedy = "stop that one, or set " + key + " to another address"
	case errors.Is(err, syscall.EACCES):
		finding.Remedy = "choose a port from 1024 on, or give the program CAP_NET_BIND_SERVICE"
	default:
		finding.Remedy = "set " + key + " to an address of this machine, or to :port for all of them"
	}
	return finding
}

func tryPort(network, addr string) error {
	if network == "udp" {
		conn, err := net.ListenPacket(network, addr)
		if err != nil {
			return err
		}
		return conn.Close()
	}
	listener, err := net.Listen(network, addr)
	if err != nil {
		return err
	}
	return listener.Close()
}

// Free space of the data directory, below which we warn or fail. A live stream writes nothing there, but the
// secret must fit, and recordings and logs soon fill what is left.
const (
	scarceSpace = 1 << 30
	noSpace     = 64 << 20
)

func examineDirectory(dir string) []Finding {
	const check = "data.dir"
	free, err := tryDirectory(dir)
	switch {
	case err != nil:
		return []Finding{{check, Fail, fmt.Sprintf("cannot be written: %v", err),
			"give the user that runs Banyan the right to write there, or set data.dir to another directory"}}
	case free < noSpace:
		return []Finding{{check, Fail, fmt.Sprintf("only %d MiB are free", free>>20), "make room, or set data.dir to another disk"}}
	case free < scarceSpace:
		return []Finding{{check, Warn, fmt.Sprintf("only %d MiB are free", free>>20), "make room, or set data.dir to another disk"}}
	}
	return []Finding{good(check, "%s can be written, %d GiB are free", dir, free>>30)}
}

// tryDirectory writes a file in dir and returns the free bytes there. Directories that it had to make, it removes,
// unless somebody has put something there meanwhile.
func tryDirectory(dir string) (free uint64, err error) {
	var made []string // by us, the deepest first
	for parent := filepath.Clean(dir); ; parent = filepath.Dir(parent) {
		if _, err := os.Stat(parent); err == nil || parent == filepath.Dir(parent) {
			break
		}
		made = append(made, parent)
	}
	defer func() {
		for _, directory := range made {
			os.Remove(directory) // fails if it is not empty
		}
	}()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return 0, err
	}
	file, err := os.CreateTemp(dir, "doctor-*")
	if err != nil {
		return 0, err
	}
	defer os.Remove(file.Name())
	_, err = file.WriteString("can this be written?\n")
	if err := errors.Join(err, file.Close()); err != nil {
		return 0, err
	}
	return freeSpace(dir)
}
