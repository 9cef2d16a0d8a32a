package configs

import (
	"fmt"
	"reflect"

	"gopkg.in/yaml.v3"
)

// place is where a setting came from.
type place struct {
	source string // a file, or an environment variable
	line   int
}

// strict walks a YAML tree along the schema. It keeps what fits and reports the rest.
type strict struct {
	file     string
	schema   reflect.Type     // of the whole document
	at       map[string]place // by path, of what was found
	bad      map[string]bool  // paths with a problem, one is enough; true when nothing below them counts either
	problems Problems
}

func newStrict(file string, schema reflect.Type) *strict {
	return &strict{file: file, schema: schema, at: map[string]place{}, bad: map[string]bool{}}
}

// report adds a problem of a path. Of something that is not there, the line is its nearest parent's.
func (s *strict) report(path, format string, args ...any) {
	if _, ok := s.bad[path]; ok {
		return
	}
	for q := path; q != ""; q = parent(q) {
		if s.bad[q] {
			return
		}
	}
	s.bad[path] = false
	p := Problem{File: s.file, Key: path, Message: fmt.Sprintf(format, args...)}
	for q := path; q != ""; q = parent(q) {
		if at, ok := s.at[q]; ok {
			p.File, p.Line = at.source, at.line
			break
		}
	}
	s.problems = append(s.problems, p)
}

// misfit reports a value that can't be used at all.
func (s *strict) misfit(path, format string, args ...any) {
	s.report(path, format, args...)
	s.bad[path] = true
}

// parent cuts the last step off a path: a.b[1] -> a.b -> a -> "".
func parent(path string) string {
	for i := len(path) - 1; i >= 0; i-- {
		if path[i] == '.' || path[i] == '[' {
			return path[:i]
		}
	}
	return ""
}

// mapping checks the keys of one mapping and returns those that fit, with their values.
func (s *strict) mapping(n *yaml.Node, t reflect.Type, path string) map[string]any {
	out := map[string]any{}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		here := join(path, k.Value)
		if first, ok := seen[k.Value]; ok {
			s.problems = append(s.problems, Problem{File: s.file, Line: k.Line, Key: here,
				Message: fmt.Sprintf("is here a second time; line %d has it already", first)})
			continue
		}
		seen[k.Value] = k.Line
		s.at[here] = place{s.file, k.Line}
		ft, ok := lookup(t, k.Value)
		if !ok {
			s.unknown(here, path, k.Value, t)
			continue
		}
		if val, ok := s.value(v, ft, here); ok {
			out[k.Value] = val
		}
	}
	return out
}

// unknown reports a key that the schema does not have here.
func (s *strict) unknown(here, path, key string, t reflect.Type) {
	near := nearest(key, t)
	switch elsewhere := locate(s.schema, key); {
	case near != "":
		s.report(here, "unknown key; did you mean %q?", near)
		s.bad[join(path, near)] = true // its absence is explained
	case key == "<<":
		s.report(here, "merge keys are not supported; write the settings out, or use an alias for a whole value")
	case elsewhere != "":
		s.report(here, "unknown key here; it belongs under %q", elsewhere)
	default:
		s.report(here, "unknown key; the keys here are %s", keyList(t))
	}
}

// value checks one value against its type. It returns false when there is nothing to take over.
func (s *strict) value(n *yaml.Node, t reflect.Type, path string) (any, bool) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if _, known := s.at[path]; !known { // list items
		s.at[path] = place{s.file, n.Line}
	}
	null := n.Kind == yaml.ScalarNode && n.Tag == "!!null"
	switch {
	case t.Kind() == reflect.Struct:
		if null {
			return nil, false // `policy:` with everything commented out below it
		}
		if n.Kind != yaml.MappingNode {
			s.misfit(path, "found %s, want the keys %s", found(n), keyList(t))
			return nil, false
		}
		return s.mapping(n, t, path), true
	case t.Kind() == reflect.Slice:
		if null {
			return nil, false
		}
		if n.Kind != yaml.SequenceNode {
			s.misfit(path, "found %s, want a list; start each item with `- `", found(n))
			return nil, false
		}
		return s.list(n, t.Elem(), path), true
	case n.Kind != yaml.ScalarNode:
		s.misfit(path, "found %s, want %s", found(n), want(t))
		return nil, false
	case null:
		s.misfit(path, "has no value, want %s; leave the key out to get its default", want(t))
		return nil, false
	}
	val, err := scalar(n.Value, n.Tag, t)
	if err != nil {
		s.misfit(path, "%s", err)
		return nil, false
	}
	return val, true
}

// list checks every item. A bad item leaves an empty one, so that the indexes of the others hold.
func (s *strict) list(n *yaml.Node, t reflect.Type, path string) []any {
	out := make([]any, 0, len(n.Content))
	for i, item := range n.Content {
		here := fmt.Sprintf("%s[%d]", path, i)
		val, ok := s.value(item, t, here)
		switch {
		case ok:
			out = append(out, val)
		case t.Kind() == reflect.Struct:
			s.misfit(here, "is an empty item; remove the `-` or fill it in")
			out = append(out, map[string]any{})
		default:
			out = append(out, "")
		}
	}
	return out
}
