// Package configs reads the topology: one YAML file that describes the whole cluster, the same on every
// node, with environment variables (GEOGATE_POLICY_DEFAULT for policy.default) above it.
//
// Reading is strict. A key that does not exist, a value of the wrong type and a setting that can't work
// are errors with file, line and key; all of them are reported at once. README.md beside this file is
// the reference of every key, geogate.example.yaml an annotated example.
//
// It serves no hop of the way of a write: it tells each of them what to do. It imports nothing of
// geogate. A [Topology] is read-only after [Load] and safe for concurrent use.
package configs
