package dc

import (
	"context"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"geogate/dc/store"
)

// firstPageKeys is the size of a stream's first page, as in etcd: the client has something to do at once.
const firstPageKeys = 10

// RangeStream answers a range page by page, all at the revision at which it began; send is called for each
// page in order. Pages double from ten keys on and hold about pageBytes at most. The last one alone has
// header, count and more. Sorting and filters are not looked at. When the history at that revision goes
// before the end, the error is [store.ErrCompacted] and what was sent is not all.
func (d *DC) RangeStream(ctx context.Context, r *pb.RangeRequest, pageBytes int, send func(*pb.RangeResponse) error) error {
	return streamRange(ctx, d.store, r, pageBytes, send)
}

func streamRange(ctx context.Context, v view, r *pb.RangeRequest, pageBytes int, send func(*pb.RangeResponse) error) error {
	if r.CountOnly {
		resp, err := rangeOver(v, r)
		if err != nil {
			return err
		}
		return send(resp)
	}
	p := pages{view: v, request: r, keys: firstPageKeys, page: store.RangeOptions{
		Key: r.Key, End: r.RangeEnd, Revision: max(r.Revision, 0), KeysOnly: r.KeysOnly, Page: true, MaxBytes: pageBytes,
	}}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		resp, err := p.next()
		if err != nil {
			return err
		}
		if err := send(resp); err != nil || resp.Header != nil {
			return err
		}
	}
}

// pages cuts a range into pages.
type pages struct {
	view     view
	request  *pb.RangeRequest
	page     store.RangeOptions // of the next page
	keys     int64              // most keys in it
	revision int64              // of the header; 0 until the first page is read
	sent     int64
}

// next is the next page; the last one has a header.
func (p *pages) next() (*pb.RangeResponse, error) {
	p.page.Limit = p.keys
	limit := p.request.Limit
	if limit > 0 {
		p.page.Limit = min(p.keys, limit-p.sent)
	}
	res, err := p.view.Range(p.page)
	if err != nil {
		return nil, err
	}
	if p.revision == 0 {
		p.revision = res.Revision
		if p.page.Revision == 0 {
			p.page.Revision = res.Revision
		}
	}
	p.sent += int64(len(res.KVs))
	p.keys = min(2*p.keys, maxPageKeys)
	if p.request.KeysOnly {
		withoutValues(res.KVs)
	}
	resp := &pb.RangeResponse{Kvs: res.KVs}
	if res.More {
		last := res.KVs[len(res.KVs)-1].Key
		p.page.Key = append(append(make([]byte, 0, len(last)+1), last...), 0)
	}
	if res.More && (limit <= 0 || p.sent < limit) {
		return resp, nil
	}
	resp.Header = &pb.ResponseHeader{Revision: p.revision}
	resp.Count, resp.More = p.sent, res.More
	if !res.More {
		return resp, nil
	}
	rest, err := p.view.Range(store.RangeOptions{Key: p.page.Key, End: p.page.End, Revision: p.page.Revision, CountOnly: true})
	if err != nil {
		return nil, fmt.Errorf("count the rest: %w", err)
	}
	resp.Count += rest.Count
	return resp, nil
}

// maxPageKeys bounds a page of keys that are very small.
const maxPageKeys = 1 << 16
