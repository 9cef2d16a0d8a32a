package verify

import "testing"

func TestTally(t *testing.T) {
	prefixes := []string{"", "app/", "app/locks/", "b"}
	var got Tally
	for _, c := range []Copy{
		{Key: []byte("app/locks/1")}, {Key: []byte("app/locks")}, {Key: []byte("app/x")}, {Key: []byte("ap")}, {Key: []byte("b")},
		{Key: []byte("app/ann"), System: true}, // the name of an entry is no key
	} {
		got.Add(prefixes, &c)
	}
	want := Tally{Keyspaces: map[string]int{"": 1, "app/": 2, "app/locks/": 1, "b": 1}, System: 1}
	if !got.Same(&want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	if text := `"" 1, "app/" 2, "app/locks/" 1, "b" 1, system table 1`; got.String() != text {
		t.Errorf("%s, want %s", got.String(), text)
	}
	if want.Keyspaces["b"] = 2; got.Same(&want) {
		t.Errorf("%+v is the same as %+v", got, want)
	}
	var none Tally
	if none.String() != "" || none.Same(&want) || !none.Same(&Tally{}) {
		t.Errorf("nothing is %q", none.String())
	}
}
