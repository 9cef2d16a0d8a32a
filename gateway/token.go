package gateway

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"geogate/dc/auth"
)

const (
	maxTokenBytes   = 4 << 10
	maxCachedTokens = 4096 // whose signatures were checked; more are checked anew
	tokenLeeway     = 5 * time.Second
	// innerTokenTTL is for a token that a node gives a user of a client certificate for the way to the leader.
	innerTokenTTL = time.Minute
)

var errNoSecret = errors.New("this datacenter has no secret to sign tokens with yet")

// tokens signs and checks what users show after they have logged in. Every node of the datacenter has the
// secret, so each takes the tokens of the others, whoever leads. A token names the generation of its user: it is
// worth nothing once the user is deleted or has another password, or authentication was turned off and on.
type tokens struct {
	issuer string // the datacenter
	ttl    time.Duration
	now    func() time.Time
	parser *jwt.Parser

	mu      sync.RWMutex
	secret  string           // guarded by mu: with which those of checked are signed
	checked map[string]claim // guarded by mu; by token
}

// claim is what a token says.
type claim struct {
	user       string
	generation uint64
	until      time.Time
}

type claims struct {
	jwt.RegisteredClaims
	Generation string `json:"gen"`
}

func newTokens(issuer string, ttl time.Duration, now func() time.Time) *tokens {
	return &tokens{
		issuer: issuer, ttl: ttl, now: now, checked: map[string]claim{},
		parser: jwt.NewParser(jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}), jwt.WithIssuer(issuer),
			jwt.WithExpirationRequired(), jwt.WithLeeway(tokenLeeway), jwt.WithTimeFunc(now)),
	}
}

// sign makes a token for a user of the state.
func (t *tokens) sign(s *auth.State, user string, ttl time.Duration) (string, error) {
	generation, ok := s.Generation(user)
	switch {
	case !ok:
		return "", auth.ErrAuthFailed
	case len(s.Secret) == 0:
		return "", errNoSecret
	}
	now := t.now()
	c := claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: t.issuer, Subject: user, IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(ttl)),
		},
		Generation: strconv.FormatUint(generation, 16),
	}
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString(s.Secret)
	if err != nil {
		return "", fmt.Errorf("sign a token: %w", err)
	}
	return token, nil
}

// user is whose token it is; [auth.ErrInvalidToken] when it is nobody's, or not any more.
func (t *tokens) user(s *auth.State, token string) (string, error) {
	if len(token) > maxTokenBytes || len(s.Secret) == 0 {
		return "", auth.ErrInvalidToken
	}
	t.mu.RLock()
	c, known := t.checked[token]
	known = known && t.secret == string(s.Secret)
	t.mu.RUnlock()
	if !known {
		var err error
		if c, err = t.check(s, token); err != nil {
			return "", fmt.Errorf("%w: %w", auth.ErrInvalidToken, err)
		}
	}
	if generation, ok := s.Generation(c.user); !ok || generation != c.generation || t.now().After(c.until) {
		return "", auth.ErrInvalidToken
	}
	return c.user, nil
}

func (t *tokens) check(s *auth.State, token string) (claim, error) {
	var got claims
	if _, err := t.parser.ParseWithClaims(token, &got, func(*jwt.Token) (any, error) { return s.Secret, nil }); err != nil {
		return claim{}, err
	}
	generation, err := strconv.ParseUint(got.Generation, 16, 64)
	if err != nil {
		return claim{}, err
	}
	c := claim{user: got.Subject, generation: generation, until: got.ExpiresAt.Add(tokenLeeway)}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.secret != string(s.Secret) || len(t.checked) >= maxCachedTokens {
		clear(t.checked)
		t.secret = string(s.Secret)
	}
	t.checked[token] = c
	return c, nil
}
