package configs

import _ "embed"

// Example is the annotated reference topology, geogate.example.yaml.
//
//go:embed geogate.example.yaml
var Example []byte
