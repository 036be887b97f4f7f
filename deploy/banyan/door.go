package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"banyan/relay/problem"
)

// Names of the doors, on http.addr, http.tls.addr and admin.addr.
const (
	httpDoor  = "http"
	httpsDoor = "https"
	adminDoor = "admin"
)

// Limits of the HTTP doors. There is no write timeout: a playlist request that waits for its segment, and a download
// over a slow line, are not stuck, and the handlers know their own ends.
const (
	headerTime   = 5 * time.Second  // for all headers of a request to arrive, against those who trickle them
	bodyTime     = 15 * time.Second // for the whole body; ours are session descriptions of some kilobytes
	idleTime     = 75 * time.Second // between requests; longer than the 60 s of common proxies, so that they close first
	maxHeader    = 32 << 10         // bytes; a token has at most 8 KiB
	readHeader   = 2 * maxHeader    // bytes that are read of them, so that who sends too many is told so in our words
	drainTime    = 5 * time.Second  // for running requests to finish when the node stops
	cutTime      = time.Second      // for handlers to notice that their request was cancelled
	certInterval = 10 * time.Second // between looks for a new certificate
)

// A door is an HTTP listener with its server.
type door struct {
	name     string
	listener net.Listener
	server   *http.Server
	log      *slog.Logger
	cancel   context.CancelFunc // ends the context of all requests
	drain    time.Duration      // for running requests to finish
}

type doors []*door

// find is the door of the given name.
func (d doors) find(name string) *door {
	for _, door := range d {
		if door.name == name {
			return door
		}
	}
	return nil
}

// close shuts doors that were opened and never served.
func (d doors) close() {
	for _, door := range d {
		door.listener.Close()
		door.cancel()
	}
}

// openDoor listens on addr, the value of key, for handler.
func openDoor(name, key, addr string, handler http.Handler, log *slog.Logger) (*door, error) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, explainListen(addr, err))
	}
	// Requests have their own context: the end of the node's must not break off those that are about to finish.
	requests, cancel := context.WithCancel(context.Background())
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true) // over TLS only: no browser speaks it in the clear, and no proxy has to
	server := &http.Server{
		Handler: handler, Protocols: &protocols,
		ReadHeaderTimeout: headerTime, IdleTimeout: idleTime, MaxHeaderBytes: readHeader,
		BaseContext: func(net.Listener) context.Context { return requests },
		// What net/http has to say is the trouble of single peers, such as failed handshakes.
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	log.Info("listening", "door", name, "addr", listener.Addr().String())
	return &door{name: name, listener: listener, server: server, log: log, cancel: cancel, drain: drainTime}, nil
}

// explainListen says what to do when a listener cannot open.
func explainListen(addr string, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("another program uses %s: stop it, or choose another address", addr)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%s is reserved for root: choose a port from 1024 on, or give the program CAP_NET_BIND_SERVICE", addr)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("this machine has no address %s: choose one that it has, or leave the host out", addr)
	}
	return fmt.Errorf("cannot listen on %s: %w", addr, err)
}

// explainBusy says what to do about a port of WebRTC or RTSP that is taken; the error names its key already.
func explainBusy(err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w: another program uses it, or a Banyan that runs already: stop that one, or choose another address", err)
	}
	return err
}

func (d *door) isLoopback() bool {
	addr, err := netip.ParseAddrPort(d.listener.Addr().String())
	return err == nil && addr.Addr().IsLoopback()
}

// serve answers requests until ctx ends, then lets those that run finish within d.drain and cuts the rest.
func (d *door) serve(ctx context.Context) error {
	defer d.cancel()
	ended := make(chan error, 1)
	go func() {
		if d.server.TLSConfig != nil {
			ended <- d.server.ServeTLS(d.listener, "", "")
		} else {
			ended <- d.server.Serve(d.listener)
		}
	}()
	select {
	case err := <-ended:
		return fmt.Errorf("the %s listener failed: %w", d.name, err)
	case <-ctx.Done():
	}
	err := d.shut()
	if last := <-ended; !errors.Is(last, http.ErrServerClosed) {
		err = errors.Join(err, last)
	}
	return err
}

func (d *door) shut() error {
	patience, stop := context.WithTimeout(context.Background(), d.drain)
	defer stop()
	if d.server.Shutdown(patience) == nil {
		return nil
	}
	d.cancel() // handlers that wait for something see it and return
	last, stop := context.WithTimeout(context.Background(), cutTime)
	defer stop()
	if d.server.Shutdown(last) == nil {
		return nil
	}
	d.log.Warn("requests were cut off", "door", d.name, "after", d.drain+cutTime)
	return d.server.Close()
}

// publicHandler is what every request from outside passes before it reaches mux.
//
// Headers beyond maxHeader are refused here, with a problem. Those beyond readHeader never get here, as net/http stops
// reading: it refuses them in a line of plain text, and offers no way to say more. The same goes for what is no HTTP.
func publicHandler(log *slog.Logger, mux *http.ServeMux) http.Handler {
	inner := problem.Mux(mux)
	return problem.Recover(log, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if headerSize(r) > maxHeader {
			problem.Write(w, http.StatusRequestHeaderFieldsTooLarge, fmt.Sprintf("The address and headers of the request have "+
				"more than %d bytes. Send shorter ones: clear the cookies of this site, or get a shorter token.", maxHeader))
			return
		}
		if r.ContentLength != 0 {
			// net/http clears this deadline before the next request of the connection.
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTime))
		}
		inner.ServeHTTP(w, r)
	}))
}

// headerSize is about how many bytes the address and headers of a request had on the wire.
func headerSize(r *http.Request) int {
	const marks = len(": \r\n")
	size := len(r.Method) + len(r.RequestURI) + len(r.Host)
	for name, values := range r.Header {
		for _, value := range values {
			size += len(name) + len(value) + marks
		}
	}
	return size
}

// newTLS serves the pair of PEM files, which may be replaced while it is in use.
func newTLS(certFile, keyFile string, log *slog.Logger) (*tls.Config, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, log: log}
	if err := c.read(time.Now()); err != nil {
		return nil, fmt.Errorf("http.tls.cert: %w", err)
	}
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.current(time.Now()), nil },
	}, nil
}

// certificate is a pair of files that is read again when the certificate changes.
type certificate struct {
	certFile, keyFile string
	log               *slog.Logger

	mu      sync.Mutex // guards the fields below
	pair    *tls.Certificate
	changed time.Time // of certFile, when it was read
	looked  time.Time // when we last looked for a change
}

// current returns the newest pair that could be read. While a new one is half written the old one goes on.
func (c *certificate) current(now time.Time) *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Sub(c.looked) < certInterval {
		return c.pair
	}
	c.looked = now
	if info, err := os.Stat(c.certFile); err == nil && info.ModTime().Equal(c.changed) {
		return c.pair
	}
	if err := c.load(); err != nil {
		c.log.Warn("the new certificate cannot be used, the old one stays", "file", c.certFile, "err", err)
	} else {
		c.log.Info("new certificate", "file", c.certFile)
	}
	return c.pair
}

// read loads the pair for the first time.
func (c *certificate) read(now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.looked = now
	return c.load()
}

func (c *certificate) load() error {
	info, err := os.Stat(c.certFile)
	if err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("%s and %s are no pair: %w", c.certFile, c.keyFile, err)
	}
	c.pair, c.changed = &pair, info.ModTime()
	return nil
}
