//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var planted = flag.Bool("planted", false, "build geogate with bugs, and want each to be found; takes minutes")

// plants are bugs, each one line of geogate that is replaced, and a check that has to fail because of it.
var plants = []struct{ name, file, line, instead, fails, row string }{
	{
		"acknowledges before the peers have committed", "replication/engine.go",
		"ackedBy, err = l.tracker.Wait(ctx, revision, p)",
		"ackedBy = []string{e.cfg.Local}; for _, peer := range e.cfg.Peers { ackedBy = append(ackedBy, peer.Name) }",
		"where writes under ALL were", "",
	},
	{
		"answers reads from what one node has applied", "dc/read.go",
		"index, err := d.node.ReadIndex(ctx)",
		"index, err := uint64(0), error(nil)",
		"registers of us-east", "",
	},
	{
		"answers reads from what one node has applied, as revisions show", "dc/read.go",
		"index, err := d.node.ReadIndex(ctx)",
		"index, err := uint64(0), error(nil)",
		"revisions of us-east", "",
	},
	{
		"leaves out a part of a peer's frame", "dc/merge.go",
		"head, known := b.Head(op.Key)",
		"if len(op.Value)%97 == 5 { return false, nil }; head, known := b.Head(op.Key)",
		"writes under ASYNC", "",
	},
	{
		"has other data than its peers at the same vector", "dc/merge.go",
		"head, known := b.Head(op.Key)",
		"if len(op.Value)%97 == 5 { return false, nil }; head, known := b.Head(op.Key)",
		"convergence", "",
	},
	{
		"loses an event of a watch that is behind", "dc/store/watch.go",
		"if len(out.Events) > 0 {",
		"if n := len(out.Events); n > 20 { out.Events = out.Events[:n-1] }; if len(out.Events) > 0 {",
		"history of us-east", "",
	},
	{
		"skips a whole frame of a peer now and then", "dc/remote.go",
		"conflicts, err := merge(a.batch, f, a.dc.cfg.maxRequests())",
		"if f.PrevRevision%13 == 5 { f.Txns = nil }; conflicts, err := merge(a.batch, f, a.dc.cfg.maxRequests())",
		"writes under ASYNC", "cut-link",
	},
	{
		"does not keep every watermark with its effects", "dc/apply.go",
		"a.batch.SetMeta(metaPosition+p.Origin, encodePosition(p))",
		"if !known || p.Revision%7 == 3 { a.batch.SetMeta(metaPosition+p.Origin, encodePosition(p)) }",
		"convergence", "kill-dc",
	},
	{
		"forgets when a key was deleted", "dc/merge.go",
		"wins := !known ||",
		"wins := !known || !head.Live ||",
		"convergence", "cut-link",
	},
	{
		"serves as a home when its lease is over", "replication/registrar/standing.go",
		"if ok && now < until {",
		"if ok {",
		"the old home stops first", "home-alone-fast",
	},
	{
		"answers reads with what only the home has", "gateway/secure.go",
		"if k.secured.revision.Load() >= latest {",
		"if latest >= 0 {",
		"registers of the keyspace", "home-alone",
	},
	{
		"confirms what comes after its promise", "replication/homes/acceptor.go",
		"s.Frozen = watermark(marks, s.Decided.Home)",
		"s.Frozen = 1 << 60",
		"writes under QUORUM", "home-half-cut",
	},
	{
		"chooses a cut that is too low", "replication/homes/step.go",
		"cut = max(cut, p.reply.Watermark)",
		"cut = max(cut, p.reply.Watermark-50)",
		"writes under QUORUM", "home-dies",
	},
}

// plantedRows are rows that must fail: what they break is in their settings.
var plantedRows = map[string]string{"home-alone-drift": "registers of the keyspace"}

// TestPlantedRowsFail is the same without another program.
func TestPlantedRowsFail(t *testing.T) {
	if !*planted {
		t.Skip("asked for with -planted only: takes minutes")
	}
	available(t)
	for _, r := range rows() {
		if !r.planted {
			continue
		}
		t.Run(r.name, func(t *testing.T) {
			cfg := defaults()
			cfg.Seed, cfg.Rows, cfg.Out = 7, []string{r.name}, t.TempDir()
			var out printed
			if err := run(t.Context(), cfg, &out); !errors.Is(err, errFailed) || !strings.Contains(out.String(), "FAIL: "+plantedRows[r.name]) {
				t.Errorf("%q did not fail: %v\n%s", plantedRows[r.name], err, out.String())
			}
		})
	}
}

// TestPlantedBugsAreFound is the proof that the bench as a whole finds something: the checks have tests of
// their own, with recordings that are made up.
func TestPlantedBugsAreFound(t *testing.T) {
	if !*planted {
		t.Skip("asked for with -planted only: takes minutes")
	}
	available(t)
	outputs := map[string]string{} // by what is built instead
	for _, p := range plants {
		t.Run(p.name, func(t *testing.T) {
			out, done := outputs[p.instead]
			if !done {
				out = runPlanted(t, p.file, p.line, p.instead, p.row)
				outputs[p.instead] = out
			}
			if !strings.Contains(out, "FAIL: "+p.fails) {
				t.Errorf("%q did not fail:\n%s", p.fails, out)
			}
		})
	}
}

// runPlanted runs the bench on a geogate in which a line is replaced.
func runPlanted(t *testing.T, file, line, instead, row string) string {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(root(), file)
	source, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Count(source, []byte(line)) != 1 {
		t.Fatalf("%s does not have the line %q once: choose another", file, line)
	}
	changed := filepath.Join(dir, "changed.go")
	if err := os.WriteFile(changed, bytes.Replace(source, []byte(line), []byte(instead), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{path: changed}})
	if err != nil {
		t.Fatal(err)
	}
	overlayFile, bin := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "geogate")
	if err := os.WriteFile(overlayFile, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	if text, err := exec.Command("go", "build", "-C", root(), "-tags", "faults", "-overlay", overlayFile, "-o", bin, "./cmd/geogate").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	cfg := defaults()
	cfg.Seconds, cfg.Seed, cfg.Geogate, cfg.Out = 15, 7, bin, dir
	cfg.Converge, cfg.Recover = cfg.Converge/4, cfg.Recover/3 // some of these never do
	if row != "" {
		cfg.Rows = []string{row}
	}
	var out printed
	if err := run(t.Context(), cfg, &out); !errors.Is(err, errFailed) {
		t.Errorf("the run ended with %v, want failed checks", err)
	}
	return out.String()
}
