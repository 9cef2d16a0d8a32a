package replication

import (
	"geogate/replication/health"
	"geogate/replication/wire"
)

// codecs is what a peer has said that it takes. Everyone takes s2.
type codecs struct{ said, zstd bool }

func (c codecs) label() string {
	switch {
	case !c.said:
		return ""
	case c.zstd:
		return wire.Codec_CODEC_ZSTD.Label()
	default:
		return wire.Codec_CODEC_S2.Label()
	}
}

// codecs is what this node says to others.
func (e *Engine) codecs() []wire.Codec {
	if e.cfg.WithoutZstd {
		return nil
	}
	return []wire.Codec{wire.Codec_CODEC_ZSTD}
}

// noteCodecs takes what a peer says in a handshake. Its nodes need not be of one build, so the last one that asks counts.
func (l *lead) noteCodecs(p *peer, said []wire.Codec) {
	now := codecs{said: true, zstd: wire.Takes(said)}
	p.mu.Lock()
	before := p.takes
	p.takes = now
	p.mu.Unlock()
	if before == now || !before.said && now.zstd {
		return
	}
	l.cfg.Logger.Info("codec that a peer takes", "peer", p.name, "from", before.label(), "to", now.label())
}

// takesZstd says whether frames for this peer alone go under zstd.
func (l *lead) takesZstd(p *peer) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.takes.zstd && !l.cfg.WithoutZstd
}

// withoutZstd names a peer because of which frames for all go under s2; empty when there is none. One that is down and has
// said nothing to this leader is no reason: when it comes back and does not take zstd, the stream is made anew.
func (l *lead) withoutZstd() string {
	if l.cfg.WithoutZstd {
		return l.cfg.Local
	}
	for _, name := range l.data {
		p := l.peers[name]
		p.mu.Lock()
		takes, down := p.takes, p.machine.State == health.Down
		p.mu.Unlock()
		if takes.said && !takes.zstd || !takes.said && !down {
			return name
		}
	}
	return ""
}

// packsZstd says whether the next live frame goes under zstd. Who has heard yes must pack it so before anyone can learn that
// there is no such frame in the stream: unreadableFor comes either before, and then what it knew of its peer counts here, or
// behind.
func (g *generation) packsZstd() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	because := g.withoutZstd()
	codec := wire.Codec_CODEC_ZSTD
	if because != "" {
		codec = wire.Codec_CODEC_S2
	}
	if g.said != codec.Label() {
		g.said = codec.Label()
		g.cfg.Logger.Info("codec of the frames for all peers", "codec", g.said, "zstd_not_taken_by", because)
	}
	g.zstd = g.zstd || because == ""
	return because == ""
}

// unreadableFor says whether the stream may have frames that a peer, whose codecs have been noted, can't read.
func (g *generation) unreadableFor(p *peer) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.zstd && !g.takesZstd(p)
}
