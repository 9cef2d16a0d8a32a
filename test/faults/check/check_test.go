package check

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// verdict wants problems that contain each of the words, or none at all.
func verdict(t *testing.T, what string, problems []string, words ...string) {
	t.Helper()
	text := strings.Join(problems, "\n")
	if len(words) == 0 && text != "" {
		t.Errorf("%s: nothing is wrong, yet:\n%s", what, text)
	}
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("%s: want a problem with %q, got %q", what, w, text)
		}
	}
}

func TestWrites(t *testing.T) {
	with := func(keys ...string) map[string]string {
		m := map[string]string{}
		for _, k := range keys {
			m[k] = "v"
		}
		return m
	}
	writes := func(outcome Outcome, keys ...string) (out []Write) {
		for _, k := range keys {
			out = append(out, Write{DC: "a", Key: k, Value: "v", Policy: "QUORUM", Outcome: outcome})
		}
		return out
	}
	all := map[string]map[string]string{"a": with("1", "2"), "b": with("1", "2"), "c": with("1", "2")}
	hole := map[string]map[string]string{"a": with("1", "2"), "b": with("1"), "c": with("1", "2")}
	verdict(t, "all there", Writes(writes(Acked, "1", "2"), all))
	verdict(t, "a lost write", Writes(writes(Acked, "1", "2"), hole), "2: written in a", "missing in [b]")
	verdict(t, "a lost write that was committed locally", Writes(writes(Committed, "2"), hole), "missing in [b]")
	verdict(t, "lost everywhere", Writes(writes(Acked, "3"), all), "missing in [a b c]")
	verdict(t, "a refused write that is there", Writes(writes(Refused, "2"), all), "refused, and present in [a b c]")
	verdict(t, "refused and absent", Writes(writes(Refused, "3"), all))
	verdict(t, "half of an unknown write", Writes(writes(Unknown, "2"), hole), "missing in [b]")
	verdict(t, "unknown, there or not", Writes(writes(Unknown, "1", "3"), all))
	all["c"]["1"] = "w"
	verdict(t, "another value", Writes(writes(Acked, "1"), all), "another value in c")
	verdict(t, "many", Writes(writes(Acked, strings.Split("abcdefgh", "")...), all), "and 3 more")
}

func TestPromises(t *testing.T) {
	promise := func(policy string, ackedBy string, seen ...Sight) []Promise {
		p := Promise{Write: Write{DC: "a", Key: "k", Policy: policy, Outcome: Acked}, AckedBy: strings.Split(ackedBy, ","), Seen: map[string]Sight{}}
		for i, s := range seen {
			p.Seen[string(rune('a'+i))] = s
		}
		return []Promise{p}
	}
	verdict(t, "ALL", Promises(promise("ALL", "a,b,c", Present, Present, Present), 3))
	verdict(t, "ALL, one is silent", Promises(promise("ALL", "a,b,c", Present, Silent, Present), 3))
	verdict(t, "QUORUM, one is behind", Promises(promise("QUORUM", "a,b", Present, Present, Absent), 3))
	verdict(t, "ALL acknowledged early", Promises(promise("ALL", "a,b,c", Present, Present, Absent), 3), "names c", "1 of 3")
	verdict(t, "QUORUM acknowledged early", Promises(promise("QUORUM", "a,b", Present, Absent, Absent), 3), "names b", "2 of 3")
	verdict(t, "a receipt that names too few", Promises(promise("ANY", "a", Present, Present, Present), 3), "only [a]")
	verdict(t, "an absent name", Promises(promise("ASYNC", "a,c", Present, Present, Absent), 3), "names c")
}

func TestNeeds(t *testing.T) {
	for policy, want := range map[string][]int{"ALL": {1, 2, 3, 4, 5}, "QUORUM": {1, 2, 2, 3, 3}, "ANY": {1, 2, 2, 2, 2}, "ASYNC": {1, 1, 1, 1, 1}} {
		for i, w := range want {
			if got := Needs(policy, i+1); got != w {
				t.Errorf("%s of %d needs %d, want %d", policy, i+1, got, w)
			}
		}
	}
}

func TestRegisters(t *testing.T) {
	op := func(client int, from, to int64, c Call, a Answer) porcupine.Operation {
		c.Key = "r"
		return porcupine.Operation{ClientId: client, Input: c, Output: a, Call: from, Return: to}
	}
	set := func(v string) Call { return Call{Op: Set, Value: v} }
	read := Call{Op: Read}
	swap := func(e, v string) Call { return Call{Op: Swap, Expect: e, Value: v} }
	open := Answer{Open: true}
	judge := func(what string, good bool, ops ...porcupine.Operation) {
		t.Helper()
		html := filepath.Join(t.TempDir(), "history.html")
		problems := Registers(ops, 10*time.Second, html)
		if good {
			verdict(t, what, problems)
			return
		}
		verdict(t, what, problems, "not linearizable")
		if info, err := os.Stat(html); err != nil || info.Size() == 0 {
			t.Errorf("%s: no page that shows it: %v", what, err)
		}
	}
	judge("one after the other", true, op(0, 0, 1, set("x"), Answer{}), op(1, 2, 3, read, Answer{Value: "x"}))
	judge("a stale read", false, op(0, 0, 1, set("x"), Answer{}), op(0, 2, 3, set("y"), Answer{}), op(1, 4, 5, read, Answer{Value: "x"}))
	judge("a lost write", false, op(0, 0, 1, set("x"), Answer{}), op(1, 2, 3, read, Answer{}))
	judge("two swaps of one value", false, op(0, 0, 1, set("x"), Answer{}),
		op(1, 2, 5, swap("x", "y"), Answer{Swapped: true}), op(2, 3, 6, swap("x", "z"), Answer{Swapped: true}))
	judge("a swap that should have worked", false, op(0, 0, 1, set("x"), Answer{}), op(1, 2, 3, swap("x", "y"), Answer{}))
	judge("an open write that shows up later", true, op(0, 0, Never, set("x"), open),
		op(1, 1, 2, read, Answer{}), op(1, 100, 101, read, Answer{Value: "x"}))
	judge("an open write that never shows up", true, op(0, 0, Never, set("x"), open), op(1, 100, 101, read, Answer{}))
	judge("an open write that goes away again", false, op(0, 0, Never, set("x"), open),
		op(1, 1, 2, read, Answer{Value: "x"}), op(1, 3, 4, read, Answer{}))
	judge("an open swap", true, op(0, 0, Never, swap("", "x"), open), op(1, 1, 2, read, Answer{Value: "x"}))
}

// history is n events, one for each revision from 2 on, over few keys, some of them deletions.
func history(n int) (events []Event, data map[string]Version) {
	data = map[string]Version{}
	for i := range n {
		e := Event{Revision: int64(i + 2), Key: fmt.Sprint("k", i%7), Value: uint64(i), Delete: i%5 == 4}
		if _, live := data[e.Key]; e.Delete && !live {
			e.Delete = false
		}
		if e.Delete {
			e.Value = 0
			delete(data, e.Key)
		} else {
			data[e.Key] = Version{e.Revision, e.Value}
		}
		events = append(events, e)
	}
	return events, data
}

func TestWatch(t *testing.T) {
	all, _ := history(50)
	edit := func(f func(e []Event) []Event) []string { return Watch(all, f(slices.Clone(all))) }
	verdict(t, "the same", Watch(all, slices.Clone(all)))
	verdict(t, "a missing event", edit(func(e []Event) []Event { return slices.Delete(e, 10, 11) }), "missed 1 events from put k3 at 12")
	verdict(t, "a missing batch", edit(func(e []Event) []Event { return slices.Delete(e, 10, 15) }), "missed 5 events")
	verdict(t, "a missing end", edit(func(e []Event) []Event { return e[:40] }), "missed the last 10")
	verdict(t, "nothing seen", Watch(all, nil), "missed the last 50")
	verdict(t, "a duplicate", edit(func(e []Event) []Event { return slices.Insert(e, 11, e[10]) }), "twice, or out of order")
	verdict(t, "a repeat after a reconnect", edit(func(e []Event) []Event { return slices.Concat(e[:20], e[15:]) }), "twice, or out of order")
	verdict(t, "reordered", edit(func(e []Event) []Event { e[10], e[11] = e[11], e[10]; return e }), "missed 1", "out of order")
	verdict(t, "an invention", edit(func(e []Event) []Event { return append(e, Event{Revision: 99, Key: "x"}) }), "not in the history")
	verdict(t, "other content", edit(func(e []Event) []Event { e[3].Value++; return e }), "other content")
}

func TestHistory(t *testing.T) {
	all, data := history(50)
	verdict(t, "whole", History(all, 51, data))
	verdict(t, "empty", History(nil, 1, nil))
	verdict(t, "a revision without event", History(slices.Delete(slices.Clone(all), 10, 11), 51, data), "no event from revision 12 to 12")
	verdict(t, "a history that stops early", History(all[:49], 51, data), "ends at revision 50", "k0")
	data["extra"] = Version{Revision: 7}
	verdict(t, "data without event", History(all, 51, data), "extra is in the data")
	delete(data, "extra")
	delete(data, "k1")
	verdict(t, "data that was lost", History(all, 51, data), "k1: the events end with")
}

func TestRevisions(t *testing.T) {
	s := func(node string, start, end, revision int) Sample {
		return Sample{Node: node, Start: time.Duration(start), End: time.Duration(end), Revision: int64(revision)}
	}
	verdict(t, "growing", Revisions([]Sample{s("a", 0, 1, 5), s("b", 2, 3, 5), s("a", 4, 5, 9)}))
	verdict(t, "overlapping reads may cross", Revisions([]Sample{s("a", 0, 5, 9), s("b", 1, 2, 5)}))
	verdict(t, "back on one node", Revisions([]Sample{s("a", 0, 1, 9), s("a", 2, 3, 8)}), "a answered revision 8")
	verdict(t, "back on another node", Revisions([]Sample{s("b", 4, 5, 8), s("a", 0, 1, 9), s("a", 2, 3, 9)}), "b answered revision 8", "a had answered 9")
}

func TestConverged(t *testing.T) {
	at := func(node, digest string, v int64) State {
		return State{Node: node, Vector: map[string]int64{"a": v}, Digest: digest}
	}
	verdict(t, "equal", Converged([]State{at("x", "d", 3), at("y", "d", 3)}))
	verdict(t, "behind", Converged([]State{at("x", "d", 3), at("y", "d", 2)}), "y is at")
	verdict(t, "other data", Converged([]State{at("x", "d", 3), at("y", "e", 3)}), "digests")
	verdict(t, "no digest", Converged([]State{at("x", "", 3)}), "digests")
}

func TestBounds(t *testing.T) {
	used := []Usage{{Node: "a", RSSBytes: 10 << 20, DiskBytes: 20 << 20}}
	verdict(t, "within", Bounds(used, 10<<20, 20<<20))
	verdict(t, "memory", Bounds(used, 9<<20, 20<<20), "a had 10 MiB of memory, may have 9")
	verdict(t, "disk", Bounds(used, 10<<20, 19<<20), "a had 20 MiB on disk, may have 19")
}

func TestSurvivors(t *testing.T) {
	w := func(dc, key, policy string, o Outcome) Write {
		return Write{DC: dc, Key: key, Value: "v", Policy: policy, Outcome: o}
	}
	writes := []Write{w("a", "1", "ASYNC", Acked), w("a", "2", "ANY", Acked), w("a", "3", "ASYNC", Acked), w("b", "4", "ASYNC", Acked), w("a", "5", "ALL", Committed)}
	promises := []Promise{{Write: writes[2], Seen: map[string]Sight{"a": Present, "b": Present}}, {Write: writes[0], Seen: map[string]Sight{"a": Present, "b": Absent}}}
	var got []Outcome
	for _, w := range Survivors(writes, promises, []string{"a"}) {
		got = append(got, w.Outcome)
	}
	if want := []Outcome{Unknown, Acked, Acked, Acked, Unknown}; !slices.Equal(got, want) {
		t.Errorf("outcomes %v, want %v", got, want)
	}
	data := map[string]map[string]string{"b": {"2": "v", "4": "v"}, "c": {"2": "v", "4": "v"}}
	verdict(t, "a lost write that a survivor was seen to have", Writes(Survivors(writes, promises, []string{"a"}), data), "3: written in a")
}

func TestPrefixes(t *testing.T) {
	var writes []Write
	for _, key := range []string{"3", "1", "2"} {
		writes = append(writes, Write{DC: "a", Key: key, Value: "v", Policy: "ASYNC", Outcome: Acked})
	}
	data := func(keys ...string) map[string]map[string]string {
		m := map[string]string{}
		for _, k := range keys {
			m[k] = "v"
		}
		return map[string]map[string]string{"b": m}
	}
	verdict(t, "all", Prefixes(writes, data("1", "2", "3")))
	verdict(t, "the end is missing", Prefixes(writes, data("1")))
	verdict(t, "nothing", Prefixes(writes, data()))
	verdict(t, "a hole", Prefixes(writes, data("1", "3")), "b has 3 and lacks 2")
	writes[2].Outcome = Unknown
	verdict(t, "a hole that nobody was told of", Prefixes(writes, data("1", "3")))
}

func TestCompacted(t *testing.T) {
	verdict(t, "as answered", Compacted(5, 5, 7))
	verdict(t, "an answer was lost", Compacted(7, 5, 7))
	verdict(t, "less than answered", Compacted(4, 5, 7), "up to 4, want at least 5")
	verdict(t, "more than asked", Compacted(8, 5, 7), "at most 7")
}

func TestFlat(t *testing.T) {
	line := func(n int, from, step float64) (out []Point) {
		for i := range n {
			out = append(out, Point{At: time.Duration(i) * time.Second, Value: from + float64(i)*step + float64(i%3)})
		}
		return out
	}
	verdict(t, "flat", Flat("a", line(60, 1000, 0), 0.1, 10))
	verdict(t, "grows a little", Flat("a", line(60, 1000, 1), 0.1, 10))
	verdict(t, "grows", Flat("a", line(60, 1000, 3), 0.1, 10), "a: 60 points, grows by 1")
	verdict(t, "too few points", Flat("a", line(5, 1000, 0), 0.1, 10), "5 points")
	if growth, mean := Trend(line(60, 0, 2)); growth < 117 || growth > 119 || mean < 59 || mean > 61 {
		t.Errorf("growth %g around %g, want about 118 around 60", growth, mean)
	}
}

func TestQuantile(t *testing.T) {
	d := []time.Duration{3, 1, 2}
	if a, b, c := Quantile(d, 0), Quantile(d, 0.5), Quantile(d, 1); a != 1 || b != 2 || c != 3 {
		t.Errorf("%d %d %d, want 1 2 3", a, b, c)
	}
}
