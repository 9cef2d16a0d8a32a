package main

import (
	"io"
	"log/slog"

	"geogate/configs"
)

// newLogger logs as the topology says, whose words were checked when it was loaded.
func newLogger(w io.Writer, c configs.Log) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		level = slog.LevelInfo
	}
	opts := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}
