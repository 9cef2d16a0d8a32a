package test

import (
	"regexp"
	"strings"
	"sync"
	"testing"

	"geogate/test/cluster"
	"geogate/test/etcdbin"
)

// TestEtcdctlCheckPerf has etcdctl judge a real etcd and a datacenter of three nodes with its smallest load, 150 writes/s
// for a minute, which is not to be set otherwise. Both run at once, and on a machine of CI either may fail the
// judgement; what is compared is that the same things are judged, and no request may fail.
func TestEtcdctlCheckPerf(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	t.Parallel()
	c := cluster.Start(t, cluster.Options{DCs: allDCs[:1], Nodes: 3})
	etcd := etcdbin.New(t, 3)
	var ours []string
	for _, p := range c.Nodes("us-east") {
		ours = append(ours, p.Spec.Client)
	}
	var got [2]string
	var wg sync.WaitGroup
	bin := etcdctl(t)
	for i, endpoints := range [][]string{etcd.Endpoints(), ours} {
		wg.Go(func() {
			out, _ := output(t, bin, "--endpoints="+strings.Join(endpoints, ","), "check", "perf", "--load=s") // fails when it judges so
			got[i] = out
		})
	}
	wg.Wait()
	for i, name := range []string{"etcd", "geogate"} {
		verdict := strings.Join(verdicts.FindAllString(got[i], -1), "; ")
		t.Logf("%s: %s", name, verdict)
		if strings.Contains(got[i], "too many errors") || strings.Contains(got[i], "rpc error") {
			t.Errorf("%s: requests failed: %s", name, got[i])
		}
	}
	if a, b := judged(got[0]), judged(got[1]); a != b || strings.Count(b, "\n") < 4 {
		t.Errorf("judged of etcd:\n%sof geogate:\n%s", a, b)
	}
}

var verdicts = regexp.MustCompile(`(?m)(PASS|FAIL|Slowest request|Stddev|Throughput)\b[^\r\n]*$`)

// judged is what was looked at, without how it was found.
func judged(out string) (form string) {
	for _, line := range verdicts.FindAllString(out, -1) {
		what := "result"
		for _, subject := range []string{"Throughput", "Slowest request", "Stddev"} {
			if strings.Contains(line, subject) {
				what = subject
			}
		}
		form += what + "\n"
	}
	return form
}
