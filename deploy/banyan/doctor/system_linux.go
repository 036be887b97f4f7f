package doctor

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// oldestKernel is the first with UDP_SEGMENT (GSO), by which one call sends many datagrams.
	oldestKernelMajor, oldestKernelMinor = 4, 18
	// A viewer over WebRTC shares our UDP socket, one over HLS has a file of its own, and so has each publisher
	// over RTSP: thousands of files are a small event.
	scarceFiles, noFiles = 4096, 256
	// wantBuffer is what a UDP socket needs to hold through 20 ms of a busy processor at 1 Gbit/s.
	wantBuffer = 4 << 20
)

func examineSystem() []Finding {
	findings := []Finding{examineKernel(), examineFiles()}
	findings = append(findings, examineBuffer("rmem_max", "packets that arrive"), examineBuffer("wmem_max", "packets to send"))
	return append(findings, examineSegmentation(), examineIPv6(), examineClock(time.Now()))
}

func examineKernel() Finding {
	const check = "kernel"
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return Finding{check, Warn, fmt.Sprintf("its version cannot be read: %v", err), "nothing, if all else is well"}
	}
	release := unix.ByteSliceToString(name.Release[:])
	if major, minor, ok := kernelVersion(release); ok && (major < oldestKernelMajor || major == oldestKernelMajor && minor < oldestKernelMinor) {
		return Finding{check, Warn, "Linux " + release + " is old", "sending to many viewers costs more processor than it need: use Linux 4.18 or newer"}
	}
	return good(check, "Linux %s", release)
}

// kernelVersion reads "6.1.0-18-amd64".
func kernelVersion(release string) (major, minor int, ok bool) {
	parts := strings.SplitN(release, ".", 3)
	if len(parts) < 2 {
		return 0, 0, false
	}
	major, err := strconv.Atoi(parts[0])
	if err != nil {
		return 0, 0, false
	}
	minor, err = strconv.Atoi(parts[1])
	return major, minor, err == nil
}

// examineFiles looks at the hard limit: Go raises the soft one to it at the start.
func examineFiles() Finding {
	const check, remedy = "open files", "raise the limit: LimitNOFILE=1048576 in the systemd unit, --ulimit nofile=1048576 for a container, or ulimit -n"
	var limit unix.Rlimit
	err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit)
	switch {
	case err != nil:
		return Finding{check, Warn, fmt.Sprintf("the limit cannot be read: %v", err), remedy}
	case limit.Max < noFiles:
		return Finding{check, Fail, fmt.Sprintf("only %d are allowed", limit.Max), remedy}
	case limit.Max < scarceFiles:
		return Finding{check, Warn, fmt.Sprintf("only %d are allowed, which is about as many viewers over HLS", limit.Max), remedy}
	}
	return good(check, "%d are allowed", limit.Max)
}

func examineBuffer(name, holds string) Finding {
	key := "net.core." + name
	text, err := os.ReadFile("/proc/sys/net/core/" + name)
	if err != nil {
		return Finding{key, Warn, "it cannot be read here, which is usual in containers", "see to it on the host: sysctl " + key}
	}
	size, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil || size < wantBuffer {
		return Finding{key, Warn, fmt.Sprintf("%s bytes: under load, %s may be lost", strings.TrimSpace(string(text)), holds),
			fmt.Sprintf("run as root: sysctl -w %s=%d (and write that into /etc/sysctl.d/banyan.conf)", key, wantBuffer)}
	}
	return good(key, "%d bytes", size)
}

func examineSegmentation() Finding {
	const check = "UDP_SEGMENT"
	if err := trySegmentation(); err != nil {
		return Finding{check, Warn, fmt.Sprintf("this system cannot send many datagrams in one call (%v)", err),
			"it works without, at more processor per viewer; use Linux 4.18 or newer outside of sandboxes such as gVisor"}
	}
	return good(check, "many datagrams can be sent in one call")
}

func trySegmentation() error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	const segment = 1200 // a size that media packets have
	return unix.SetsockoptInt(socket, unix.IPPROTO_UDP, unix.UDP_SEGMENT, segment)
}

func examineIPv6() Finding {
	const check = "IPv6"
	conn, err := net.ListenPacket("udp6", "[::1]:0")
	if err != nil {
		return Finding{check, Warn, "this system has none", "viewers in networks with IPv6 alone will not reach this node; enable it if you have such"}
	}
	conn.Close()
	return good(check, "available")
}

// examineClock looks for a clock that was never set, and for one that nobody keeps right: tokens and media time
// depend on it.
func examineClock(now time.Time) Finding {
	const check = "clock"
	const year = 2026 // in which this was written
	if now.Year() < year {
		return Finding{check, Fail, "it says " + now.Format(time.DateTime), "set it: tokens would be refused. systemd-timesyncd or chrony keep it right"}
	}
	var state unix.Timex // all zero: only read
	const unsynchronised = 5
	if result, err := unix.Adjtimex(&state); err == nil && result == unsynchronised {
		return Finding{check, Warn, "nobody keeps it in step with others", "run systemd-timesyncd or chrony, here or on the host; nodes should agree within 50 ms"}
	}
	return good(check, "%s", now.UTC().Format("2006-01-02 15:04:05 UTC"))
}

func freeSpace(dir string) (uint64, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return 0, err
	}
	return stat.Bavail * uint64(stat.Bsize), nil
}
