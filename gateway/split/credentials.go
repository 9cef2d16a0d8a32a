package split

import (
	"net"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// Credentials are those of the gRPC server that accepts from [Splitter.GRPC]: the handshake is over by then,
// and what it found is what the server gets.
func (s *Splitter) Credentials() credentials.TransportCredentials {
	protocol := "insecure"
	if s.tls != nil {
		protocol = "tls"
	}
	return shaken{TransportCredentials: insecure.NewCredentials(), protocol: protocol}
}

// shaken finds the handshake's result in the connection. Connections without one are plain text.
type shaken struct {
	credentials.TransportCredentials
	protocol string
}

func (c shaken) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	o, ok := conn.(*opened)
	if !ok || o.secure == nil {
		return c.TransportCredentials.ServerHandshake(conn)
	}
	info := credentials.TLSInfo{State: o.secure.ConnectionState()}
	info.SecurityLevel = credentials.PrivacyAndIntegrity
	return conn, info, nil
}

func (c shaken) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: c.protocol}
}

func (c shaken) Clone() credentials.TransportCredentials { return c }
