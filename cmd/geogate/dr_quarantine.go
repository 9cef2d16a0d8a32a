package main

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"geogate/cmd/dr"
	"geogate/cmd/importer"
	"geogate/gateway/admin"
)

func newDRQuarantine() *cobra.Command {
	return group(&cobra.Command{
		Use:   "quarantine",
		Short: "Writes that a move of a home has set aside",
		Long: "A failover leaves out what the old home had committed alone. Each datacenter that had such a write keeps it\n" +
			"until an operator writes it again or drops it. Ask the datacenter that was the home: it has them all.",
	}, newAsideList(), newAsideShow(), newAsideReplay(), newAsideDiscard())
}

// asideFlags are what all commands of the quarantine have.
type asideFlags struct {
	client   dr.Client
	keyspace string
	all      bool
}

func (f *asideFlags) add(cmd *cobra.Command, all string) {
	addEndpoint(cmd, &f.client.Endpoint)
	cmd.Flags().StringVar(&f.keyspace, "keyspace", "", "prefix of the keyspace")
	if all != "" {
		cmd.Flags().BoolVar(&f.all, "all", false, all)
	}
}

// ids reads the numbers; none means all, which must be asked for.
func (f *asideFlags) ids(cmd *cobra.Command, words []string) ([]uint64, error) {
	if !cmd.Flags().Changed("keyspace") {
		return nil, usagef("--keyspace is missing; `geogate dr status` lists them")
	}
	if f.all == (len(words) > 0) {
		return nil, usagef("%s wants the numbers of writes, or --all; `geogate dr quarantine list` shows them", cmd.CommandPath())
	}
	var out []uint64
	for _, w := range words {
		n, err := strconv.ParseUint(w, 10, 64)
		if err != nil || n == 0 {
			return nil, usagef("%q is not the number of a write, such as 7", w)
		}
		out = append(out, n)
	}
	return out, nil
}

func newAsideList() *cobra.Command {
	var f asideFlags
	var limit int
	cmd := &cobra.Command{Use: "list", Short: "List them, the oldest first", Args: args()}
	f.add(cmd, "")
	cmd.Flags().IntVar(&limit, "limit", 100, "at most so many")
	o := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if !cmd.Flags().Changed("keyspace") {
			return usagef("--keyspace is missing; `geogate dr status` lists them")
		}
		if limit < 1 {
			return usagef("--limit is %d, want 1 or more", limit)
		}
		writes, more, err := f.client.List(cmd.Context(), f.keyspace, limit)
		if err != nil {
			return err
		}
		if more {
			_, _ = fmt.Fprintln(cmd.ErrOrStderr(), "geogate: there are more; raise --limit")
		}
		return o.print(cmd.OutOrStdout(), writes, rows(dr.AsideRows(writes)))
	}
	return cmd
}

func newAsideShow() *cobra.Command {
	var f asideFlags
	cmd := &cobra.Command{Use: "show ID", Short: "Show one of them, in full with -o json", Args: args("ID")}
	f.add(cmd, "")
	o := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, words []string) error {
		ids, err := f.ids(cmd, words)
		if err != nil {
			return err
		}
		w, err := f.client.Show(cmd.Context(), f.keyspace, ids[0])
		if err != nil {
			return err
		}
		return o.print(cmd.OutOrStdout(), w, rows([][]string{
			{"key", strconv.Quote(string(w.Key))},
			{"before", strconv.Quote(string(w.Old)) + map[bool]string{true: " (none)"}[w.Old == nil]},
			{"written", strconv.Quote(string(w.New)) + map[bool]string{true: " (deleted)"}[w.Deleted]},
			{"by", fmt.Sprintf("%s at its revision %d, in epoch %d", w.Origin, w.Revision, w.Epoch)},
			{"lease", map[bool]string{true: strconv.FormatInt(w.Lease, 16), false: "(none)"}[w.Lease != 0]},
			{"over", over(w.Base)},
			{"set aside", w.SetAside.UTC().String()},
		}))
	}
	return cmd
}

// over is the state of a key that a replay would write over.
func over(base *admin.KeyState) string {
	switch {
	case base == nil:
		return "? (set aside by an older build)"
	case base.Origin == "":
		return "nothing"
	case !base.Live:
		return fmt.Sprintf("its deletion by %s at revision %d", base.Origin, base.Revision)
	}
	return fmt.Sprintf("the write of %s at revision %d", base.Origin, base.Revision)
}

func newAsideReplay() *cobra.Command {
	var f asideFlags
	var to importer.Endpoint
	var replay dr.Replay
	cmd := &cobra.Command{
		Use:   "replay [ID...]",
		Short: "Write kept values again, where nobody has written since",
		Long: "replay writes what was set aside as new writes, in their order, through the etcd API of --to, a node of the\n" +
			"datacenter of --endpoint; from there they go to the home. A key that anybody has written since (superseded), be it\n" +
			"with the same value, is shown with both values and left alone, unless --overwrite is given. A key that was\n" +
			"bound to a lease is bound to it again; when the lease has ended it is left alone (lease_gone), unless\n" +
			"--without-lease is given. What is written is no longer kept.",
	}
	cmd.Args = cobra.ArbitraryArgs
	f.add(cmd, "all of the keyspace")
	cmd.Flags().StringSliceVar(&to.Addresses, "to", []string{"127.0.0.1:24000"}, "client address of a geogate node in the datacenter of --endpoint")
	addSecurity(cmd, "to", &to)
	cmd.Flags().BoolVar(&replay.Overwrite, "overwrite", false, "write them over keys that have changed, too")
	cmd.Flags().BoolVar(&replay.WithoutLease, "without-lease", false, "write keys whose lease has ended as keys that stay")
	o := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, words []string) error {
		ids, err := f.ids(cmd, words)
		if err != nil {
			return err
		}
		client, err := to.Dial()
		if err != nil {
			return err
		}
		defer func() { _ = client.Close() }()
		replay.KV, replay.Keyspace, replay.IDs = client.KV, f.keyspace, ids
		done, err := f.client.Replay(cmd.Context(), replay)
		if perr := o.print(cmd.OutOrStdout(), done, rows(dr.ReplayedRows(done))); perr != nil {
			return errors.Join(err, perr)
		}
		return err
	}
	return cmd
}

func newAsideDiscard() *cobra.Command {
	var f asideFlags
	cmd := &cobra.Command{Use: "discard [ID...]", Short: "Drop kept values for good"}
	cmd.Args = cobra.ArbitraryArgs
	f.add(cmd, "all of the keyspace")
	cmd.RunE = func(cmd *cobra.Command, words []string) error {
		ids, err := f.ids(cmd, words)
		if err != nil {
			return err
		}
		n, err := f.client.Discard(cmd.Context(), f.keyspace, ids)
		if err == nil {
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d discarded\n", n)
		}
		return err
	}
	return cmd
}
