package drill

import (
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestExplainWhoIsTurnedAway(t *testing.T) {
	for _, x := range []struct {
		err  error
		says string // "" for nothing
	}{
		{nil, ""},
		{status.Error(codes.Unavailable, `connection error: desc = "transport: authentication handshake failed: tls: failed to verify certificate: x509: certificate signed by unknown authority"`), "--client-cacert"},
		{status.Error(codes.Unavailable, `connection error: desc = "error reading server preface: remote error: tls: certificate required"`), "--client-cert"},
		{rpctypes.ErrGRPCUserEmpty, "--client-user"},
		{rpctypes.ErrGRPCPermissionDenied, "begin with /p/"},
		{status.Error(codes.Unavailable, "connection refused"), ""},
		{status.Error(codes.DeadlineExceeded, "slow"), ""},
	} {
		got := explain("dc-a", "/p/", x.err)
		if (got == "") != (x.says == "") || !strings.Contains(got, x.says) {
			t.Errorf("%v: %q, want %q", x.err, got, x.says)
		}
	}
}
