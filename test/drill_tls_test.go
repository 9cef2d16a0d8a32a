package test

import (
	"strings"
	"testing"
	"time"

	"geogate/configs"
	"geogate/test/cluster"
)

// TestDrillWhereClientsMustShowWhoTheyAre runs a drill where applications must show a certificate and log in, with a
// user who may do nothing else.
func TestDrillWhereClientsMustShowWhoTheyAre(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	for _, name := range []string{"client", "server", "raft", "nats"} {
		ca.issue(name)
	}
	security, app := securityOfReadme(t, ca.dir)
	c := cluster.Start(t, cluster.Options{Edit: func(top *configs.Topology) {
		top.Links = nil // the relays of links carry no TLS
		top.Security = security
		top.Keyspaces = append(top.Keyspaces, configs.Keyspace{Prefix: "/geogate.drill/", Mode: configs.SingleWriter, Home: "us-east", Policy: "QUORUM"})
	}})
	for _, command := range []string{
		"user add root:rootpw", "user grant-role root root", "role add drill", "role grant-permission drill --prefix=true readwrite /geogate.drill/",
		"user add drill:drillpw", "user grant-role drill drill", "auth enable",
	} {
		args := append([]string{"--endpoints=https://" + c.Node("us-east", "n0").Spec.Client}, app...)
		if out, err := output(t, etcdctl(t), append(args, strings.Fields(command)...)...); err != nil {
			t.Fatal(command, err, out)
		}
	}
	c.WaitEqual(20 * time.Second) // users are known everywhere
	d := &drills{}
	d.dir, _ = workdir(t)
	scenario := d.scenario(t, "name: secured\nload: {writers: 2, readers: 1, rate: 20}\nsteps:\n  - switchover: {to: $next}\n  - wait_for: home\n"+
		"  - switchover: {to: $home}\n  - wait_for: home\n  - wait_for: converged\n  - verify: digest\n")
	tls := []string{"--client-cacert", security.Client.CA, "--client-cert", ca.dir + "/client.pem", "--client-key", ca.dir + "/client.key"}
	run := func(flags ...string) []string { return append([]string{scenario, "--config", c.File()}, flags...) }
	for _, x := range []struct {
		flags []string
		says  []string
	}{
		{nil, []string{"certificate", "--client-cacert"}},
		{tls[:2], []string{"certificate required", "--client-cert"}},
		{tls, []string{"permission denied", "/geogate.drill/", "--client-user"}},
		{append(tls, "--client-user", "drill:wrong"), []string{"authentication failed"}},
	} {
		r, code, stderr := d.run(t, run(x.flags...)...)
		if r != nil || code != 1 {
			t.Errorf("%v: exit %d, %+v", x.flags, code, r)
		}
		for _, want := range x.says {
			if !strings.Contains(stderr, want) {
				t.Errorf("%v: stderr does not say %q: %s", x.flags, want, stderr)
			}
		}
	}
	r, code, _ := d.run(t, run(append(tls, "--client-user", "drill:drillpw")...)...)
	if r == nil || code != 0 || !r.Passed {
		t.Fatalf("exit %d, %+v", code, r)
	}
	if r.Acknowledged < 20 || *r.AcknowledgedLost != 0 || !r.Verified || r.Mode != configs.SingleWriter {
		t.Errorf("measured %d acknowledged, lost %v, verified %t, mode %s", r.Acknowledged, *r.AcknowledgedLost, r.Verified, r.Mode)
	}
	args := append([]string{"--endpoints=https://" + c.Node("us-east", "n0").Spec.Client, "--user=root:rootpw"}, app...)
	if out, err := output(t, etcdctl(t), append(args, "get", "--prefix", "/geogate.drill/", "--keys-only")...); err != nil || strings.TrimSpace(out) != "" {
		t.Errorf("keys were left: %v, %s", err, out)
	}
}
