package drill

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// sample is a report with everything on it: a datacenter that was down, pauses, losses, a skipped step.
func sample(passed bool) *Report {
	rto, detect, lost := 0.35, 3.1, 0
	r := &Report{
		ID: "20260102T030405-lose-dc-abcd", Scenario: "lose-dc", Description: "The last datacenter loses power.", Cluster: "dev",
		Datacenters: []string{"us-east", "eu-west", "ap-south"}, Mode: "multi-writer", Load: defaults().Load, Passed: passed, Verified: passed,
		Started: t0, Ended: t0.Add(20 * time.Second), Detect: &detect, RTO: &rto, WritePause: 0.4, ErrorWindow: 0.1, StaleRead: 5, Acknowledged: 2000, Failed: 9,
		AcknowledgedLost: &lost,
	}
	for i := range 40 {
		for d, dc := range r.Datacenters {
			p := Point{At: float64(i) / 2, DC: dc, Acknowledged: 20 + d, Stale: new(float64)}
			p.P50, p.Max = millis(70*time.Millisecond), millis(time.Duration(90+20*math.Sin(float64(i)))*time.Millisecond)
			if d == 2 && i > 8 && i < 25 {
				p = Point{At: p.At, DC: dc, Failed: 1}
			}
			r.Timeline = append(r.Timeline, p)
		}
	}
	for i, name := range []string{"wait 2s", "kill ap-south", "wait for detected", "wait 2s", "start ap-south", "wait for healthy"} {
		r.Steps = append(r.Steps, StepResult{Name: name, Started: t0, At: float64(i * 3), Seconds: 3, Outcome: outcomeOK})
		r.Endpoints = append(r.Endpoints, Endpoint{DC: "us-east", Acknowledged: 700, WritePause: 0.4})
		r.Events = append(r.Events, Event{float64(i), "to us-east, ap-south is suspected (no heartbeat for 1s)"})
	}
	if !passed {
		lost = 1
		r.LostKeys = []string{"/geogate.drill/20260102T030405-lose-dc-abcd/w/us-east/00/00000001"}
		r.Problems = []string{"acknowledged_lost is 1, and the objective is at most 0", `step "wait for <b>healthy</b>": not healthy within 1m0s`}
		r.Steps[5].Outcome = "not healthy within 1m0s: to us-east, ap-south is suspected: averyveryverylongwordwithoutanyplacetobreakitatall"
	}
	limit := 3 * time.Second
	r.Objectives = (&Objectives{WritePause: &limit, RTO: &limit}).judge(r)
	return r
}

func pageOf(t *testing.T, r *Report) string {
	t.Helper()
	var b bytes.Buffer
	if err := r.WriteHTML(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestPageIsSelfContained(t *testing.T) {
	for _, r := range []*Report{sample(true), sample(false), {Scenario: "nothing", Datacenters: []string{"a"}}} {
		text := pageOf(t, r)
		if found := regexp.MustCompile(`(?i)<script|(src|href)="[^"]|@import|url\(`).FindAllString(strings.Replace(text, `<link rel="icon" href="data:,">`, "", 1), -1); found != nil {
			t.Errorf("the page has %q", found)
		}
		if strings.Contains(text, "<b>healthy") {
			t.Error("text of the report is not escaped")
		}
	}
}

// seen is what the harness measures of a page at one width.
type seen struct {
	Page      string   `json:"page"`
	Width     int      `json:"width"`
	Scroll    int      `json:"scroll"` // width that the page takes
	Verdict   string   `json:"verdict"`
	Charts    int      `json:"charts"` // that are visible and as wide as they should be
	Lines     int      `json:"lines"`  // of the charts, with a colour and a size
	Small     float64  `json:"small"`  // the smallest letters, in pixels as shown
	Resources []string `json:"resources"`
}

const harness = `<!DOCTYPE html><title>x</title><pre id="result"></pre><script>
const out = []; let left = 0;
for (const page of PAGES) for (const width of [360, 900]) {
  left++;
  const f = document.createElement("iframe");
  f.style = "border:0;height:3000px;width:" + width + "px"; f.src = page;
  f.onload = () => {
    const d = f.contentDocument, w = f.contentWindow;
    const charts = [...d.querySelectorAll("figure svg")].filter(s => { const b = s.getBoundingClientRect(); return b.width > width / 2 && b.right <= width && b.height > 100; });
    const lines = charts.flatMap(s => [...s.querySelectorAll("path[class^=c]")]).filter(p => w.getComputedStyle(p).stroke.startsWith("rgb") && p.getBoundingClientRect().width > 0);
    let small = 99;
    for (const s of charts) for (const t of s.querySelectorAll("text")) small = Math.min(small, parseFloat(w.getComputedStyle(t).fontSize) * s.getBoundingClientRect().width / s.viewBox.baseVal.width);
    out.push({page, width, scroll: d.documentElement.scrollWidth, verdict: d.getElementById("verdict")?.innerText || "", charts: charts.length, lines: lines.length, small,
      resources: w.performance.getEntriesByType("resource").map(e => e.name)});
    if (--left == 0) document.getElementById("result").textContent = JSON.stringify(out);
  };
  document.body.append(f);
}
</script>`

// chromium is a browser, or skips the test; in CI there must be one.
func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome-headless-shell"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("CI") != "" {
		t.Fatal("no Chromium: install it, such as with `apt-get install chromium`")
	}
	t.Skip("SKIPPED: the page was not looked at in a browser; install one, such as with `apt-get install chromium`")
	return ""
}

// browse runs the browser once and returns what it printed.
func browse(t *testing.T, path, url string, flags ...string) (stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	dir := t.TempDir()
	args := append([]string{
		"--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--no-first-run", "--disable-background-networking",
		"--user-data-dir=" + filepath.Join(dir, "profile"), "--enable-logging=stderr", "--virtual-time-budget=10000",
	}, flags...)
	cmd := exec.CommandContext(ctx, path, append(args, url)...)
	cmd.Env = append(os.Environ(), "HOME="+dir)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", path, err, errs.String())
	}
	return out.String(), errs.String()
}

// TestPageInABrowser looks at the page as a phone and a desk would show it. A page made to be wrong proves that the
// harness sees what it should.
func TestPageInABrowser(t *testing.T) {
	path := chromium(t)
	pages := map[string]string{
		"/passed": pageOf(t, sample(true)), "/failed": pageOf(t, sample(false)),
		"/wrong": `<!DOCTYPE html><title>x</title><div style="width:1000px">x</div><img src="/else.png"><script>console.error("planted"); nothing()</script>`,
	}
	var mu sync.Mutex
	asked := map[string]bool{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked[r.URL.Path] = true
		mu.Unlock()
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		switch text, ok := pages[r.URL.Path]; {
		case ok:
			_, _ = w.Write([]byte(text))
		case r.URL.Path == "/harness":
			_, _ = w.Write([]byte(strings.Replace(harness, "PAGES", `["/passed", "/failed", "/wrong"]`, 1)))
		case r.URL.Path == "/favicon.ico": // the browser asks for one of the harness
		default:
			http.NotFound(w, r)
		}
	}))
	defer srv.Close()

	dom, console := browse(t, path, srv.URL+"/harness", "--dump-dom")
	_, result, _ := strings.Cut(dom, `<pre id="result">`)
	result, _, _ = strings.Cut(result, "</pre>")
	var all []seen
	if err := json.Unmarshal([]byte(result), &all); err != nil || len(all) != 6 {
		t.Fatalf("the harness found %q (%v)\n%s", result, err, console)
	}
	for _, s := range all {
		errs := s.problems(console)
		if wrong := s.Page == "/wrong"; wrong != (len(errs) > 0) {
			t.Errorf("%s at %d: %q", s.Page, s.Width, errs)
		} else if wrong && s.Width == 360 && len(errs) < 6 {
			t.Errorf("of the wrong page only this was seen: %q", errs)
		}
	}
	mu.Lock()
	if !asked["/else.png"] {
		t.Error("the browser did not load what the wrong page names; so nothing is proven")
	}
	mu.Unlock()

	dir := t.ArtifactDir()
	for name, flags := range map[string][]string{
		"passed.png": {"--window-size=900,2600", "--blink-settings=preferredColorScheme=1"},
		"failed.png": {"--window-size=900,2600", "--blink-settings=preferredColorScheme=0"},
	} {
		file := filepath.Join(dir, name)
		browse(t, path, srv.URL+"/"+strings.TrimSuffix(name, ".png"), append(flags, "--screenshot="+file)...)
		if info, err := os.Stat(file); err != nil || info.Size() < 20_000 {
			t.Errorf("the screenshot: %v, %v", info, err)
		}
		t.Logf("go test -artifacts keeps the screenshot %s", file)
	}
}

// problems is what is wrong with a page.
func (s *seen) problems(console string) (out []string) {
	add := func(bad bool, format string, a ...any) {
		if bad {
			out = append(out, fmt.Sprintf(format, a...))
		}
	}
	add(s.Scroll > s.Width, "takes %d pixels", s.Scroll)
	add(s.Verdict != "PASSED" && s.Verdict != "FAILED", "shows the verdict %q", s.Verdict)
	add(s.Charts < 4 || s.Lines < 12, "shows %d charts with %d lines", s.Charts, s.Lines)
	add(s.Small < 9, "has letters of %.1f pixels", s.Small)
	add(len(s.Resources) > 0, "loads %v", s.Resources)
	for line := range strings.Lines(console) {
		add(strings.Contains(line, "CONSOLE") && strings.Contains(line, s.Page), "says on the console: %s", line)
	}
	return out
}
