package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"geogate/cmd/node"
	"geogate/configs"
)

// defaultBump is more than a datacenter writes between a backup and its restoration: 10,000 a second for a day.
const defaultBump = 1_000_000_000

// restoreOptions are the flags of restore.
type restoreOptions struct {
	config, dc, node string
	dir              string
	bump             int64
	compacted        bool
	resurrect        bool
}

func newRestore() *cobra.Command {
	var r restoreOptions
	cmd := &cobra.Command{
		Use:   "restore FILE --config FILE [--dc NAME --node NAME]",
		Short: "Make the data of a node out of a backup",
		Long: "restore fills the data directory of one node, which must be missing or empty, from a file that\n" +
			"`etcdctl snapshot save` took at any node of a geogate datacenter. Stop all nodes of the datacenter,\n" +
			"move their directories away, and restore every one of them from the same file before any is started.\n" +
			"The revision is raised and older history dropped, so that clients notice and read anew.\n" +
			"Once it runs, the datacenter compares itself with each of the others, and deletes what they have deleted\n" +
			"since; until all of them were reached it gives its state to nobody.",
		Example: "  geogate restore backup.db --config geogate.yaml --dc us-east --node n0",
		Args:    args("FILE"),
	}
	f := cmd.Flags()
	f.StringVar(&r.config, "config", os.Getenv(envConfig), "topology file; $"+envConfig)
	f.StringVar(&r.dc, "dc", os.Getenv(envDC), "datacenter of this node; $"+envDC+"; may be left out when there is one")
	f.StringVar(&r.node, "node", os.Getenv(envNode), "name of this node; $"+envNode+"; may be left out when there is one")
	f.StringVar(&r.dir, "data-dir", "", "directory to fill in place of the node's own in the topology")
	f.Int64Var(&r.bump, "bump-revision", defaultBump, "how far to raise the revision: more than was written since the backup")
	f.BoolVar(&r.compacted, "mark-compacted", true, "drop the history before the raised revision")
	f.BoolVar(&r.resurrect, "accept-resurrection", false, "do not compare with the other datacenters: what they have deleted since the backup may come back everywhere")
	o := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case r.config == "":
			return usagef("restore needs the topology: give --config FILE or set %s", envConfig)
		case r.bump < 0:
			return usagef("--bump-revision is %d, it must not be negative", r.bump)
		case r.bump > 0 && !r.compacted:
			return usagef("a raised revision needs --mark-compacted: a watch from before would wait for revisions that never come; or give --bump-revision 0")
		case r.bump == 0 && r.compacted && cmd.Flags().Changed("mark-compacted"):
			return usagef("--mark-compacted needs --bump-revision above 0")
		}
		return restore(cmd.OutOrStdout(), args[0], r, *o)
	}
	return cmd
}

// restored is what restore prints as JSON.
type restored struct {
	File     string `json:"file"`
	DC       string `json:"dc"`
	Node     string `json:"node"`
	Dir      string `json:"dir"`
	Keys     int    `json:"keys"`
	Taken    int64  `json:"taken_at_revision"`
	Revision int64  `json:"revision"`
	Digest   string `json:"digest"`
}

func restore(w io.Writer, file string, r restoreOptions, o output) error {
	t, err := configs.Load(r.config)
	if err != nil {
		return err
	}
	if r.dc, r.node, err = whoami(t, r.dc, r.node); err != nil {
		return err
	}
	if r.dir == "" {
		d, _ := t.Datacenter(r.dc)
		n, _ := d.Node(r.node)
		r.dir = n.Dir
	}
	got, err := node.Restore(node.RestoreConfig{Topology: t, DC: r.dc, Node: r.node, Backup: file, Dir: r.dir, Bump: r.bump, Resurrect: r.resurrect})
	if err != nil {
		return fmt.Errorf("restore node %s of %s: %w", r.node, r.dc, err)
	}
	v := restored{
		File: file, DC: r.dc, Node: r.node, Dir: r.dir, Keys: got.Keys, Taken: got.Taken, Revision: got.Revision,
		Digest: fmt.Sprintf("%016x", got.Digest),
	}
	return o.print(w, v, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "%s/%s: %d keys in %s, taken at revision %d, now at %d, digest %s\n"+
			"restore every node of %s from this file before any of them is started\n", v.DC, v.Node, v.Keys, v.Dir, v.Taken, v.Revision, v.Digest, v.DC)
		return err
	})
}
