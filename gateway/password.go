package gateway

import (
	"context"
	"encoding/base64"
	"errors"
	"sync/atomic"

	"golang.org/x/crypto/bcrypt"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"geogate/dc/auth"
)

// passwords makes and compares hashes. Each costs tens of milliseconds of a core on purpose, so only a few run at
// a time: who guesses passwords takes no more than these from the other requests.
type passwords struct {
	cost    int
	slots   chan struct{}
	most    int64 // that may wait
	waiting atomic.Int64
	nobody  []byte // a hash of no password, compared for users that do not exist
}

func newPasswords(cost, slots, waiting int) (*passwords, error) {
	nobody, err := bcrypt.GenerateFromPassword([]byte("nobody"), cost)
	if err != nil {
		return nil, err
	}
	return &passwords{cost: cost, slots: make(chan struct{}, slots), most: int64(waiting), nobody: nobody}, nil
}

// run waits for its turn.
func (p *passwords) run(ctx context.Context, fn func() error) error {
	if p.waiting.Add(1) > p.most {
		p.waiting.Add(-1)
		return rpctypes.ErrGRPCRequestTooManyRequests
	}
	defer p.waiting.Add(-1)
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-p.slots }()
	return fn()
}

// hash is what etcd's log has in place of a password.
func (p *passwords) hash(ctx context.Context, password string) (hashed string, err error) {
	err = p.run(ctx, func() error {
		b, err := bcrypt.GenerateFromPassword([]byte(password), p.cost)
		if errors.Is(err, bcrypt.ErrPasswordTooLong) {
			return status.Error(codes.Unknown, err.Error()) // as etcd answers
		}
		hashed = base64.StdEncoding.EncodeToString(b)
		return err
	})
	return hashed, err
}

// compare checks the password of a user of the state. For who does not exist it takes as long as for others.
func (p *passwords) compare(ctx context.Context, s *auth.State, user, password string) error {
	hash, known := s.Hash(user)
	if errors.Is(known, auth.ErrNoPasswordUser) {
		return known
	}
	if known != nil {
		hash = p.nobody
	}
	return p.run(ctx, func() error {
		if bcrypt.CompareHashAndPassword(hash, []byte(password)) != nil || known != nil {
			return auth.ErrAuthFailed
		}
		return nil
	})
}
