package gateway

import (
	"context"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"geogate/dc/auth"
)

// metaJSON is set by the translation from HTTP, whose own certificate is no user's.
const metaJSON = "grpcgateway-accept"

// rootUser is the user as whom a node asks, and who always exists while authentication is on.
const rootUser = "root"

// caller is who asks, under the users and roles of one moment.
type caller struct {
	state *auth.State // nil while authentication is off: everything is permitted
	name  string      // empty: nobody

	leaseKeys func(id int64) [][]byte // as of this node
}

func (c caller) may(what Action, key, end []byte) error {
	switch {
	case c.state == nil:
		return nil
	case what == ActionAdmin:
		return c.state.MayAdminister(c.name)
	}
	return c.state.May(c.name, what == ActionWrite, key, end)
}

// users is the users and roles in force; nil while authentication is off.
func (s *Server) users() *auth.State {
	if s.cfg.Users == nil {
		return nil
	}
	if st := s.cfg.Users.Auth(); st.Enabled {
		return st
	}
	return nil
}

// caller finds out who makes a request. The error is that of a token that is not valid.
func (s *Server) caller(ctx context.Context) (caller, error) {
	st := s.users()
	if st == nil {
		return caller{}, nil
	}
	if token, ok := tokenOf(ctx); ok {
		name, err := s.tokens.user(st, token)
		return caller{st, name, s.dc.LeaseKeys}, err
	}
	return caller{st, certificateUser(ctx), s.dc.LeaseKeys}, nil
}

// tokenOf is the token of a request, as etcd's clients send it or as HTTP's header Authorization has it.
func tokenOf(ctx context.Context) (string, bool) {
	token, ok := metaValue(ctx, rpctypes.TokenFieldNameGRPC)
	if !ok {
		token, ok = metaValue(ctx, rpctypes.TokenFieldNameSwagger)
	}
	return strings.TrimPrefix(token, "Bearer "), ok
}

// certificateUser is the common name of a client's certificate, as in etcd. A node that forwards a request shows
// its own certificate, so that of a forwarded request is nobody's.
func certificateUser(ctx context.Context) string {
	p, ok := peer.FromContext(ctx)
	if !ok || isForwarded(ctx) {
		return ""
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return ""
	}
	if _, proxied := metaValue(ctx, metaJSON); proxied {
		return ""
	}
	for _, chain := range info.State.VerifiedChains {
		if len(chain) > 0 {
			return chain[0].Subject.CommonName
		}
	}
	return ""
}

// passOn adds to the metadata of a forwarded request a token for the user of a client certificate, which the
// leader does not see. Without one, because the user is unknown here, the leader answers as to nobody.
func (s *Server) passOn(ctx context.Context, md metadata.MD) {
	st := s.users()
	if st == nil {
		return
	}
	if _, has := tokenOf(ctx); has {
		return
	}
	name := certificateUser(ctx)
	if name == "" {
		return
	}
	if token, err := s.tokens.sign(st, name, innerTokenTTL); err == nil {
		md[rpctypes.TokenFieldNameGRPC] = []string{token}
	}
}

// asOperator is for what a node asks of the leader by itself: while authentication is on, it asks as root.
func (s *Server) asOperator(ctx context.Context) context.Context {
	st := s.users()
	if st == nil {
		return ctx
	}
	token, err := s.tokens.sign(st, rootUser, innerTokenTTL)
	if err != nil {
		return ctx // the leader refuses, and that is reported
	}
	return metadata.NewIncomingContext(ctx, metadata.Pairs(rpctypes.TokenFieldNameGRPC, token))
}

// permit asks whether the caller may. A node may not have applied yet what permits it, or who the caller is:
// before it says no it catches up with its datacenter.
func (s *Server) permit(ctx context.Context, check func(caller) error) error {
	c, err := s.caller(ctx)
	if err == nil {
		if c.state == nil {
			return nil
		}
		err = check(c)
	}
	if err == nil {
		return nil
	}
	limit, cancel := context.WithTimeout(ctx, s.cfg.RequestTimeout)
	defer cancel()
	if s.cfg.Users.Linearize(limit) == nil {
		if now := s.users(); now != c.state && (c.state != nil || now != nil) {
			if c, err = s.caller(ctx); err == nil {
				err = check(c)
			}
		}
	}
	if err != nil {
		s.metrics.denied(err)
	}
	return err
}
