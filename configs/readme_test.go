package configs

import (
	_ "embed"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

//go:embed README.md
var readme string

// row takes a table row apart: key, value, default, meaning.
var row = regexp.MustCompile("(?m)^\\| `([a-z_.\\[\\]]+)` \\|(.*?)\\|(.*?)\\|(.*)\\|$")

// TestReadmeListsEveryKey compares the reference with the code: the same keys, the same defaults.
func TestReadmeListsEveryKey(t *testing.T) {
	listed := map[string]string{}
	for _, m := range row.FindAllStringSubmatch(readme, -1) {
		if _, ok := listed[m[1]]; ok {
			t.Errorf("README.md has %s twice", m[1])
		}
		listed[m[1]] = strings.Trim(m[3], " `")
	}
	for _, key := range Keys() {
		text, ok := listed[key]
		if !ok {
			t.Errorf("README.md does not list %s", key)
			continue
		}
		delete(listed, key)
		if want, ok := scalarDefault(key); ok && text != want {
			t.Errorf("README.md has the default %q for %s, want %q", text, key, want)
		}
	}
	for key := range listed {
		t.Errorf("README.md lists %s, which there is not", key)
	}
}

// scalarDefault is the default of a setting outside lists, as the file would have it.
func scalarDefault(key string) (string, bool) {
	v := reflect.ValueOf(Default()).Elem()
	for step := range strings.SplitSeq(key, ".") {
		i := -1
		for j, f := range fields(v.Type()) {
			if f.key == step {
				i = j
			}
		}
		if i < 0 {
			return "", false // inside a list
		}
		v = v.Field(i)
		if v.Kind() == reflect.Slice || v.Type() == reflect.TypeFor[TLS]() {
			return "", false
		}
	}
	switch d := v.Interface().(type) {
	case time.Duration:
		return strings.Replace(d.String(), "h0m0s", "h", 1), true
	case fmt.Stringer:
		return d.String(), true
	}
	return fmt.Sprint(v.Interface()), v.Kind() != reflect.Struct
}
