package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// growAndShrink follows README.md from the topology to a datacenter that has swapped its only node for another.
func growAndShrink(t *testing.T, dir string, env []string, all []example) {
	byName := map[string]string{}
	for _, e := range all {
		byName[e.name] = e.body
	}
	setup := lines(byName["serve"])
	yaml := topologyExample(t, all)
	at := strings.Index(yaml, "  - name: eu-west")
	if at < 0 || byName["newnode"] == "" {
		t.Fatal("README.md has no place for the new node")
	}
	writeTopology(t, dir, yaml[:at]+byName["newnode"]+yaml[at:], shell(t, dir, env, setup[0]))
	n0 := background(t, dir, env, setup[2])
	defer func() {
		if err := os.RemoveAll(filepath.Join(dir, "data")); err != nil {
			t.Error(err)
		}
		if err := os.RemoveAll(filepath.Join(dir, "keys")); err != nil {
			t.Error(err)
		}
	}()

	run := func(line, want string) string {
		t.Helper()
		deadline := time.Now().Add(20 * time.Second)
		for {
			cmd := exec.CommandContext(t.Context(), "bash", "-c", line)
			cmd.Dir, cmd.Env = dir, env
			out, err := cmd.CombinedOutput()
			if err == nil && strings.Contains(string(out), want) {
				t.Logf("$ %s\n%s", line, out)
				return string(out)
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: %v, want %q in\n%s", line, err, want, out)
			}
		}
	}
	run("etcdctl --endpoints=127.0.0.1:24000 get x", "")
	grow, shrink := lines(byName["grow"]), lines(byName["shrink"])
	run(grow[0], "added as learner")
	background(t, dir, env, grow[1])
	list := run(grow[2], "started, n1")
	ids := map[string]string{}
	for line := range strings.Lines(list) {
		if f := strings.Split(line, ", "); len(f) > 2 {
			ids["ID_OF_"+strings.ToUpper(f[2])] = f[0]
		}
	}
	fill := strings.NewReplacer("ID_OF_N0", ids["ID_OF_N0"], "ID_OF_N1", ids["ID_OF_N1"])
	run(fill.Replace(grow[3]), "promoted")
	run(grow[4], "voter")
	run(fill.Replace(shrink[0]), "Leadership transferred")
	run(fill.Replace(shrink[1]), "removed")
	select {
	case err := <-n0.ended:
		if err == nil || !strings.Contains(n0.out.String(), "was removed from the group") {
			t.Errorf("the removed node ended with %v\n%s", err, n0.out.String())
		}
		n0.ended <- nil
	case <-time.After(20 * time.Second):
		t.Error("the removed node still runs")
	}
	run("etcdctl --endpoints=127.0.0.1:24010 get x", "")
}

// server is a server of the README that runs until the test ends.
type server struct {
	out   lockedBuffer
	ended chan error // capacity 1
}

func background(t *testing.T, dir string, env []string, line string) *server {
	t.Helper()
	s := &server{ended: make(chan error, 1)}
	cmd := exec.Command("bash", "-c", "exec "+line)
	cmd.Dir, cmd.Env = dir, env
	cmd.Stdout, cmd.Stderr = &s.out, &s.out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { s.ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		select {
		case <-s.ended:
		case <-time.After(20 * time.Second):
			_ = cmd.Process.Kill()
			t.Errorf("%s: does not stop\n%s", line, s.out.String())
		}
		if t.Failed() {
			t.Logf("%s:\n%s", line, s.out.String())
		}
	})
	return s
}
