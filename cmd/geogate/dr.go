package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"geogate/cmd/dr"
	"geogate/cmd/drill"
	"geogate/replication"
	"geogate/replication/registrar"
)

func newDR() *cobra.Command {
	return group(&cobra.Command{
		Use:   "dr",
		Short: "Move the homes of single-writer keyspaces; handle what moves set aside",
		Long: "dr is for disasters and for the drills before them. A switchover loses nothing and needs the home; a\n" +
			"failover needs a majority of the datacenters and is run at the one that is to become the home; with\n" +
			"--force it needs nobody and loses what that datacenter does not have.",
	}, newDRStatus(), newDRSwitchover(), newDRFailover(), newDRFailback(), newDRAbort(), newDRQuarantine(), newDrill())
}

func newDRStatus() *cobra.Command {
	var c dr.Client
	var drills drill.Folder
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show homes, epochs, leases, moves, and what would be lost now",
		Long: "status shows each single-writer keyspace as the asked datacenter knows it. How far the peers are behind\n" +
			"(what would be lost if the home went now) only the home's own datacenter knows; elsewhere it is ?.",
		Args: args(),
	}
	addEndpoint(cmd, &c.Endpoint)
	addReports(cmd, &drills)
	o := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		r, err := c.Status(cmd.Context())
		if err != nil {
			return err
		}
		s := newDRReport(cmd, r, drills)
		if s.Quarantine, err = c.Quarantine(cmd.Context()); err != nil {
			warn(cmd, fmt.Errorf("what is set aside is not known: %w", err))
		}
		return o.print(cmd.OutOrStdout(), s, s.write)
	}
	return cmd
}

// moveFlags are what all moves have.
type moveFlags struct {
	client   dr.Client
	keyspace string
	deadline time.Duration
	out      *output
}

func (f *moveFlags) add(cmd *cobra.Command) {
	addEndpoint(cmd, &f.client.Endpoint)
	cmd.Flags().StringVar(&f.keyspace, "keyspace", "", "prefix of the keyspace")
	cmd.Flags().DurationVar(&f.deadline, "deadline", time.Minute, "until when it is given up if it can still be")
	f.out = addOutput(cmd)
}

func (f *moveFlags) check(cmd *cobra.Command) error {
	if !cmd.Flags().Changed("keyspace") {
		return usagef("--keyspace is missing; `geogate dr status` lists them")
	}
	if f.deadline <= 0 {
		return usagef("--deadline is %s, want more than 0, such as 1m", f.deadline)
	}
	return nil
}

// progress tells on stderr what a move does.
func progress(cmd *cobra.Command) func(string) {
	return func(text string) { _, _ = fmt.Fprintln(cmd.ErrOrStderr(), "geogate:", text) } // a closed stderr must not end a move
}

// result prints a move that has ended. It fails as the move did.
func (f *moveFlags) result(cmd *cobra.Command, m registrar.MoveStatus, err error) error {
	if m.Result != "" {
		if perr := f.out.print(cmd.OutOrStdout(), m, rows(dr.MoveRows(m))); perr != nil {
			return errors.Join(err, perr)
		}
	}
	return err
}

func newDRSwitchover() *cobra.Command {
	var f moveFlags
	var to string
	cmd := &cobra.Command{
		Use:   "switchover",
		Short: "Move a home while all is well; nothing is lost",
		Long: "switchover stops writes at the home, waits until the next home has all of them, and moves. Until that is\n" +
			"proposed it is given up at --deadline, and writes go on at the old home. Any datacenter can be asked.",
		Args: args(),
	}
	f.add(cmd)
	cmd.Flags().StringVar(&to, "to", "", "datacenter that is to be the home")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := f.check(cmd); err != nil {
			return err
		}
		if to == "" {
			return usagef("--to is missing; name the datacenter that is to be the home")
		}
		q := replication.SwitchoverRequest{Keyspace: f.keyspace, To: to, Deadline: f.deadline}
		m, err := f.client.Switchover(cmd.Context(), q, progress(cmd))
		return f.result(cmd, m, err)
	}
	return cmd
}

func newDRFailback() *cobra.Command {
	var f moveFlags
	cmd := &cobra.Command{
		Use:   "failback",
		Short: "Switch over to the home that the configuration names",
		Args:  args(),
	}
	f.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := f.check(cmd); err != nil {
			return err
		}
		m, err := f.client.Failback(cmd.Context(), f.keyspace, f.deadline, progress(cmd))
		return f.result(cmd, m, err)
	}
	return cmd
}

func newDRAbort() *cobra.Command {
	var f moveFlags
	cmd := &cobra.Command{
		Use:   "abort",
		Short: "Give up the move that the asked datacenter drives, if it is not proposed yet",
		Args:  args(),
	}
	addEndpoint(cmd, &f.client.Endpoint)
	cmd.Flags().StringVar(&f.keyspace, "keyspace", "", "prefix of the keyspace")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if !cmd.Flags().Changed("keyspace") {
			return usagef("--keyspace is missing; `geogate dr status` lists them")
		}
		return f.client.Abort(cmd.Context(), f.keyspace)
	}
	return cmd
}

func newDRFailover() *cobra.Command {
	var f moveFlags
	var dry, force bool
	var confirm string
	cmd := &cobra.Command{
		Use:   "failover",
		Short: "Make the asked datacenter the home, without the old one",
		Long: "failover says what it may lose and makes the datacenter of --endpoint the home. It needs a majority of the\n" +
			"datacenters, witnesses included; then nothing is lost that was acknowledged under QUORUM or ALL. With\n" +
			"--force it needs nobody, and loses whatever that datacenter does not have. What the old home had beyond\n" +
			"that is set aside when it returns; see quarantine.",
		Args: args(),
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only say what would be lost")
	cmd.Flags().BoolVar(&force, "force", false, "do without a majority; acknowledged writes may be lost")
	cmd.Flags().StringVar(&confirm, "confirm", "", "with --force: the keyspace once more, instead of being asked for it")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := f.check(cmd); err != nil {
			return err
		}
		ledger, err := f.client.Ledger(cmd.Context(), f.keyspace, force)
		if err != nil {
			return err
		}
		if dry {
			return f.out.print(cmd.OutOrStdout(), ledger, rows(dr.LedgerRows(ledger)))
		}
		if err := rows(dr.LedgerRows(ledger))(cmd.ErrOrStderr()); err != nil {
			return err
		}
		if !force {
			m, err := f.client.Failover(cmd.Context(), f.keyspace, f.deadline, progress(cmd))
			return f.result(cmd, m, err)
		}
		if !cmd.Flags().Changed("confirm") {
			if confirm, err = ask(cmd.InOrStdin(), cmd.ErrOrStderr(), "This loses writes that were acknowledged. Type the keyspace to go on: "); err != nil {
				return err
			}
		}
		if confirm != f.keyspace {
			return usagef("found %q, want the keyspace %q; nothing was done", confirm, f.keyspace)
		}
		m, err := f.client.Force(cmd.Context(), f.keyspace, confirm)
		return f.result(cmd, m, err)
	}
	return cmd
}

// ask reads one line.
func ask(in io.Reader, out io.Writer, question string) (string, error) {
	if _, err := io.WriteString(out, question); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(in).ReadString('\n')
	if err != nil && (!errors.Is(err, io.EOF) || line == "") {
		return "", fmt.Errorf("no answer, nothing was done; in scripts use --confirm: %w", err)
	}
	return strings.TrimRight(line, "\r\n"), nil
}
