package wire

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nkeys"
	"google.golang.org/protobuf/proto"
)

// Version is the version of the messages that this build writes. It reads the one before and the one after
// as well: protobuf skips fields that it does not know, and a change that needs more than that must be
// announced one version ahead.
const Version = 1

// Sentinels of reading.
var (
	// ErrMessage marks bytes that are not the expected message of a version that this build reads.
	ErrMessage = errors.New("not a readable message")
	// ErrSignature marks a message that the claimed sender's key did not sign, and that has no MAC of its for this reader.
	ErrSignature = errors.New("neither a signature nor a MAC verifies")
)

// Signer signs with a datacenter's key.
type Signer struct {
	key    ed25519.PrivateKey
	public string
}

// NewSigner takes the seed out of the key pair once: nkeys would derive the key anew for each signature.
func NewSigner(pair nkeys.KeyPair) (*Signer, error) {
	seed, err := pair.Seed()
	if err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	prefix, raw, err := nkeys.DecodeSeed(seed)
	if err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	if prefix != nkeys.PrefixByteUser {
		return nil, fmt.Errorf("signing key: it is a key of kind %s, want a user key (SU...)", prefix)
	}
	public, err := pair.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	return &Signer{key: ed25519.NewKeyFromSeed(raw), public: public}, nil
}

// Public is the key's public half, U....
func (s *Signer) Public() string { return s.public }

// SignNonce signs what a NATS server asks a client to sign. Whoever is at the other end of the connection chooses it, so it must
// not be able to pass for a message: a server's nonces are 15 characters of URL-safe base64, and what is signed of a message
// begins with "geogate/".
func (s *Signer) SignNonce(nonce []byte) ([]byte, error) {
	if len(nonce) > mostNonce || len(bytes.Trim(nonce, base64URL)) > 0 {
		return nil, fmt.Errorf("%w: %.80q", errNonce, nonce)
	}
	return ed25519.Sign(s.key, nonce), nil
}

const (
	mostNonce = 64 // bytes
	base64URL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
)

// errNonce marks what no NATS server asks for.
var errNonce = errors.New("the server asks to sign what is no nonce of a NATS server; is it one?")

// Seal marshals and signs a message, which everyone can verify.
func (s *Signer) Seal(kind Kind, m proto.Message) ([]byte, error) {
	return seal(kind, m, func(signed *Signed, what []byte) { signed.Signature = ed25519.Sign(s.key, what) })
}

func seal(kind Kind, m proto.Message, authenticate func(signed *Signed, what []byte)) ([]byte, error) {
	body, err := proto.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("marshal: %w", err)
	}
	signed := &Signed{Version: Version, Kind: kind, Body: body}
	authenticate(signed, signedBytes(kind, body))
	b, err := proto.Marshal(signed)
	if err != nil {
		return nil, fmt.Errorf("marshal: %w", err)
	}
	return b, nil
}

// Verifier checks that messages are of one datacenter: by its signature, or of those that are most of all, by a MAC where there
// is a secret ([Verifier.With]).
type Verifier struct {
	key    ed25519.PublicKey
	public string
	secret secret
}

// NewVerifier reads a public user nkey, U....
func NewVerifier(public string) (*Verifier, error) {
	raw, err := nkeys.Decode(nkeys.PrefixByteUser, []byte(public))
	if err != nil {
		return nil, fmt.Errorf("public key %q: %w: want a user key (U...)", public, err)
	}
	if len(raw) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("public key %q has %d bytes, want %d", public, len(raw), ed25519.PublicKeySize)
	}
	canonical, err := nkeys.Encode(nkeys.PrefixByteUser, raw) // the text may have line breaks
	if err != nil {
		return nil, fmt.Errorf("public key %q: %w", public, err)
	}
	return &Verifier{key: raw, public: string(canonical)}, nil
}

// Open verifies b and unmarshals its body into m, which does not alias b.
func (v *Verifier) Open(kind Kind, b []byte, m proto.Message) error {
	var s Signed
	if err := proto.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("%w: %w", ErrMessage, err)
	}
	if err := readable(s.Version); err != nil {
		return err
	}
	if s.Kind != kind {
		return fmt.Errorf("%w: kind %s, want %s", ErrMessage, s.Kind, kind)
	}
	what := signedBytes(kind, s.Body)
	signed := len(s.Signature) == ed25519.SignatureSize && ed25519.Verify(v.key, what, s.Signature)
	if !signed && !(mayHaveMACs(kind) && v.secret.verifies(what, s.Macs)) {
		return ErrSignature
	}
	if err := proto.Unmarshal(s.Body, m); err != nil {
		return fmt.Errorf("%w: %w", ErrMessage, err)
	}
	return nil
}

func readable(version uint32) error {
	if version == 0 || version > Version+1 {
		return fmt.Errorf("%w: version %d, this build reads up to %d", ErrMessage, version, Version+1)
	}
	return nil
}

// signedBytes hashes first, because Ed25519 would read a long body twice.
func signedBytes(kind Kind, body []byte) []byte {
	sum := sha256.Sum256(body)
	b := append([]byte("geogate/"), strconv.Itoa(int(kind))...)
	b = append(b, '/')
	return append(b, sum[:]...)
}
