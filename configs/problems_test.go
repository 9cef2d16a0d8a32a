package configs

import (
	"errors"
	"strings"
	"testing"
)

// pair is a valid topology of two datacenters, 9 lines long.
var pair = `cluster: c
datacenters:
  - {name: a, public_key: ` + keyA + `, key_file: a.seed,
     nodes: [{name: n0, client: "h:1", raft: "h:2", admin: "h:3", nats: "h:4", dir: da}]}
  - name: b
    public_key: ` + keyB + `
    key_file: b.seed
    nodes:
      - {name: n0, client: "h:11", raft: "h:12", admin: "h:13", nats: "h:14", dir: db}
`

// TestProblems checks every message: the whole text for the first case of a kind, so that a reader sees
// what a user sees.
func TestProblems(t *testing.T) {
	sub := func(from, to string) string { return strings.Replace(pair, from, to, 1) }
	for name, c := range map[string]struct {
		text string
		want []string // all problems, in order
	}{
		"empty":        {"", []string{"t.yaml: the file is empty; it needs at least `datacenters`, see configs/geogate.example.yaml"}},
		"comment only": {"# nothing\n", []string{"t.yaml: the file is empty"}},
		"not YAML":     {"cluster: [a\npolicy: b\n", []string{"t.yaml:1: not YAML: did not find expected"}},
		"two documents": {pair + "---\ncluster: d\n", []string{
			"t.yaml:10: a second YAML document starts here; a topology is one document"}},
		"a list":        {"- cluster\n", []string{"t.yaml:1: found a list, want keys such as `cluster:` and `datacenters:`"}},
		"no datacenter": {"cluster: c\n", []string{"t.yaml: datacenters: is missing or empty; describe at least one datacenter with its nodes"}},

		// Keys.
		"misspelt":           {pair + "polciy: {default: ALL}\n", []string{`t.yaml:10: polciy: unknown key; did you mean "policy"?`}},
		"misspelt inside":    {pair + "policy:\n  timout: 5s\n", []string{`t.yaml:11: policy.timout: unknown key; did you mean "timeout"?`}},
		"other writing":      {pair + "policy: {onTimeout: error}\n", []string{`t.yaml:10: policy.onTimeout: unknown key; did you mean "on_timeout"?`}},
		"capital":            {sub("cluster", "Cluster"), []string{`t.yaml:1: Cluster: unknown key; did you mean "cluster"?`}},
		"in a list":          {sub("client: \"h:11\"", "clinet: \"h:11\""), []string{`t.yaml:9: datacenters[1].nodes[0].clinet: unknown key; did you mean "client"?`}},
		"elsewhere":          {pair + "outbox_bytes: 1GiB\n", []string{`t.yaml:10: outbox_bytes: unknown key here; it belongs under "limits"`}},
		"nothing like it":    {pair + "log: {colour: red}\n", []string{`t.yaml:10: log.colour: unknown key; the keys here are level, format`}},
		"twice":              {pair + "cluster: d\n", []string{`t.yaml:10: cluster: is here a second time; line 1 has it already`}},
		"merge key":          {pair + "log: {<<: {level: info}}\n", []string{"t.yaml:10: log.<<: merge keys are not supported"}},
		"whole node section": {sub("    nodes:\n", "    node:\n"), []string{`t.yaml:8: datacenters[1].node: unknown key; did you mean "nodes"?`}},

		// Types.
		"number for text":     {sub("cluster: c", "cluster: 12"), []string{`t.yaml:1: cluster: found the number 12, want text; put it in quotes: "12"`}},
		"truth for text":      {sub("cluster: c", "cluster: true"), []string{`t.yaml:1: cluster: found the truth value true, want text`}},
		"no unit":             {pair + "policy: {timeout: 5}\n", []string{`t.yaml:10: policy.timeout: found "5", want a duration: a number with a unit, such as 250ms, 5s or 1h`}},
		"not a duration":      {pair + "timing: {heartbeat: soon}\n", []string{`t.yaml:10: timing.heartbeat: found "soon", want a duration`}},
		"not a size":          {pair + "limits: {outbox_bytes: 5 apples}\n", []string{`t.yaml:10: limits.outbox_bytes: found "5 apples", want a size: a number of bytes, or one with a unit such as 512KiB, 64MiB or 1GB`}},
		"not a number":        {pair + "limits: {max_txn_ops: many}\n", []string{`t.yaml:10: limits.max_txn_ops: found "many", want a whole number`}},
		"a fraction":          {pair + "limits: {max_txn_ops: 1.5}\n", []string{`t.yaml:10: limits.max_txn_ops: found "1.5", want a whole number`}},
		"a list for a value":  {pair + "policy: {default: [ALL]}\n", []string{`t.yaml:10: policy.default: found a list, want text`}},
		"a value for keys":    {pair + "policy: ALL\n", []string{`t.yaml:10: policy: found "ALL", want the keys default, timeout, on_unreachable, on_timeout`}},
		"a mapping for items": {"datacenters: {name: a}\n", []string{"t.yaml:1: datacenters: found a mapping, want a list; start each item with `- `"}},
		"no value":            {pair + "policy: {timeout: }\n", []string{`t.yaml:10: policy.timeout: has no value, want a duration`}},
		"empty item":          {pair + "keyspaces:\n  -\n", []string{"t.yaml:11: keyspaces[0]: is an empty item; remove the `-` or fill it in"}},

		// Names and addresses.
		"bad cluster name": {sub("cluster: c", "cluster: My_Cluster"), []string{`t.yaml:1: cluster: "My_Cluster" is not a valid name; use up to 63 lower-case letters, digits and ` + "`-`"}},
		"no name":          {sub("  - name: b\n   ", "  -"), []string{"t.yaml:5: datacenters[1].name: is missing; give it a name"}},
		"same name":        {sub("name: b", "name: a"), []string{`t.yaml:5: datacenters[1].name: "a" is used by datacenters[0].name already; each needs its own`}},
		"same address":     {sub("h:12", "h:2"), []string{`t.yaml:9: datacenters[1].nodes[0].raft: "h:2" is used by datacenters[0].nodes[0].raft already`}},
		"same folder":      {sub("dir: db", "dir: da"), []string{`t.yaml:9: datacenters[1].nodes[0].dir: "folder da on h" is used by datacenters[0].nodes[0].dir already`}},
		"no port":          {sub("h:12", "h"), []string{`t.yaml:9: datacenters[1].nodes[0].raft: "h" is not host:port, such as 10.0.0.1:2379 or [fd00::1]:2379`}},
		"port too high":    {sub("h:12", "h:70000"), []string{`t.yaml:9: datacenters[1].nodes[0].raft: "h:70000" has port "70000", want a number from 1 to 65535`}},
		"any address":      {sub("h:12", "0.0.0.0:12"), []string{`t.yaml:9: datacenters[1].nodes[0].raft: "0.0.0.0:12" can't be dialled by others; write the machine's own name or address`}},
		"no host":          {sub("h:12", ":12"), []string{`t.yaml:9: datacenters[1].nodes[0].raft: ":12" can't be dialled by others`}},
		"no address":       {sub(`raft: "h:12", `, ""), []string{`t.yaml:9: datacenters[1].nodes[0].raft: is missing, want host:port, such as 10.0.0.1:2379`}},
		"no nats address":  {sub(`nats: "h:14", `, ""), []string{`t.yaml:9: datacenters[1].nodes[0].nats: is missing, want host:port`}},
		"no dir":           {sub(`, dir: db`, ""), []string{`t.yaml:9: datacenters[1].nodes[0].dir: is missing; name the folder`}},
		"no nodes":         {minimal[:strings.Index(minimal, "    nodes")] + "    nodes: []\n", []string{"t.yaml:3: datacenters[0].nodes: is missing or empty; a datacenter has 1, 3 or 5 nodes"}},
		"two nodes": {minimal + `      - {name: n1, client: "h:4", raft: "h:5", admin: "h:6", dir: e}` + "\n", []string{
			"t.yaml:3: datacenters[0].nodes: has 2 nodes, want 1, 3 or 5: an even number survives no more failures than one less"}},

		// Keys of datacenters.
		"no public key": {sub("    public_key: "+keyB+"\n", ""), []string{
			"t.yaml:5: datacenters[1].public_key: is missing; `geogate config keys --dir keys b` makes a key and prints this line"}},
		"no key file":    {sub("    key_file: b.seed\n", ""), []string{"t.yaml:5: datacenters[1].key_file: is missing; it names the seed file that belongs to public_key"}},
		"bad public key": {sub(keyB, "UABC"), []string{`t.yaml:6: datacenters[1].public_key: "UABC" is not the public key of an nkey user: 56 letters and digits that start with U`}},
		"no point": {sub(keyB, "UABAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAHWN"), []string{
			`t.yaml:6: datacenters[1].public_key: "UABAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAHWN" is well formed, but no point of the curve of nkeys, so nobody can have its private half; copy the key again, or make one with ` + "`geogate config keys --dir keys b`"}},
		"same key": {sub(keyB, keyA), []string{`t.yaml:6: datacenters[1].public_key: "` + keyA + `" is used by datacenters[0].public_key already`}},

		// Words.
		"unknown policy":  {pair + "policy: {default: MOST}\n", []string{`t.yaml:10: policy.default: found "MOST", want one of ALL, QUORUM, ANY, ASYNC`}},
		"ANY alone":       {minimal + "policy: {default: any}\n", []string{`t.yaml:5: policy.default: ANY needs a second datacenter and this cluster has one; use ASYNC, or add a datacenter`}},
		"no timeout":      {pair + "policy: {timeout: 0s}\n", []string{`t.yaml:10: policy.timeout: is 0s, want a duration above 0, such as 5s`}},
		"endless timeout": {pair + "policy: {timeout: 1h}\n", []string{`t.yaml:10: policy.timeout: is 1h0m0s, want at most 10m0s`}},
		"on_unreachable":  {pair + "policy: {on_unreachable: ignore}\n", []string{`t.yaml:10: policy.on_unreachable: found "ignore", want one of fail, wait, degrade`}},
		"on_timeout":      {pair + "policy: {on_timeout: ok}\n", []string{`t.yaml:10: policy.on_timeout: found "ok", want error`}},
		"negative lag": {pair + "policy: {max_lag: {age: -1s, transactions: -1}}\n", []string{
			`t.yaml:10: policy.max_lag.age: is -1s, want 0 or more; 0 is no bound`, `t.yaml:10: policy.max_lag.transactions: is -1, want 0 or more`}},
		"on_exceed": {pair + "keyspaces: [{prefix: /k, max_lag: {on_exceed: no way}}]\n", []string{`t.yaml:10: keyspaces[0].max_lag.on_exceed: found "no way", want one of fail, wait`}},
		"lag alone": {minimal + "policy: {max_lag: {bytes: 1MiB}}\n", []string{`t.yaml:5: policy.max_lag: needs a second datacenter to lag behind`}},
		"degrade": {pair + "policy: {degrade: {to: ALL, max_seconds: 0, recover_lag: -1s}}\n", []string{`t.yaml:10: policy.degrade.to: found "ALL", want one of QUORUM, ANY, ASYNC`,
			`t.yaml:10: policy.degrade.max_seconds: is 0, want more than 0`, `t.yaml:10: policy.degrade.recover_lag: is -1s, want more than 0`}},
		"degrade upwards": {pair + "keyspaces: [{prefix: /k, policy: ANY, on_unreachable: degrade, degrade: {to: quorum}}]\n", []string{
			`t.yaml:10: keyspaces[0].degrade.to: is QUORUM, want a policy weaker than the keyspace's own, ANY`}},
		"no home":          {pair + "keyspaces:\n  - {prefix: /k, mode: single-writer}\n", []string{`t.yaml:11: keyspaces[0].home: is missing; name the datacenter that is to be the first home: [a b]`}},
		"strange home":     {pair + "keyspaces:\n  - {prefix: /k, mode: single-writer, home: z}\n", []string{`t.yaml:11: keyspaces[0].home: found "z", want the name of a datacenter`}},
		"home of all":      {pair + "keyspaces:\n  - {prefix: /k, home: a, forward: false}\n", []string{`t.yaml:11: keyspaces[0].home: is only of a keyspace with mode: single-writer`, `t.yaml:11: keyspaces[0].forward: is only of`}},
		"forward":          {pair + "keyspaces:\n  - {prefix: /k, mode: single-writer, home: a, forward: 7}\n", []string{`t.yaml:11: keyspaces[0].forward: found "7", want true or false`}},
		"automatic of two": {pair + "keyspaces:\n  - {prefix: /k, mode: single-writer, home: a, automatic_failover: {enabled: true, hold_off: -1s}}\n", []string{`t.yaml:11: keyspaces[0].automatic_failover.hold_off: is -1s`, `t.yaml:11: keyspaces[0].automatic_failover.enabled: needs 3 datacenters to tell a dead one from a broken link`}},
		"home lease":       {pair + "timing: {home_lease: 10ms, max_clock_drift_ppm: 1000000}\n", []string{`t.yaml:10: timing.home_lease: is 10ms, want 500ms to 1h0m0s`, `t.yaml:10: timing.max_clock_drift_ppm: is 1000000, want 0 to 100000`}},
		"idle witness":     {sub("    key_file: b.seed\n", "    key_file: b.seed\n    witness: true\n"), []string{`t.yaml:8: datacenters[1].witness: is true, and there is no keyspace with mode: single-writer`}},
		"witness as home":  {sub("    key_file: b.seed\n", "    key_file: b.seed\n    witness: true\n") + "keyspaces:\n  - {prefix: /k, mode: single-writer, home: b}\n", []string{`t.yaml:12: keyspaces[0].home: is "b", a witness, which holds no data; name one of [a]`}},
		"unknown mode":     {pair + "keyspaces:\n  - {prefix: /k, mode: both}\n", []string{`t.yaml:11: keyspaces[0].mode: found "both", want one of multi-writer, single-writer`}},
		"same prefix":      {pair + "keyspaces: [{prefix: /k}, {prefix: /k}]\n", []string{`t.yaml:10: keyspaces[1].prefix: "/k" is the prefix of keyspaces[0] already; merge the two`}},
		"keyspace policy":  {pair + "keyspaces: [{prefix: /k, policy: SOME}]\n", []string{`t.yaml:10: keyspaces[0].policy: found "SOME", want one of`}},
		"keyspace timeout": {pair + "keyspaces: [{prefix: /k, timeout: -1s}]\n", []string{`t.yaml:10: keyspaces[0].timeout: is -1s, want a duration above 0`}},
		"log":              {pair + "log: {level: loud, format: xml}\n", []string{`t.yaml:10: log.level: found "loud", want one of debug, info, warn, error`, `t.yaml:10: log.format: found "xml", want one of text, json`}},

		// NATS, links, certificates.
		"nats mode":     {sub("    key_file: b.seed\n", "    key_file: b.seed\n    nats: {mode: cloud}\n"), []string{`t.yaml:8: datacenters[1].nats.mode: found "cloud", want one of embedded, external`}},
		"external":      {sub("    key_file: b.seed\n", "    key_file: b.seed\n    nats: {mode: external}\n"), []string{`t.yaml:8: datacenters[1].nats.urls: is missing; external mode needs the URLs of the NATS cluster to use`}},
		"replicas":      {sub("    key_file: b.seed\n", "    key_file: b.seed\n    nats: {mode: external, urls: [\"nats://h:5\"], replicas: 9}\n"), []string{`t.yaml:8: datacenters[1].nats.replicas: is 9, want 1 to 5; 3 is usual`}},
		"embedded urls": {sub("    key_file: b.seed\n", "    key_file: b.seed\n    nats: {urls: [\"nats://h:5\"]}\n"), []string{`t.yaml:8: datacenters[1].nats.mode: is embedded, but there are settings beside it that only external mode has`}},
		"bad url":       {sub("    key_file: b.seed\n", "    key_file: b.seed\n    nats: {mode: external, urls: [\"http://h:5\"]}\n"), []string{`t.yaml:8: datacenters[1].nats.urls[0]: "http://h:5" is not a NATS URL, want nats://host:port or tls://host:port`}},
		"link ends":     {pair + "links:\n  - {from: x, to: y, endpoints: [{node: n0, url: \"nats://h:5\"}]}\n", []string{`t.yaml:11: links[0].from: found "x", want the name of a datacenter of this file`, `t.yaml:11: links[0].to: found "y", want the name of a datacenter`}},
		"link to self":  {pair + "links:\n  - {from: a, to: a, endpoints: [{node: n0, url: \"nats://h:5\"}]}\n", []string{"t.yaml:11: links[0].to: is \"a\" as is `from`; a link joins two datacenters"}},
		"link twice": {pair + "links:\n  - &l {from: a, to: b, endpoints: [{node: n0, url: \"nats://h:5\"}]}\n  - *l\n", []string{
			`t.yaml:11: links[1]: "a to b" is used by links[0] already`}},
		"link endpoints":   {pair + "links:\n  - {from: a, to: b}\n", []string{`t.yaml:11: links[0].endpoints: is missing or empty; list where a reaches the nodes of b`}},
		"link node":        {pair + "links:\n  - {from: a, to: b, endpoints: [{node: n7, url: \"nats://h:5\"}]}\n", []string{`t.yaml:11: links[0].endpoints[0].node: found "n7", want the name of a node of b`}},
		"half certificate": {pair + "security: {client: {cert: c}}\n", []string{`t.yaml:10: security.client.key: is missing; it names the PEM file of the certificate's key`}},
		"no CA":            {pair + "security: {raft: {cert: c, key: k}}\n", []string{`t.yaml:10: security.raft.ca: is missing; both ends check each other here, so name the PEM file of the CA`}},

		// Bounds.
		"zero":         {pair + "limits: {outbox_bytes: 0}\n", []string{`t.yaml:10: limits.outbox_bytes: is 0B, want more than 0; leave the key out to get its default`}},
		"negative":     {pair + "limits: {max_txn_ops: -1}\n", []string{`t.yaml:10: limits.max_txn_ops: is -1, want more than 0`}},
		"heartbeat":    {pair + "timing: {heartbeat: 2s}\n", []string{`t.yaml:10: timing.suspect_after: is 1s, want at least twice timing.heartbeat (2s), or a healthy peer is suspected`}},
		"outbox":       {pair + "limits: {outbox_bytes: 1MiB}\n", []string{`t.yaml:10: limits.outbox_bytes: is 1MiB, want at least 128MiB: 4 times limits.publish_window_bytes and 16MiB for each peer`}},
		"verification": {pair + "verification: {interval: 1ms}\n", []string{`t.yaml:10: verification.interval: is 1ms, want at least 100ms, or 0 for never`}},
		"down":         {pair + "timing:\n  down_after: 500ms\n", []string{`t.yaml:11: timing.down_after: is 500ms, want more than timing.suspect_after (1s)`}},
		"progress":     {pair + "timing: {watch_progress: 5ms}\n", []string{`t.yaml:10: timing.watch_progress: is 5ms, want at least 100ms`}},
		"election":     {pair + "timing: {election_ticks: 1}\n", []string{`t.yaml:10: timing.election_ticks: is 1, want more than timing.heartbeat_ticks (1)`}},
		"retention":    {pair + "limits: {retention_bytes: 1KiB}\n", []string{`t.yaml:10: limits.retention_bytes: is 1KiB, want at least limits.max_entry_bytes (512KiB)`}},
		"rate":         {pair + "limits: {snapshot_rate: 1KiB}\n", []string{`t.yaml:10: limits.snapshot_rate: is 1KiB, want at least 1MiB`}},
		"catch-up":     {pair + "limits: {catch_up_percent: 101}\n", []string{`t.yaml:10: limits.catch_up_percent: is 101, want 1 to 100`}},
		"request":      {pair + "limits: {max_request_bytes: 1GiB}\n", []string{`t.yaml:10: limits.max_uncommitted_bytes: is 64MiB, want at least limits.max_request_bytes (1GiB)`}},
		"flush":        {pair + "limits: {flush_bytes: 65MiB}\n", []string{`t.yaml:10: limits.pending_bytes: is 64MiB, want at least limits.flush_bytes (65MiB)`}},
		"quota":        {pair + "storage: {quota_bytes: 8GiB}\n", []string{`t.yaml:10: storage.quota_bytes: is 8GiB, want more than 2 times limits.retention_bytes (4GiB), or a datacenter that is away stops the writes of the others`}},
		"mode":         {pair + "compaction: {mode: daily}\n", []string{`t.yaml:10: compaction.mode: found "daily", want one of off, periodic, revision`}},
		"period":       {pair + "compaction: {mode: periodic, retention: \"100\"}\n", []string{`t.yaml:10: compaction.retention: is "100", want a duration of at least 1s with compaction.mode: periodic, such as 1h`}},
		"no period":    {pair + "compaction: {mode: periodic}\n", []string{`t.yaml:10: compaction.retention: is "", want a duration`}},
		"revisions":    {pair + "compaction: {mode: revision, retention: 1h}\n", []string{`t.yaml:10: compaction.retention: is "1h", want a number of revisions with compaction.mode: revision, such as 10000`}},
		"no mode":      {pair + "compaction: {mode: off, retention: 1h}\n", []string{`t.yaml:10: compaction.retention: is "1h" and compaction.mode is off; set the mode too`}},

		"all at once": {sub("cluster: c", "clutser: c") + "policy: {default: MOST, timeout: 5}\nkeyspaces:\n  - {prefix: /k, mode: single-writer}\n", []string{
			`t.yaml:1: clutser: unknown key`, `t.yaml:10: policy.timeout: found "5"`, `t.yaml:10: policy.default: found "MOST"`, `t.yaml:12: keyspaces[0].home: is missing`}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("t.yaml", []byte(c.text))
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("got %v, want problems", err)
			}
			lines := strings.Split(err.Error(), "\n")
			if len(lines) != len(c.want) {
				t.Fatalf("got %d problems, want %d:\n%v", len(lines), len(c.want), err)
			}
			for i, want := range c.want {
				if !strings.HasPrefix(lines[i], want) {
					t.Errorf("got  %s\nwant %s", lines[i], want)
				}
			}
		})
	}
}

func TestTestTopologiesAreValid(t *testing.T) {
	parse(t, pair)
	parse(t, minimal)
}

func TestValidateBuiltInCode(t *testing.T) {
	got := parse(t, pair)
	got.Datacenters[1].Nodes[0].Raft = "nowhere"
	got.Policy.Default = "quorum"
	err := got.Validate()
	if want := `datacenters[1].nodes[0].raft: "nowhere" is not host:port`; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
	if got.Policy.Default != "QUORUM" {
		t.Errorf("policy %q, want it in capital letters", got.Policy.Default)
	}
}
