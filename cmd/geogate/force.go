package main

import (
	"context"
	"fmt"
	"io"

	"geogate/cmd/node"
)

// forceNew makes a group of one out of a node's data, before it is opened.
func forceNew(ctx context.Context, stderr io.Writer, cfg node.Config, confirm string) error {
	report, done, err := node.Force(ctx, cfg, confirm)
	if err != nil {
		return err
	}
	if !done {
		cfg.Logger.Warn("the new group was begun before: take --force-new-cluster away", "flag", confirm)
		return nil
	}
	_, err = fmt.Fprintln(stderr, report)
	return err
}
