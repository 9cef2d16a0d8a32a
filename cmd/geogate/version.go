package main

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by the linker (see the Makefile); a build without it falls back to what Go recorded.
var version string

// buildInfo is what version prints.
type buildInfo struct {
	Version string `json:"version"`
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
}

func newVersion() *cobra.Command {
	cmd := &cobra.Command{Use: "version", Short: "Show the version", Args: args()}
	o := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		b := build()
		return o.print(cmd.OutOrStdout(), b, rows([][]string{
			{"VERSION", "GO", "OS", "ARCH"}, {b.Version, b.Go, b.OS, b.Arch},
		}))
	}
	return cmd
}

func build() buildInfo {
	b := buildInfo{Version: version, Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
	if b.Version == "" {
		b.Version = "unknown"
		if info, ok := debug.ReadBuildInfo(); ok {
			b.Version = info.Main.Version
		}
	}
	return b
}
