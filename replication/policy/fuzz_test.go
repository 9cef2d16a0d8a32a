package policy

import (
	"errors"
	"testing"
)

// FuzzParseToken: any text is a token that its String gives back, or ErrToken; and so for a policy.
func FuzzParseToken(f *testing.F) {
	f.Add("dc-a:0:7")
	f.Add("a:18446744073709551615:9223372036854775807")
	f.Add("a:-1:+3")
	f.Add("ASYNC")
	f.Fuzz(func(t *testing.T, s string) {
		token, err := ParseToken(s)
		if err == nil {
			if again, err := ParseToken(token.String()); err != nil || again != token {
				t.Fatalf("%q is %v, which came back as %v, %v", s, token, again, err)
			}
		} else if !errors.Is(err, ErrToken) {
			t.Fatalf("%v does not wrap ErrToken", err)
		}
		if p, err := Parse(s); err == nil {
			if again, err := Parse(p.String()); err != nil || again != p {
				t.Fatalf("policy %v came back as %v, %v", p, again, err)
			}
		}
	})
}
