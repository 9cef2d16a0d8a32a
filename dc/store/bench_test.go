package store_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"geogate/dc/store"
	"geogate/replication/event"
)

// benchKey spreads consecutive numbers over the key space.
func benchKey(i int) []byte {
	return fmt.Appendf(nil, "/registry/pods/%016x", uint64(i)*0x9e3779b97f4a7c15)
}

func benchGeo(rev int64) store.Geo {
	return store.Geo{Origin: "fra", OriginRevision: rev, Stamp: event.Stamp(rev) << 16, Seen: []byte("\x03nyc\x80\x80\x10\x03sgp\x80\x80\x10")}
}

func openBench(b testing.TB, path string) *store.Store {
	b.Helper()
	s, err := store.Open(store.Config{Path: path})
	if err != nil {
		b.Fatal(err)
	}
	return s
}

func fill(b testing.TB, s *store.Store, keys, perBatch int) {
	b.Helper()
	value := make([]byte, 256)
	for i := 0; i < keys; {
		batch, err := s.Begin()
		if err != nil {
			b.Fatal(err)
		}
		for j := 0; j < perBatch && i < keys; j++ {
			batch.NextTxn()
			v := append([]byte(nil), value...)
			binary.BigEndian.PutUint64(v, uint64(i))
			batch.Put(benchKey(i), v, 0, benchGeo(batch.Revision()+1))
			i++
		}
		batch.Commit(store.Applied{Index: uint64(i)})
	}
}

// BenchmarkPut applies batches of 64 puts to new and, in the second round, existing keys, with a flusher
// beside it and the disk synced.
func BenchmarkPut(b *testing.B) {
	for _, keys := range []int{10_000, 1_000_000} {
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			s := openBench(b, filepath.Join(b.TempDir(), "db"))
			defer closeBench(b, s)
			defer runBench(b, s)()
			value := make([]byte, 256)
			b.ReportAllocs()
			b.ResetTimer()
			for i := 0; i < b.N; {
				batch, err := s.Begin()
				if err != nil {
					b.Fatal(err)
				}
				for j := 0; j < 64 && i < b.N; j++ {
					batch.NextTxn()
					batch.Put(benchKey(i%keys), value, 0, benchGeo(batch.Revision()+1))
					i++
				}
				batch.Commit(store.Applied{Index: uint64(i)})
			}
		})
	}
}

// BenchmarkFlush flushes what 100 ms bring: puts of 10,000 keys, without waiting for the disk. An operation is one put.
func BenchmarkFlush(b *testing.B) {
	for _, puts := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("puts=%d", puts), func(b *testing.B) {
			s, err := store.Open(store.Config{Path: filepath.Join(b.TempDir(), "db"), NoSync: true})
			if err != nil {
				b.Fatal(err)
			}
			defer closeBench(b, s)
			value, n := make([]byte, 256), 0
			b.ReportAllocs()
			b.ResetTimer()
			for n < b.N {
				b.StopTimer()
				for range puts {
					batch, err := s.Begin()
					if err != nil {
						b.Fatal(err)
					}
					batch.NextTxn()
					batch.Put(benchKey(n%10_000), value, 0, benchGeo(batch.Revision()+1))
					n++
					batch.Commit(store.Applied{Index: uint64(n)})
				}
				b.StartTimer()
				if err := s.Flush(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkRange reads what is on disk.
func BenchmarkRange(b *testing.B) {
	s := openBench(b, filepath.Join(b.TempDir(), "db"))
	defer closeBench(b, s)
	const keys = 100_000
	fill(b, s, keys, 64)
	if err := s.Flush(); err != nil {
		b.Fatal(err)
	}
	run := func(name string, o func(i int) store.RangeOptions) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					if _, err := s.Range(o(i)); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
	run("key", func(i int) store.RangeOptions { return store.RangeOptions{Key: benchKey(i * 7919 % keys)} })
	run("keys-only", func(i int) store.RangeOptions {
		return store.RangeOptions{Key: benchKey(i * 7919 % keys), KeysOnly: true}
	})
	run("limit=100", func(i int) store.RangeOptions {
		return store.RangeOptions{Key: benchKey(i * 7919 % keys), End: []byte{0}, Limit: 100}
	})
	run("count=100000", func(int) store.RangeOptions {
		return store.RangeOptions{Key: []byte{0}, End: []byte{0}, CountOnly: true}
	})
}

// BenchmarkReopen opens a store of a million keys, and reports what memory it takes.
func BenchmarkReopen(b *testing.B) {
	path := filepath.Join(b.TempDir(), "db")
	s := openBench(b, path)
	stop := runBench(b, s)
	fill(b, s, 1_000_000, 64)
	stop()
	b.ReportMetric(float64(residentBytes(b))/(1<<20), "MiB-resident-after-puts")
	closeBench(b, s)
	runtime.GC()
	for b.Loop() {
		start := time.Now()
		s := openBench(b, path)
		b.ReportMetric(time.Since(start).Seconds(), "s/open")
		b.ReportMetric(float64(s.DBSize())/(1<<20), "MiB-file")
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		b.ReportMetric(float64(m.HeapAlloc)/(1<<20), "MiB-heap")
		b.ReportMetric(float64(residentBytes(b))/(1<<20), "MiB-resident")
		b.ReportMetric(float64(procBytes(b, "RssAnon:"))/(1<<20), "MiB-anonymous")
		closeBench(b, s)
	}
}

func closeBench(b testing.TB, s *store.Store) {
	if err := s.Close(); err != nil {
		b.Error(err)
	}
}

func residentBytes(b *testing.B) int64 { return procBytes(b, "VmRSS:") }

func procBytes(b *testing.B, field string) int64 {
	raw, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Skip("no /proc/self/status")
	}
	for line := range strings.SplitSeq(string(raw), "\n") {
		if f := strings.Fields(line); len(f) == 3 && f[0] == field {
			n, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			return n << 10
		}
	}
	return 0
}

// runBench flushes in the background; the returned function ends that.
func runBench(b *testing.B, s *store.Store) func() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	}
}
