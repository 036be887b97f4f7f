package rtsp

import "github.com/bluenviron/gortsplib/v4/pkg/base"

// Drain refuses new publishers and players from now on, with 503; sessions that are there go on.
func (s *Server) Drain() { s.draining.Store(true) }

// whileDraining is the answer to somebody new while the server drains; nil before.
func (s *Server) whileDraining() *base.Response {
	if !s.draining.Load() {
		return nil
	}
	res := answer(base.StatusServiceUnavailable, "This server is about to stop and takes nobody new. Try again: another one will answer.")
	res.Header["Retry-After"] = base.HeaderValue{"1"} // seconds (RFC 2326 section 12.32)
	return res
}
