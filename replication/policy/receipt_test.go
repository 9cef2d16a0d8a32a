package policy

import (
	"errors"
	"testing"
)

func TestToken(t *testing.T) {
	for _, want := range []Token{{"fra", 0, 1}, {"a-b.c", 18446744073709551615, 9223372036854775807}, {"x", 3, 0}} {
		got, err := ParseToken(want.String())
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v", want, got, err)
		}
	}
	for _, bad := range []string{"", "fra", "fra:1", ":1:2", "fra:1:2:3", "fra:-1:2", "fra:1:-2", "fra:x:2", "fra:1:x", "fra:1:9223372036854775808"} {
		if got, err := ParseToken(bad); !errors.Is(err, ErrToken) {
			t.Errorf("%q: %+v, %v", bad, got, err)
		}
	}
}
