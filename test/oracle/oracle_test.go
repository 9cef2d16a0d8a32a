package oracle

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"geogate/test/cluster"
	"geogate/test/etcdbin"
)

func TestMain(m *testing.M) { os.Exit(cluster.Main(m)) }

// TestAnswersAreEtcds asks random questions of a real etcd and of a datacenter of one node. GEOGATE_ORACLE_SEED and
// GEOGATE_ORACLE_STEPS ask other ones, or more.
func TestAnswersAreEtcds(t *testing.T) {
	seeds := []uint64{1, 2, rand.Uint64()}
	if s, err := strconv.ParseUint(os.Getenv("GEOGATE_ORACLE_SEED"), 10, 64); err == nil {
		seeds = []uint64{s}
	}
	steps := 600
	if n, err := strconv.Atoi(os.Getenv("GEOGATE_ORACLE_STEPS")); err == nil {
		steps = n
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			etcd := etcdbin.New(t, 1)
			c := cluster.Start(t, cluster.Options{DCs: []string{"us-east"}})
			stats, err := Run(t.Context(), Config{
				Etcd: etcd.Endpoints()[0], Geogate: c.Node("us-east", "n0").Spec.Client, Seed: seed, Steps: steps, Leases: true,
			})
			t.Logf("compared: %+v", stats)
			if err != nil {
				t.Error(err)
			}
		})
	}
}
