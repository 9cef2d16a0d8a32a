package configs

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Validate checks a topology that was built in code. The error is [Problems]. Policies are put in
// capital letters.
func (t *Topology) Validate() error {
	s := &strict{bad: map[string]bool{}}
	t.fill()
	t.validate(s.report)
	return s.problems.err()
}

// reporter takes one problem of the setting at path.
type reporter func(path, format string, args ...any)

func (t *Topology) validate(report reporter) {
	checkName(report, "cluster", t.Cluster)
	t.checkPolicy(report, "policy", &t.Policy.Default, t.Policy.Timeout, t.Policy.OnUnreachable, t.Policy.OnTimeout, true)
	checkTLS(report, "security.client", t.Security.Client, false)
	checkTLS(report, "security.raft", t.Security.Raft, true)
	checkTLS(report, "security.nats", t.Security.NATS, true)
	checkDegrade(report, "policy.degrade", &t.Policy.Degrade, true)
	t.checkWeaker(report, "policy.degrade.to", t.inherit(Keyspace{}))
	t.checkMaxLag(report, "policy.max_lag", t.Policy.MaxLag, true)
	t.checkDatacenters(report)
	t.checkKeyspaces(report)
	t.checkLinks(report)
	checkPositive(report, "auth", reflect.ValueOf(t.Auth))
	if c := t.Auth.BcryptCost; c > 0 && (c < 4 || c > 31) {
		report("auth.bcrypt_cost", "is %d, want 4 to 31; 10 is etcd's", c)
	}
	checkPositive(report, "limits", reflect.ValueOf(t.Limits))
	checkPositive(report, "timing", reflect.ValueOf(t.Timing), "max_clock_skew", "max_clock_drift_ppm")
	if t.Timing.MaxClockSkew < 0 {
		report("timing.max_clock_skew", "is %s, want 0 or more; 0 never refuses a write because of the clock", t.Timing.MaxClockSkew)
	}
	t.checkOrder(report)
	checkVerification(report, t.Verification)
	t.checkStorage(report)
	checkWord(report, "log.level", t.Log.Level, "debug", "info", "warn", "error")
	checkWord(report, "log.format", t.Log.Format, "text", "json")
}

// checkPolicy checks the settings that the cluster and a keyspace share; of a keyspace they may be empty.
func (t *Topology) checkPolicy(report reporter, path string, policy *string, timeout time.Duration, unreachable, late string, required bool) {
	name := "policy"
	if required {
		name = "default"
	}
	if *policy != "" || required {
		upper := strings.ToUpper(*policy)
		if slices.Contains(policies, upper) {
			*policy = upper
		}
		checkWord(report, join(path, name), *policy, policies...)
		if *policy == "ANY" && len(t.DataNames()) == 1 {
			report(join(path, name), "ANY needs a second datacenter and this cluster has one; use ASYNC, or add a datacenter")
		}
	}
	if timeout < 0 || timeout == 0 && required {
		report(join(path, "timeout"), "is %s, want a duration above 0, such as 5s", timeout)
	}
	if timeout > maxPolicyTimeout {
		report(join(path, "timeout"), "is %s, want at most %s: a client would not wait so long; use on_unreachable: fail", timeout, maxPolicyTimeout)
	}
	if unreachable != "" || required {
		checkWord(report, join(path, "on_unreachable"), unreachable, Fail, Wait, Degraded)
	}
	if late != "" || required {
		checkWord(report, join(path, "on_timeout"), late, Error)
	}
}

func (t *Topology) checkKeyspaces(report reporter) {
	first := map[string]int{}
	for i := range t.Keyspaces {
		k := &t.Keyspaces[i]
		path := fmt.Sprintf("keyspaces[%d]", i)
		if j, ok := first[k.Prefix]; ok {
			report(path+".prefix", "%q is the prefix of keyspaces[%d] already; merge the two", k.Prefix, j)
		} else {
			first[k.Prefix] = i
		}
		switch k.Mode {
		case MultiWriter:
		case SingleWriter:
		default:
			checkWord(report, path+".mode", k.Mode, MultiWriter, SingleWriter)
		}
		t.checkHome(report, path, k)
		t.checkPolicy(report, path, &k.Policy, k.Timeout, k.OnUnreachable, k.OnTimeout, false)
		checkDegrade(report, path+".degrade", &k.Degrade, false)
		t.checkWeaker(report, path+".degrade.to", t.inherit(*k))
		t.checkMaxLag(report, path+".max_lag", k.MaxLag, false)
	}
}

// checkDegrade checks the bounds of a degradation; of a keyspace they may be empty.
func checkDegrade(report reporter, path string, d *Degrade, required bool) {
	if upper := strings.ToUpper(d.To); slices.Contains(policies, upper) {
		d.To = upper
	}
	if d.To != "" || required {
		checkWord(report, join(path, "to"), d.To, policies[1:]...)
	}
	v := reflect.ValueOf(*d)
	for i, f := range fields(v.Type()) {
		if f.key == "to" {
			continue
		}
		if n := v.Field(i).Int(); n < 0 || n == 0 && required {
			report(join(path, f.key), "is %v, want more than 0; leave the key out to get its default", v.Field(i).Interface())
		}
	}
}

// checkWeaker wants that a policy can be degraded at all.
func (t *Topology) checkWeaker(report reporter, path string, k Keyspace) {
	from, to := slices.Index(policies, k.Policy), slices.Index(policies, k.Degrade.To)
	if k.OnUnreachable == Degraded && k.Policy != "ASYNC" && from >= 0 && to >= 0 && to <= from {
		report(path, "is %s, want a policy weaker than the keyspace's own, %s", k.Degrade.To, k.Policy)
	}
}

// checkMaxLag checks an RPO budget; of a keyspace on_exceed may be empty.
func (t *Topology) checkMaxLag(report reporter, path string, m MaxLag, required bool) {
	const fix = "want 0 or more; 0 is no bound"
	if m.Age < 0 {
		report(join(path, "age"), "is %s, %s", m.Age, fix)
	}
	if m.Transactions < 0 {
		report(join(path, "transactions"), "is %d, %s", m.Transactions, fix)
	}
	if m.Bytes < 0 {
		report(join(path, "bytes"), "is %s, %s", m.Bytes, fix)
	}
	if m.OnExceed != "" || required {
		checkWord(report, join(path, "on_exceed"), m.OnExceed, Fail, Wait)
	}
	if m.Bounded() && len(t.DataNames()) == 1 {
		report(path, "needs a second datacenter to lag behind, and this cluster has one; remove it, or add a datacenter")
	}
}

// checkPositive wants every number of a section above 0, because each is a bound or an interval, but for those
// that are checked elsewhere.
func checkPositive(report reporter, path string, v reflect.Value, except ...string) {
	for i, f := range fields(v.Type()) {
		if slices.Contains(except, f.key) {
			continue
		}
		if v.Field(i).Int() <= 0 {
			report(join(path, f.key), "is %v, want more than 0; leave the key out to get its default", v.Field(i).Interface())
		}
	}
}

// differenceBytes is how far a difference for one peer may run ahead of what that peer has confirmed.
const differenceBytes = Bytes(16 << 20)

// leastWatchProgress is the gateway's own bound.
const leastWatchProgress = 100 * time.Millisecond

// outboxLeast is the smallest stream in which nothing is discarded before a peer that keeps up has read it.
func outboxLeast(l Limits, peers int) Bytes {
	return 4 * (l.PublishWindowBytes + Bytes(peers)*differenceBytes)
}

// checkOrder checks settings against each other.
func (t *Topology) checkOrder(report reporter) {
	l, m := t.Limits, t.Timing
	if m.SuspectAfter < 2*m.Heartbeat {
		report("timing.suspect_after", "is %s, want at least twice timing.heartbeat (%s), or a healthy peer is suspected", m.SuspectAfter, m.Heartbeat)
	}
	if least := outboxLeast(l, len(t.Datacenters)-1); l.OutboxBytes < least {
		report("limits.outbox_bytes", "is %s, want at least %s: 4 times limits.publish_window_bytes and %s for each peer", l.OutboxBytes, least, differenceBytes)
	}
	if m.DownAfter <= m.SuspectAfter {
		report("timing.down_after", "is %s, want more than timing.suspect_after (%s)", m.DownAfter, m.SuspectAfter)
	}
	if m.ElectionTicks <= m.HeartbeatTicks {
		report("timing.election_ticks", "is %d, want more than timing.heartbeat_ticks (%d); 10 times as much is usual", m.ElectionTicks, m.HeartbeatTicks)
	}
	t.checkLease(report)
	if m.LeaseCheckpoint < time.Second {
		report("timing.lease_checkpoint", "is %s, want at least 1s; leave the key out to get its default", m.LeaseCheckpoint)
	}
	if m.WatchProgress < leastWatchProgress {
		report("timing.watch_progress", "is %s, want at least %s; leave the key out to get its default, Kubernetes wants 5s", m.WatchProgress, leastWatchProgress)
	}
	if l.MaxUncommittedBytes < l.MaxRequestBytes {
		report("limits.max_uncommitted_bytes", "is %s, want at least limits.max_request_bytes (%s), or the largest request never fits",
			l.MaxUncommittedBytes, l.MaxRequestBytes)
	}
	if l.RetentionBytes < l.MaxEntryBytes {
		report("limits.retention_bytes", "is %s, want at least limits.max_entry_bytes (%s), or a peer that is one frame behind needs a snapshot",
			l.RetentionBytes, l.MaxEntryBytes)
	}
	if l.SnapshotRate < leastSnapshotRate {
		report("limits.snapshot_rate", "is %s, want at least %s, or a peer gives up waiting", l.SnapshotRate, Bytes(leastSnapshotRate))
	}
	if l.CatchUpPercent > 100 {
		report("limits.catch_up_percent", "is %d, want 1 to 100; 100 catches up as fast as the machine can", l.CatchUpPercent)
	}
	if l.PendingBytes < l.FlushBytes {
		report("limits.pending_bytes", "is %s, want at least limits.flush_bytes (%s), or every write waits for the flush interval",
			l.PendingBytes, l.FlushBytes)
	}
}

// leastSnapshotRate is what it takes to send any message of a snapshot well within a peer's patience.
const leastSnapshotRate = 1 << 20

var dnsLabel = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

func checkName(report reporter, path, name string) bool {
	if name == "" {
		report(path, "is missing; give it a name of lower-case letters, digits and `-`")
		return false
	}
	if !ValidName(name) {
		report(path, "%q is not a valid name; use up to 63 lower-case letters, digits and `-`, with no `-` at either end", name)
		return false
	}
	return true
}

// checkWord wants one of a few words.
func checkWord(report reporter, path, found string, words ...string) {
	if slices.Contains(words, found) {
		return
	}
	choice := words[0]
	if len(words) > 1 {
		choice = "one of " + strings.Join(words, ", ")
	}
	report(path, "found %s, want %s", strconv.Quote(found), choice)
}

// ValidName says whether a datacenter, node or cluster may have this name: it must be a DNS label.
func ValidName(name string) bool { return dnsLabel.MatchString(name) }
