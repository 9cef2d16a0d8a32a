package wire

import (
	"bytes"
	"errors"
	"testing"

	"geogate/replication/event"
)

var bundles = Reader{Zstd: true, Bundles: true}

// packBundles packs a chain, of which each call finds so many frames, and gives the shipments and how many frames each has.
func packBundles(t testing.TB, signer *Signer, frames []event.Sealed, limits Limits, found int, by Reader) (wholes [][]byte, packed []Packed) {
	t.Helper()
	limits.Part = 1 << 20
	p := NewPacker(signer, nil, limits)
	for len(frames) > 0 {
		out, err := p.Pack(frames[:min(found, len(frames))], by)
		if err == nil {
			err = p.Learn(frames[:out.Frames])
		}
		if err != nil {
			t.Fatal(err)
		}
		a := Assembler{MaxBytes: maxFrame}
		whole, head, err := a.Add(out.Parts[0])
		if err != nil || whole == nil || head.PrevRevision != frames[0].PrevRevision || head.LastRevision != frames[out.Frames-1].Last {
			t.Fatalf("%d parts, %v, of %d frames behind %d", len(out.Parts), err, out.Frames, frames[0].PrevRevision)
		}
		wholes, packed, frames = append(wholes, whole), append(packed, out), frames[out.Frames:]
	}
	return wholes, packed
}

// TestBundles reads shipments of several frames from the beginning of each run on, and gets the frames as they were sealed.
func TestBundles(t *testing.T) {
	signer, verifier := keyOf(t, 1)
	for name, frames := range map[string][]event.Sealed{
		"records": chainOf(t, 300, 3, record), "noise": chainOf(t, 300, 3, random256), "large": chainOf(t, 12, 300, record),
	} {
		for _, found := range []int{1, 2, 7, 300} {
			wholes, packed := packBundles(t, signer, frames, Limits{Run: 32 << 10, Bundle: 16 << 10}, found, bundles)
			began, shared := 0, 0
			for start := range wholes {
				if !packed[start].Begins {
					continue
				}
				began++
				u, at := NewUnpacker(verifier, "fra", maxFrame, bundles), 0
				for i := range packed[:start] {
					at += packed[i].Frames
				}
				for i := start; i < len(wholes); i++ {
					got, err := u.Unpack(wholes[i])
					if err != nil || len(got) != packed[i].Frames {
						t.Fatalf("%s, %d found: shipment %d, begun at %d: %d of %d frames, %v", name, found, i, start, len(got), packed[i].Frames, err)
					}
					shared = max(shared, len(got))
					for j := range got {
						if want := frames[at]; got[j].Hash != want.Hash || !bytes.Equal(got[j].Bytes, want.Bytes) || got[j].Last != want.Last {
							t.Fatalf("%s, %d found: frame %d is another one", name, found, at)
						}
						at++
					}
				}
			}
			if began < 2 || (shared > 1) != (found > 1 && name != "large") {
				t.Errorf("%s, %d found: %d runs, up to %d frames in a shipment", name, found, began, shared)
			}
		}
	}
}

// TestBundlesAreBounded: what is larger than a bundle goes alone, and who does not take bundles, or zstd, gets none.
func TestBundlesAreBounded(t *testing.T) {
	signer, _ := keyOf(t, 1)
	frames := chainOf(t, 40, 3, record)
	size := len(frames[0].Bytes)
	for _, c := range []struct {
		bytes, want int
		by          Reader
	}{
		{100 * size, 40, bundles},
		{size*5 + size/2, 5, bundles},
		{size, 1, bundles},
		{1, 1, bundles},
		{100 * size, 1, Reader{Zstd: true}},
		{100 * size, 1, Reader{Bundles: true}},
		{100 * size, 1, Reader{}},
	} {
		_, packed := packBundles(t, signer, frames, Limits{Run: 1 << 20, Bundle: c.bytes}, len(frames), c.by)
		if packed[0].Frames != c.want {
			t.Errorf("%d frames in %d bytes for %+v, want %d", packed[0].Frames, c.bytes, c.by, c.want)
		}
	}
}

// TestBundleOfStrangers: frames that do not continue each other do not share a shipment, which could not give them back.
func TestBundleOfStrangers(t *testing.T) {
	signer, _ := keyOf(t, 1)
	frames := chainOf(t, 3, 1, record)
	frames = []event.Sealed{frames[0], frames[2]}
	out, err := NewPacker(signer, nil, Limits{Part: 1 << 20, Run: 1 << 20, Bundle: 1 << 20}).Pack(frames, bundles)
	if err != nil || out.Frames != 1 {
		t.Errorf("%d frames, %v", out.Frames, err)
	}
}

// TestBundleThatLies: nothing comes out of a signed shipment but the frames that were packed.
func TestBundleThatLies(t *testing.T) {
	signer, verifier := keyOf(t, 1)
	frames := chainOf(t, 3, 2, random256)
	b := (&Packer{limits: Limits{Bundle: 1 << 20}}).gather(frames, bundles)
	honest := b.plain()
	for name, change := range map[string]func(s *Shipment){
		"":                       func(*Shipment) {},
		"a byte of one in other": func(s *Shipment) { s.MoreFrames = []uint32{s.MoreFrames[0] - 1, s.MoreFrames[1] + 1} },
		"one behind the end":     func(s *Shipment) { s.MoreFrames = []uint32{s.MoreFrames[0], 1 << 30} },
		"all behind the first":   func(s *Shipment) { s.MoreFrames = []uint32{uint32(len(s.Data))} },
		"sizes that wrap":        func(s *Shipment) { s.MoreFrames = []uint32{1<<32 - 1, 1<<32 - 1, 1<<32 - 1} },
		"an empty one":           func(s *Shipment) { s.MoreFrames = append(s.MoreFrames, 0) },
		"two as one":             func(s *Shipment) { s.MoreFrames = []uint32{s.MoreFrames[0] + s.MoreFrames[1]} },
		"no hash":                func(s *Shipment) { s.FrameHash = 0 },
		"the first one's hash":   func(s *Shipment) { s.FrameHash = hashHead(frames[0].Hash) },
		"no prev_hash at all":    func(s *Shipment) { s.WithoutPrevHash = true },
	} {
		s := &Shipment{RawBytes: honest.RawBytes, Data: honest.Data, FrameHash: honest.FrameHash, MoreFrames: honest.MoreFrames}
		change(s)
		whole, err := signer.Seal(Kind_KIND_SHIPMENT, s)
		if err != nil {
			t.Fatal(err)
		}
		got, err := NewUnpacker(verifier, "fra", maxFrame, bundles).Unpack(whole)
		switch {
		case name == "" && (err != nil || len(got) != 3):
			t.Errorf("the honest one: %d frames, %v", len(got), err)
		case name != "" && !errors.Is(err, ErrMessage) && !errors.Is(err, event.ErrFrame):
			t.Errorf("%s: %d frames, %v", name, len(got), err)
		}
		if _, err := NewUnpacker(verifier, "nyc", maxFrame, bundles).Unpack(whole); err == nil {
			t.Errorf("%q: taken for one of nyc", name)
		}
	}
}
