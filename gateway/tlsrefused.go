package gateway

import "net"

// refusedTLS tells of a client that could not be let in; etcd logs each one, too.
func (s *Server) refusedTLS(from net.Addr, err error) {
	s.metrics.tlsRefused.Inc()
	s.log.Warn("TLS handshake of a client failed", "from", from.String(), "error", err)
}
