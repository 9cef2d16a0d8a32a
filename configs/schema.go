package configs

import (
	"reflect"
	"strings"
	"time"
)

// The schema is the Go types themselves: the yaml tags are the keys, the field types the value types.
var (
	topologyType = reflect.TypeFor[Topology]()
	durationType = reflect.TypeFor[time.Duration]()
	bytesType    = reflect.TypeFor[Bytes]()
)

// field is one key of a mapping.
type field struct {
	key string
	typ reflect.Type
}

// fields are the keys of a struct in the order of their declaration.
func fields(t reflect.Type) []field {
	out := make([]field, 0, t.NumField())
	for i := range t.NumField() {
		key, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
		out = append(out, field{key, t.Field(i).Type})
	}
	return out
}

// lookup finds a key of a struct.
func lookup(t reflect.Type, key string) (reflect.Type, bool) {
	for _, f := range fields(t) {
		if f.key == key {
			return f.typ, true
		}
	}
	return nil, false
}

// walk visits every key below t, depth first: policy, policy.default, ... datacenters[].nodes[].name.
func walk(t reflect.Type, prefix string, visit func(path string, t reflect.Type)) {
	for _, f := range fields(t) {
		path := join(prefix, f.key)
		visit(path, f.typ)
		switch {
		case f.typ.Kind() == reflect.Struct:
			walk(f.typ, path, visit)
		case f.typ.Kind() == reflect.Slice && f.typ.Elem().Kind() == reflect.Struct:
			walk(f.typ.Elem(), path+"[]", visit)
		}
	}
}

// Keys lists every key of a topology, list items marked by []: datacenters[].nodes[].name.
func Keys() []string {
	var out []string
	walk(topologyType, "", func(path string, _ reflect.Type) { out = append(out, path) })
	return out
}

func join(prefix, key string) string {
	if prefix == "" {
		return key
	}
	return prefix + "." + key
}
