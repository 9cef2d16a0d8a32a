package drill

import (
	"context"
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// letIn refuses a drill whose clients are turned away. That does not get better by waiting, and a client that tries again
// and again only says that its time was over.
func (d *drill) letIn(ctx context.Context) error {
	var reasons []string
	for _, s := range d.sites {
		if why := s.turnedAway(ctx, d.scenario.Prefix); why != "" {
			reasons = append(reasons, why)
		}
	}
	if len(reasons) == 0 {
		return nil
	}
	return fmt.Errorf("%w, and nothing was done:\n  %s", ErrRefused, strings.Join(reasons, "\n  "))
}

// turnedAway is why clients may not read here, and what to do; "" when they may, or when something else is wrong.
func (s *site) turnedAway(ctx context.Context, key string) string {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	// Past the client, which would try again.
	_, err := pb.NewKVClient(s.client.ActiveConnection()).Range(ctx, &pb.RangeRequest{Key: []byte(key), Serializable: true, CountOnly: true})
	return explain(s.name, key, err)
}

// explain says what to do about clients that a datacenter turns away; "" when it does not.
func explain(dc, key string, err error) string {
	st := status.Convert(err)
	switch text := st.Message(); {
	case st.Code() == codes.Unavailable && (strings.Contains(text, "tls: ") || strings.Contains(text, "x509: ")):
		return fmt.Sprintf("%s: TLS: %s; name the authority of its certificates with --client-cacert, and if it asks for one, this client's with --client-cert and --client-key", dc, text)
	case text == rpctypes.ErrorDesc(rpctypes.ErrGRPCPermissionDenied), text == rpctypes.ErrorDesc(rpctypes.ErrGRPCUserEmpty), text == rpctypes.ErrorDesc(rpctypes.ErrGRPCInvalidAuthToken):
		return fmt.Sprintf("%s: %s; name a user who may read and write keys that begin with %s with --client-user NAME:PASSWORD", dc, text, key)
	}
	return ""
}
