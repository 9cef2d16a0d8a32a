package node

import (
	"context"
	"fmt"
	"strings"

	"geogate/dc"
)

// forceBump is how far the revision leaps: more than lost nodes have answered with beyond what this one has.
const forceBump = 1_000_000_000

// Force makes a group of one out of this node's data, whose other nodes are lost for good. confirm is what a call
// without it has named, DC/NODE@INDEX: it holds for the data as it was then, once. done is false when that was done before.
func Force(ctx context.Context, cfg Config, confirm string) (report string, done bool, err error) {
	n, err := find(cfg)
	if err != nil {
		return "", false, err
	}
	who := cfg.DC + "/" + cfg.Node
	name, index, numbered := strings.Cut(confirm, "@")
	if name != who {
		return "", false, fmt.Errorf("--force-new-cluster names %q, and this is node %s: nothing was done; give --force-new-cluster %s to see what that means", name, who, who)
	}
	c, err := n.dcConfig()
	if err != nil {
		return "", false, err
	}
	left, err := dc.Survey(ctx, c)
	if err != nil {
		return "", false, fmt.Errorf("look at what is left in %s: %w", n.spec.Dir, err)
	}
	at := fmt.Sprint(left.Index)
	switch {
	case numbered && index != at && wasForced(n.spec.Dir, index):
		return "", false, nil
	case len(left.Alive) > 0:
		m := left.Alive[0]
		return "", false, fmt.Errorf("%w: member %s answers at %s. If its group has no majority any more, stop it, "+
			"and begin anew with the node whose log reaches farthest; nothing was done", dc.ErrNotLost, m.Name, m.Addr)
	case len(left.Members) == 1:
		return "", false, fmt.Errorf("%w: node %s is its only member already: start it without --force-new-cluster", dc.ErrNotLost, who)
	case !numbered:
		return "", false, fmt.Errorf("%s; nothing was done. To do it: --force-new-cluster %s@%s", describe(who, left), who, at)
	case index != at:
		return "", false, fmt.Errorf("--force-new-cluster names the end of the log %q, which is %s now; nothing was done. %s. To do it: --force-new-cluster %s@%s",
			index, at, describe(who, left), who, at)
	}
	got, err := dc.Force(ctx, c, left, forceBump)
	if err != nil {
		return "", false, err
	}
	return fmt.Sprintf("%s is the only member of a new group: %d keys, revision %d, was %d, digest %016x. The datacenter begins a new life and takes back from its peers what they "+
		"have beyond this. The data of before is in %s, remove it when all is well. Add other nodes with empty directories by `etcdctl member add`",
		who, got.Keys, got.Revision, got.Taken, got.Digest, dc.ForcedAside(n.spec.Dir, left.Index)), true, nil
}

func wasForced(dir, index string) bool {
	var n uint64
	_, err := fmt.Sscan(index, &n)
	return err == nil && dc.WasForced(dir, n)
}

func describe(who string, left dc.Left) string {
	var others []string
	for _, m := range left.Members {
		if name := m.Name + " (" + m.Addr + ")"; !strings.HasSuffix(who, "/"+m.Name) {
			others = append(others, name)
		}
	}
	return fmt.Sprintf("%s has the log of its group up to index %d, at least up to %d of which is committed, and data up to revision %d, %d keys. "+
		"A new group of this node alone would go on without %s, none of which answers: what only they had is lost, also where it was acknowledged, "+
		"except for what other datacenters have received. If one of them still has its disk, repair it instead, or compare and take the node with the "+
		"greatest index", who, left.Index, left.Committed, left.Revision, left.Keys, strings.Join(others, " and "))
}
