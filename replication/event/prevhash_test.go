package event

import "testing"

func TestPrevHashTakenOutAndPutBack(t *testing.T) {
	for name, f := range goldens() {
		s := mustSeal(t, f)
		without, ok := AppendWithoutPrevHash(nil, s.Bytes)
		if f.PrevHash == (Hash{}) {
			if ok || without != nil {
				t.Errorf("%s: taken out of a frame that has none", name)
			}
			continue
		}
		if !ok || len(without) != len(s.Bytes)-34 {
			t.Errorf("%s: %d of %d bytes are left", name, len(without), len(s.Bytes))
		}
		if again := WithPrevHash(without, f.PrevHash); HashOf(again) != s.Hash {
			t.Errorf("%s: put back, it is another frame", name)
		}
		if other := WithPrevHash(without, HashOf(nil)); HashOf(other) == s.Hash {
			t.Errorf("%s: with another hash it is the same frame", name)
		}
		for n := range s.Bytes {
			AppendWithoutPrevHash(nil, s.Bytes[:n]) // must not panic
			WithPrevHash(s.Bytes[:n], s.Hash)
		}
	}
}
