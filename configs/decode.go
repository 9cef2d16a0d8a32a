package configs

import (
	"fmt"
	"reflect"

	"github.com/go-viper/mapstructure/v2"
)

// sheet is a kind of document, for messages.
type sheet struct {
	name  string
	empty string // what to do about an empty file
	keys  string // such as it has
}

var topologySheet = sheet{
	name: "topology", empty: "it needs at least `datacenters`, see configs/geogate.example.yaml", keys: "`cluster:` and `datacenters:`",
}

// Decode reads a YAML document of another kind as strictly as a topology: into is a pointer to a struct whose yaml
// tags are the keys, and holds the defaults. Its fields are text, whole numbers, truth values, durations, sizes,
// pointers to those, structs, and lists. check reports what is wrong with the values, by path; the error is [Problems],
// with the lines. name stands for the file, kind for what it is in messages.
func Decode(name, kind string, data []byte, into any, check func(report func(path, format string, args ...any))) error {
	schema := reflect.TypeOf(into).Elem()
	root, problems := document(name, data, sheet{name: kind, empty: "a " + kind + " has the keys " + keyList(schema), keys: keyList(schema)})
	if len(problems) > 0 {
		return problems.err()
	}
	s := newStrict(name, schema)
	settings := s.mapping(root, schema, "")
	d, err := mapstructure.NewDecoder(decoding(into))
	if err == nil {
		err = d.Decode(settings)
	}
	if err != nil { // what the walk let through always fits
		return fmt.Errorf("decode %s: %w", name, err)
	}
	check(s.report)
	return s.problems.err()
}

// decoding takes over what a walk let through.
func decoding(into any) *mapstructure.DecoderConfig {
	return &mapstructure.DecoderConfig{
		Result: into, TagName: "yaml", WeaklyTypedInput: true,
		DecodeHook: mapstructure.ComposeDecodeHookFunc(
			mapstructure.StringToTimeDurationHookFunc(), mapstructure.TextUnmarshallerHookFunc()),
	}
}
