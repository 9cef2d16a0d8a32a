package wire

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
)

// between is what the datacenter with one seed knows of that with another.
func between(t testing.TB, own, peer byte) *Verifier {
	t.Helper()
	signer, _ := keyOf(t, own)
	_, verifier := keyOf(t, peer)
	v, err := verifier.With(signer)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestMACs(t *testing.T) {
	const a, b, c, stranger = 1, 2, 3, 4
	sealed := func(from byte, kind Kind, to ...byte) []byte {
		readers := []*Verifier{}
		for _, peer := range to {
			readers = append(readers, between(t, from, peer))
		}
		raw, err := seal(kind, &Ack{From: "a"}, func(s *Signed, what []byte) { // as SealFor, of any kind
			for _, r := range readers {
				s.Macs = append(s.Macs, mac(r.secret.out, what)...)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	edited := func(raw []byte, edit func(*Signed)) []byte {
		var s Signed
		if err := proto.Unmarshal(raw, &s); err != nil {
			t.Fatal(err)
		}
		edit(&s)
		out, err := proto.Marshal(&s)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	_, signaturesOnly := keyOf(t, a)
	honest := sealed(a, Kind_KIND_ACK, b, c)
	for name, x := range map[string]struct {
		reader *Verifier
		raw    []byte
		want   error
	}{
		"for b":                      {between(t, b, a), honest, nil},
		"for c":                      {between(t, c, a), honest, nil},
		"for another one":            {between(t, stranger, a), honest, ErrSignature},
		"read as b's":                {between(t, c, b), honest, ErrSignature},
		"sent back to a":             {between(t, a, b), honest, ErrSignature},
		"read without a secret":      {signaturesOnly, honest, ErrSignature},
		"made by c for b":            {between(t, b, a), sealed(c, Kind_KIND_ACK, b), ErrSignature},
		"made by a stranger":         {between(t, b, a), sealed(stranger, Kind_KIND_ACK, b), ErrSignature},
		"of another kind":            {between(t, b, a), edited(sealed(a, Kind_KIND_PING, b), func(s *Signed) { s.Kind = Kind_KIND_ACK }), ErrSignature},
		"another body":               {between(t, b, a), edited(honest, func(s *Signed) { s.Body = append(s.Body, s.Body...) }), ErrSignature},
		"none":                       {between(t, b, a), edited(honest, func(s *Signed) { s.Macs = nil }), ErrSignature},
		"cut":                        {between(t, b, a), edited(honest, func(s *Signed) { s.Macs = s.Macs[:macBytes-1] }), ErrSignature},
		"too many":                   {between(t, b, a), edited(honest, func(s *Signed) { s.Macs = append(s.Macs, make([]byte, mostMACs*macBytes)...) }), ErrSignature},
		"the other one's MAC only":   {between(t, b, a), edited(honest, func(s *Signed) { s.Macs = s.Macs[macBytes:] }), ErrSignature},
		"beside one that is no MAC":  {between(t, b, a), edited(honest, func(s *Signed) { s.Macs = append(make([]byte, macBytes), s.Macs...) }), nil},
		"beside a wrong signature":   {between(t, b, a), edited(honest, func(s *Signed) { s.Signature = make([]byte, 64) }), nil},
		"in place of it a signature": {between(t, b, a), signedAck(t, a), nil},
	} {
		var ack Ack
		if err := x.reader.Open(Kind_KIND_ACK, x.raw, &ack); !errors.Is(err, x.want) || err == nil && ack.From != "a" {
			t.Errorf("%s: %v, want %v", name, err, x.want)
		}
	}
	var ack Ack
	if err := between(t, b, a).Open(Kind_KIND_PING, sealed(a, Kind_KIND_PING, b), &ack); !errors.Is(err, ErrSignature) {
		t.Errorf("a ping with a MAC: %v", err)
	}
	if raw, err := SealFor(Kind_KIND_ACK, &Ack{From: "a"}, between(t, a, b), between(t, a, c)); err != nil || !bytes.Equal(raw, honest) {
		t.Errorf("SealFor gives %x, %v, want %x", raw, err, honest)
	}
	for name, x := range map[string]struct {
		kind    Kind
		readers []*Verifier
		want    error
	}{
		"for one without a secret": {Kind_KIND_ACK, []*Verifier{between(t, a, b), signaturesOnly}, errNoSecret},
		"of what must be signed":   {Kind_KIND_CALL_REQUEST, []*Verifier{between(t, a, b)}, errNoMACs},
		"for more than are read":   {Kind_KIND_ACK, slices.Repeat([]*Verifier{between(t, a, b)}, mostMACs+1), errNoMACs},
	} {
		if _, err := SealFor(x.kind, &Ack{}, x.readers...); !errors.Is(err, x.want) {
			t.Errorf("%s: %v, want %v", name, err, x.want)
		}
	}
	for i := range honest {
		flipped := append([]byte(nil), honest...)
		flipped[i] ^= 1
		var ack Ack
		if err := between(t, b, a).Open(Kind_KIND_ACK, flipped, &ack); err == nil && ack.From != "a" {
			t.Fatalf("bit %d flipped: another message came out", 8*i)
		}
	}
}

func signedAck(t testing.TB, by byte) []byte {
	t.Helper()
	signer, _ := keyOf(t, by)
	raw, err := signer.Seal(Kind_KIND_ACK, &Ack{From: "a"})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestNonces: a server can't have a message signed.
func TestNonces(t *testing.T) {
	signer, verifier := keyOf(t, 1)
	const good = "PXoWU7zWAMt75FY" // as nats-server makes them
	signature, err := signer.SignNonce([]byte(good))
	if err != nil || !ed25519.Verify(verifier.key, []byte(good), signature) {
		t.Errorf("a nonce: %v", err)
	}
	// A hash of which every byte is a letter: were it signed, it would be the signature of a message.
	message := "geogate/" + "2/" + strings.Repeat("A", 32)
	for name, nonce := range map[string]string{
		"a message": message, "a beginning of one": "geogate/", "bytes": string([]byte{0, 1, 2}), "long": strings.Repeat("A", 68),
		"with a line break": "PXoWU7zW\nAMt75FY",
	} {
		if _, err := signer.SignNonce([]byte(nonce)); !errors.Is(err, errNonce) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestKeyWithLineBreak: the text of a key may be written in more than one way, and gives one secret.
func TestKeyWithLineBreak(t *testing.T) {
	signer, verifier := keyOf(t, 1)
	other, err := NewVerifier(verifier.public + "\n")
	if err != nil {
		t.Fatal(err)
	}
	if other, err = other.With(signer); err != nil {
		t.Fatal(err)
	}
	if want := between(t, 1, 1); !bytes.Equal(other.secret.in, want.secret.in) || !bytes.Equal(other.secret.out, want.secret.out) {
		t.Error("another text of the same key gives another secret")
	}
}

// TestSecretStays: builds that derive different keys would not understand each other. These come from another implementation
// of X25519 (RFC 7748, 5), of the map from Ed25519 to it (RFC 7748, 4.1) and of HKDF (RFC 5869).
func TestSecretStays(t *testing.T) {
	v := between(t, 1, 2)
	const (
		out = "4d9626501e1c8965273b3dbeaef4418783e3c207541a59328c09ded8cc6aab11"
		in  = "949c3595fc92c26e0165cbfc5c76b1ae110e8bf3f5d9523d33df326e2259dbc0"
	)
	if hex.EncodeToString(v.secret.out) != out || hex.EncodeToString(v.secret.in) != in {
		t.Errorf("the keys of the two directions are %x and %x", v.secret.out, v.secret.in)
	}
}
