package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// Exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// usageError is a command line that can't be run as it is.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

func exitCode(err error) int {
	var usage usageError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &usage):
		return exitUsage
	default:
		return exitFailed
	}
}

// args wants as many arguments as there are names. A last name that ends in ... stands for one or more.
func args(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, got []string) error {
		many := len(names) > 0 && strings.HasSuffix(names[len(names)-1], "...")
		if len(got) == len(names) || many && len(got) > len(names) {
			return nil
		}
		if len(names) == 0 {
			return usagef("%s takes no argument, found %s; see %s --help", cmd.CommandPath(), strings.Join(got, " "), cmd.CommandPath())
		}
		return usagef("%s wants %s, found %d arguments; see %s --help",
			cmd.CommandPath(), strings.Join(names, " "), len(got), cmd.CommandPath())
	}
}

// group makes a command that only has subcommands: alone it shows them, with an unknown one it says so.
func group(cmd *cobra.Command, subs ...*cobra.Command) *cobra.Command {
	cmd.AddCommand(subs...)
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, got []string) error {
		if len(got) == 0 {
			return cmd.Help()
		}
		return usagef("unknown command %q for %q%s; see %s --help", got[0], cmd.CommandPath(), similar(cmd, got[0]), cmd.CommandPath())
	}
	return cmd
}

func similar(cmd *cobra.Command, word string) string {
	if cmd.SuggestionsMinimumDistance <= 0 {
		cmd.SuggestionsMinimumDistance = 2
	}
	if near := cmd.SuggestionsFor(word); len(near) > 0 {
		return ", did you mean " + strings.Join(near, " or ") + "?"
	}
	return ""
}
