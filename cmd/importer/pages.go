package importer

import (
	"context"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// pages reads all keys with a prefix in key order, at one revision.
type pages struct {
	client   *clientv3.Client
	next     string // the first key of the next page
	end      string
	limit    int
	revision int64 // 0 until the first page was read, unless it was asked for
	total    int64 // keys in all; known with the first page

	held []*mvccpb.KeyValue
	last bool // there is no page behind what is held
}

func newPages(client *clientv3.Client, prefix string, revision int64, limit int) *pages {
	start, end := span(prefix)
	return &pages{client: client, next: start, end: end, limit: limit, revision: revision}
}

// peek is the next key, nil behind the last one.
func (p *pages) peek(ctx context.Context) (*mvccpb.KeyValue, error) {
	for len(p.held) == 0 {
		if p.last {
			return nil, nil
		}
		resp, err := p.client.Get(ctx, p.next, clientv3.WithRange(p.end), clientv3.WithRev(p.revision), clientv3.WithLimit(int64(p.limit)))
		if err != nil {
			return nil, err
		}
		if p.total == 0 {
			p.total = resp.Count
		}
		if p.revision == 0 {
			p.revision = resp.Header.Revision
		}
		p.held, p.last = resp.Kvs, !resp.More
		if n := len(p.held); n > 0 {
			p.next = string(p.held[n-1].Key) + "\x00"
		}
	}
	return p.held[0], nil
}

func (p *pages) skip() { p.held = p.held[1:] }
