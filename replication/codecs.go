package replication

import (
	"geogate/replication/health"
	"geogate/replication/wire"
)

// codecs is what a peer has said that it takes. Everyone takes s2, a frame in a shipment of its own, and signatures.
type codecs struct {
	said bool
	wire.Reader
}

func (c codecs) label() string {
	switch {
	case !c.said:
		return ""
	case c.Zstd:
		return wire.Codec_CODEC_ZSTD.Label()
	default:
		return wire.Codec_CODEC_S2.Label()
	}
}

// own is what this DC takes, and makes.
func (e *Engine) own() wire.Reader {
	return wire.Reader{Zstd: !e.cfg.WithoutZstd, Bundles: !e.cfg.WithoutZstd && !e.cfg.withoutBundles, MACs: !e.cfg.withoutMACs}
}

// codecs is what this node says to others.
func (e *Engine) codecs() []wire.Codec {
	if e.cfg.WithoutZstd {
		return nil
	}
	return []wire.Codec{wire.Codec_CODEC_ZSTD}
}

// noteCodecs takes what a peer says in a handshake. Its nodes need not be of one build, so the last one that asks counts.
func (l *lead) noteCodecs(p *peer, req *wire.SyncRequest) {
	now := codecs{said: true, Reader: wire.Reader{Zstd: wire.Takes(req.Codecs), Bundles: req.TakesMoreFrames, MACs: req.TakesMacs}}
	p.mu.Lock()
	before := p.takes
	p.takes = now
	p.mu.Unlock()
	if all := (wire.Reader{Zstd: true, Bundles: true, MACs: true}); before == now || !before.said && now.Reads(all) {
		return
	}
	l.cfg.Logger.Info("what a peer takes", "peer", p.name, "codec_before", before.label(), "codec", now.label(),
		"several_frames", now.Bundles, "macs", now.MACs)
}

// takes is how frames for this peer alone may go.
func (l *lead) takes(p *peer) wire.Reader {
	p.mu.Lock()
	defer p.mu.Unlock()
	return l.own().And(p.takes.Reader)
}

// common is how frames for all may go, and names a peer, or this DC, because of which they go under s2. A peer that is down
// and has said nothing to this leader does not count: when it comes back and takes less, the stream is made anew.
func (l *lead) common() (by wire.Reader, because string) {
	by = l.own()
	for _, name := range l.data {
		p := l.peers[name]
		p.mu.Lock()
		takes, down := p.takes, p.machine.State == health.Down
		p.mu.Unlock()
		if !takes.said && down {
			continue
		}
		if !takes.Zstd && because == "" {
			because = name
		}
		by = by.And(takes.Reader)
	}
	if l.cfg.WithoutZstd {
		because = l.cfg.Local
	}
	return by, because
}

// packsFor is how the next live frames go. Who has heard that they go under zstd must pack them so before anyone can learn that
// there are no such frames in the stream: unreadableFor comes either before, and then what it knew of its peer counts here, or
// behind.
func (g *generation) packsFor() wire.Reader {
	g.mu.Lock()
	defer g.mu.Unlock()
	by, because := g.common()
	codec := wire.Codec_CODEC_ZSTD
	if !by.Zstd {
		codec = wire.Codec_CODEC_S2
	}
	if g.said != codec.Label() {
		g.said = codec.Label()
		g.cfg.Logger.Info("codec of the frames for all peers", "codec", g.said, "zstd_not_taken_by", because)
	}
	g.needs = g.needs.Or(by)
	return by
}

// unreadableFor says whether the stream may have frames that a peer, whose codecs have been noted, can't read.
func (g *generation) unreadableFor(p *peer) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return !g.takes(p).Reads(g.needs)
}
