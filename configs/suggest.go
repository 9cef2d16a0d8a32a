package configs

import (
	"reflect"
	"strings"
)

// nearest is the key of t that a mistyped one was most likely meant to be, or "".
func nearest(key string, t reflect.Type) string {
	best, least := "", 1+max(1, len(key)/3) // about one slip in three letters
	for _, f := range fields(t) {
		if d := distance(normal(key), normal(f.key)); d < least {
			best, least = f.key, d
		}
	}
	return best
}

// locate is the section of a schema that has key, or "".
func locate(schema reflect.Type, key string) string {
	section := ""
	walk(schema, "", func(path string, _ reflect.Type) {
		if section == "" && strings.HasSuffix(path, "."+key) {
			section = strings.TrimSuffix(path, "."+key)
		}
	})
	return section
}

// normal makes onTimeout, on-timeout and on_timeout the same.
func normal(key string) string {
	return strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(key))
}

// distance counts the single-letter changes between two words, a swap of neighbours being one (optimal
// string alignment).
func distance(a, b string) int {
	var before []int
	prev, cur := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			same := 1
			if a[i-1] == b[j-1] {
				same = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+same)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], before[j-2]+1)
			}
		}
		before, prev, cur = prev, cur, make([]int, len(b)+1)
	}
	return prev[len(b)]
}
