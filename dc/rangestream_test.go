package dc

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/dc/store"
)

// stream collects the pages of a range. between is called after each page.
func (r *replica) stream(req *pb.RangeRequest, pageBytes int, between func(n int)) (pages []*pb.RangeResponse, err error) {
	r.t.Helper()
	err = r.RangeStream(testContext(r.t), req, pageBytes, func(p *pb.RangeResponse) error {
		pages = append(pages, p)
		if between != nil {
			between(len(pages))
		}
		return nil
	})
	return pages, err
}

func sizes(pages []*pb.RangeResponse) (out []int) {
	for _, p := range pages {
		out = append(out, len(p.Kvs))
	}
	return out
}

// A stream gives, in pages, exactly what a range gives, whatever of it is on disk.
func TestStreamIsARangeInPages(t *testing.T) {
	r := newReplica(t, "a")
	for i := range 300 {
		r.put(fmt.Sprintf("k%03d", i), strings.Repeat("v", i%7))
		if i == 200 {
			if err := r.store.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	r.del("k150")
	for name, req := range map[string]*pb.RangeRequest{
		"all":               {Key: []byte("k"), RangeEnd: []byte("l")},
		"from key":          {Key: []byte("k100"), RangeEnd: []byte{0}},
		"everything":        {Key: []byte{0}, RangeEnd: []byte{0}},
		"one key":           {Key: []byte("k007")},
		"no key":            {Key: []byte("absent")},
		"nothing in range":  {Key: []byte("x"), RangeEnd: []byte("y")},
		"inverted":          {Key: []byte("l"), RangeEnd: []byte("k")},
		"in the past":       {Key: []byte("k"), RangeEnd: []byte("l"), Revision: 120},
		"limit in page 1":   {Key: []byte("k"), RangeEnd: []byte("l"), Limit: 3},
		"limit is page 1":   {Key: []byte("k"), RangeEnd: []byte("l"), Limit: 10},
		"limit in page 3":   {Key: []byte("k"), RangeEnd: []byte("l"), Limit: 55},
		"limit is all":      {Key: []byte("k"), RangeEnd: []byte("l"), Limit: 299},
		"limit beyond":      {Key: []byte("k"), RangeEnd: []byte("l"), Limit: 1000},
		"keys only":         {Key: []byte("k"), RangeEnd: []byte("l"), KeysOnly: true},
		"count only":        {Key: []byte("k"), RangeEnd: []byte("l"), CountOnly: true},
		"limited and small": {Key: []byte("k"), RangeEnd: []byte("k005"), Limit: 5},
	} {
		want, err := rangeOver(r.store, req)
		if err != nil {
			t.Fatal(err)
		}
		for _, pageBytes := range []int{1, 500, 1 << 20} {
			pages, err := r.stream(req, pageBytes, nil)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			got := pages[len(pages)-1]
			last := proto.Clone(got).(*pb.RangeResponse)
			last.Kvs = nil
			for i, p := range pages {
				last.Kvs = append(last.Kvs, p.Kvs...)
				if i < len(pages)-1 && (p.Header != nil || p.Count != 0 || p.More) {
					t.Errorf("%s: page %d of %d has a header, a count or more", name, i, len(pages))
				}
			}
			if !proto.Equal(last, want) {
				t.Errorf("%s in pages of %d bytes: %d keys, count %d, more %v, revision %d; Range gives %d, %d, %v, %d", name, pageBytes,
					len(last.Kvs), last.Count, last.More, last.GetHeader().GetRevision(), len(want.Kvs), want.Count, want.More, want.Header.Revision)
			}
		}
	}
}

func TestPagesGrowAndAreBoundedInBytes(t *testing.T) {
	r := newReplica(t, "a")
	for i := range 100 {
		r.put(fmt.Sprintf("small%03d", i), "v")
	}
	for i := range 20 {
		r.put(fmt.Sprintf("tall%03d", i), strings.Repeat("v", 1000))
	}
	for _, flushed := range []bool{false, true} {
		if flushed {
			if err := r.store.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		pages, err := r.stream(&pb.RangeRequest{Key: []byte("s"), RangeEnd: []byte("t")}, 1<<20, nil)
		if want := []int{10, 20, 40, 30}; err != nil || !slices.Equal(sizes(pages), want) {
			t.Errorf("flushed %v: pages of %v keys (%v), want %v", flushed, sizes(pages), err, want)
		}
		pages, err = r.stream(&pb.RangeRequest{Key: []byte("s"), RangeEnd: []byte("u")}, 5000, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range pages {
			if n := proto.Size(p); n > 5000+1100 {
				t.Errorf("flushed %v: page %d of %v has %d bytes", flushed, i, sizes(pages), n)
			}
		}
	}
}

// What is written while a stream runs is not in it.
func TestStreamStaysAtItsRevision(t *testing.T) {
	r := newReplica(t, "a")
	for i := range 50 {
		r.put(fmt.Sprintf("k%02d", i), "old")
	}
	at := r.store.Revision()
	pages, err := r.stream(&pb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l")}, 1<<20, func(n int) {
		r.put(fmt.Sprintf("k%02d", 48-n), "new")
		r.put(fmt.Sprintf("k49+%d", n), "new")
		r.del(fmt.Sprintf("k%02d", 40+n))
	})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, p := range pages {
		for _, kv := range p.Kvs {
			if n++; string(kv.Value) != "old" || kv.ModRevision > at {
				t.Errorf("%s=%s of revision %d in a stream at %d", kv.Key, kv.Value, kv.ModRevision, at)
			}
		}
	}
	if last := pages[len(pages)-1]; n != 50 || last.Count != 50 || last.Header.Revision != at {
		t.Errorf("%d keys, count %d at %d", n, last.Count, last.Header.Revision)
	}
}

func TestStreamThatLosesItsRevisionSaysSo(t *testing.T) {
	r := newReplica(t, "a")
	for i := range 50 {
		r.put(fmt.Sprintf("k%02d", i), "old")
	}
	pages, err := r.stream(&pb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l")}, 1<<20, func(n int) {
		if n == 1 {
			r.put("k00", "new")
			r.do(kindCompact, &pb.CompactionRequest{Revision: r.store.Revision()})
		}
	})
	if !errors.Is(err, store.ErrCompacted) || len(pages) != 1 || pages[0].Header != nil {
		t.Errorf("%d pages, %v", len(pages), err)
	}
	if _, err := r.stream(&pb.RangeRequest{Key: []byte("k"), Revision: 1000}, 1<<20, nil); !errors.Is(err, store.ErrFutureRev) {
		t.Errorf("of the future: %v", err)
	}
}
