package replication

import (
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// flipBlocks flips bits in the message blocks of a JetStream store, and says how many.
func flipBlocks(t *testing.T, rnd *rand.Rand, dir string) (flips int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".blk") {
			return nil // files come and go
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return nil
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil || info.Size() == 0 {
			return err
		}
		for range 20 {
			var b [1]byte
			at := rnd.Int64N(info.Size())
			if _, err := f.ReadAt(b[:], at); err != nil {
				return nil
			}
			b[0] ^= 1 << rnd.IntN(8)
			if _, err := f.WriteAt(b[:], at); err != nil {
				return err
			}
			flips++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return flips
}

// Bits flip in the files of a stream, under a server that runs and under one that is started again: every frame
// arrives, and as it was.
func TestFlippedBitsInTheStream(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	c := newCluster(t, nil, "a", "b")
	c.healthy(10 * time.Second)
	c.links["a"]["n1"].cut() // so that the flips are in what b lacks
	for range 500 {
		c.dcs["a"].write(t, random(500))
	}
	flips := 0
	for end := time.Now().Add(10 * time.Second); flips == 0 && time.Now().Before(end); { // until the server has written blocks
		c.dcs["a"].write(t, random(500))
		flips += flipBlocks(t, rnd, c.nodes["a"]["n1"].dir)
	}
	for range 5 {
		flips += flipBlocks(t, rnd, c.nodes["a"]["n1"].dir)
		for range 50 {
			c.dcs["a"].write(t, random(500))
		}
	}
	c.links["a"]["n1"].heal()
	c.settle(20 * time.Second)
	n := c.nodes["a"]["n1"]
	for range 100 {
		c.dcs["a"].write(t, random(500))
	}
	n.stop()
	flips += flipBlocks(t, rnd, n.dir)
	c.start("a", "n1")
	c.nodes["a"]["n1"].lead(2)
	for range 100 {
		c.dcs["a"].write(t, random(500))
	}
	c.settle(20 * time.Second)
	if flips == 0 {
		t.Error("there was no block to flip a bit in")
	}
	t.Logf("%d bits flipped", flips)
}
