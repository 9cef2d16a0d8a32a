package cluster

import (
	"net"
	"strconv"
	"testing"

	"geogate/test/etcdbin/process"
)

func freeAddr(t testing.TB) string {
	t.Helper()
	ports, err := process.Ports(1)
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[0]))
}
