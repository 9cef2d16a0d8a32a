package configs

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// scalar turns a YAML scalar, or with tag "" an environment variable, into a value of type t.
func scalar(text, tag string, t reflect.Type) (any, error) {
	if t.Kind() == reflect.Pointer { // a setting whose zero value is not its default
		t = t.Elem()
	}
	isText := tag == "" || tag == "!!str"
	switch {
	case t == durationType:
		if d, err := time.ParseDuration(text); err == nil && isText {
			return d, nil
		}
	case t == bytesType:
		if b, err := ParseBytes(text); err == nil && (isText || tag == "!!int") {
			return b, nil
		}
	case t.Kind() == reflect.Int:
		if n, err := strconv.Atoi(text); err == nil && (tag == "" || tag == "!!int") {
			return n, nil
		}
	case t.Kind() == reflect.Bool:
		if (tag == "" || tag == "!!bool") && (text == "true" || text == "false") {
			return text == "true", nil
		}
	default:
		if isText {
			return text, nil
		}
		return nil, fmt.Errorf("found %s %s, want text; put it in quotes: %q", kinds[tag], text, text)
	}
	return nil, fmt.Errorf("found %q, want %s", text, want(t))
}

// want describes the values of a type.
func want(t reflect.Type) string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == durationType:
		return "a duration: a number with a unit, such as 250ms, 5s or 1h"
	case t == bytesType:
		return "a size: a number of bytes, or one with a unit such as 512KiB, 64MiB or 1GB"
	case t.Kind() == reflect.Int:
		return "a whole number"
	case t.Kind() == reflect.Bool:
		return "true or false"
	default:
		return "text"
	}
}

// kinds names YAML's own types.
var kinds = map[string]string{"!!int": "the number", "!!float": "the number", "!!bool": "the truth value", "!!timestamp": "the date"}

// found describes what stands in the file.
func found(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Tag == "!!null":
		return "nothing"
	default:
		return strconv.Quote(n.Value)
	}
}

func keyList(t reflect.Type) string {
	var keys []string
	for _, f := range fields(t) {
		keys = append(keys, f.key)
	}
	return strings.Join(keys, ", ")
}
