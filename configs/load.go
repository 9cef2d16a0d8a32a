package configs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"

	"github.com/go-viper/mapstructure/v2"
	"github.com/spf13/viper"
	"gopkg.in/yaml.v3"
)

// Load reads, checks and completes a topology. Relative paths in it are taken from the folder of the
// file. The error is [Problems] when the content is at fault.
func Load(path string) (*Topology, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the topology: %w", err)
	}
	t, err := Parse(path, data)
	if err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("find the topology's folder: %w", err)
	}
	t.resolve(dir)
	return t, nil
}

// Parse is [Load] for content that was read already; name stands for the file in messages. Relative paths
// stay as they are.
func Parse(name string, data []byte) (*Topology, error) {
	root, problems := document(name, data, topologySheet)
	if len(problems) > 0 {
		return nil, problems.err()
	}
	s := newStrict(name, topologyType)
	settings := s.mapping(root, topologyType, "")

	v := viper.New()
	if err := v.MergeConfigMap(settings); err != nil {
		return nil, fmt.Errorf("take over the settings of %s: %w", name, err)
	}
	if err := s.bindEnv(v); err != nil {
		return nil, err
	}
	t := Default()
	err := v.Unmarshal(t, func(c *mapstructure.DecoderConfig) {
		*c = *decoding(c.Result)
	})
	if err != nil { // what the walk let through always fits
		return nil, fmt.Errorf("decode the settings of %s: %w", name, err)
	}
	t.fill()
	t.validate(s.report)
	return t, s.problems.err()
}

// document is the root mapping of a file that holds exactly one YAML document.
func document(name string, data []byte, kind sheet) (*yaml.Node, Problems) {
	fail := func(line int, format string, args ...any) (*yaml.Node, Problems) {
		return nil, Problems{{File: name, Line: line, Message: fmt.Sprintf(format, args...)}}
	}
	d := yaml.NewDecoder(bytes.NewReader(data))
	var doc, second yaml.Node
	switch err := d.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return fail(0, "the file is empty; %s", kind.empty)
	case err != nil:
		line, text := yamlError(err)
		return fail(line, "not YAML: %s", text)
	}
	switch err := d.Decode(&second); {
	case err == nil:
		return fail(second.Line, "a second YAML document starts here; a %s is one document", kind.name)
	case !errors.Is(err, io.EOF):
		line, text := yamlError(err)
		return fail(line, "not YAML: %s", text)
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		return fail(root.Line, "found %s, want keys such as %s", found(root), kind.keys)
	}
	return root, nil
}

var yamlLine = regexp.MustCompile(`^yaml: line (\d+): (.*)$`)

// yamlError takes the parser's own position out of its text.
func yamlError(err error) (line int, text string) {
	m := yamlLine.FindStringSubmatch(err.Error())
	if m == nil {
		return 0, err.Error()
	}
	line, _ = strconv.Atoi(m[1]) // digits, by the expression
	return line, m[2]
}

// resolve makes every path absolute.
func (t *Topology) resolve(dir string) {
	abs := func(p *string) {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
	for _, tls := range []*TLS{&t.Security.Client, &t.Security.Raft, &t.Security.NATS} {
		abs(&tls.Cert)
		abs(&tls.Key)
		abs(&tls.CA)
	}
	for i := range t.Datacenters {
		d := &t.Datacenters[i]
		abs(&d.KeyFile)
		abs(&d.NATS.CredsFile)
		abs(&d.NATS.PeerCredsFile)
		for j := range d.Nodes {
			abs(&d.Nodes[j].Dir)
		}
	}
}

// Encode writes the topology as YAML that [Load] accepts.
func (t *Topology) Encode() ([]byte, error) {
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(t); err != nil {
		return nil, fmt.Errorf("encode the topology: %w", err)
	}
	return b.Bytes(), e.Close()
}
