package test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"geogate/configs"
	"geogate/test/cluster"
	"geogate/test/etcdbin"
)

// example is a code block of README.md behind a comment `<!-- test: NAME -->`.
type example struct{ name, body string }

var exampleBlock = regexp.MustCompile("(?s)<!-- test: ([a-z]+) -->\n```[a-z]+\n(.*?)```")

func examples(t *testing.T) []example {
	t.Helper()
	b, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var out []example
	for _, m := range exampleBlock.FindAllStringSubmatch(string(b), -1) {
		out = append(out, example{m[1], m[2]})
	}
	if len(out) == 0 {
		t.Fatal("README.md has no examples to run")
	}
	return out
}

// workdir is a folder in which the README's commands find bin/geogate and etcdctl.
func workdir(t *testing.T) (dir string, env []string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(cluster.Binary(t), filepath.Join(dir, "bin", "geogate")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(etcdctl(t), filepath.Join(dir, "bin", "etcdctl")); err != nil {
		t.Fatal(err)
	}
	return dir, append(os.Environ(), "PATH="+filepath.Join(dir, "bin")+":"+os.Getenv("PATH"))
}

func etcdctl(t *testing.T) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	path, err := etcdbin.Etcdctl(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// freePorts says whether the ports of the README are free; a developer may be running `make dev`.
func freePorts(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:24000")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skipf("SKIPPED: the README's examples need the ports of `make dev`, which something else has: %v", err)
	}
	_ = l.Close()
}

// devCluster runs `geogate dev` in dir until the test ends, and returns once it has printed ready.
func devCluster(t *testing.T, dir string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(filepath.Join(dir, "bin", "geogate"), append([]string{"dev"}, args...)...)
	cmd.Dir = dir
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	ready := make(chan struct{})
	go func() {
		for s := bufio.NewScanner(stdout); s.Scan(); {
			if s.Text() == "ready" {
				close(ready)
			}
		}
		ended <- cmd.Wait()
	}()
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Errorf("stop geogate dev: %v", err)
		}
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("geogate dev did not stop cleanly: %v\n%s", err, stderr.String())
			}
		case <-time.After(30 * time.Second):
			_ = cmd.Process.Kill()
			t.Errorf("geogate dev did not stop within 30 s of SIGINT\n%s", stderr.String())
		}
	})
	select {
	case <-ready:
	case err := <-ended:
		ended <- err
		t.Fatalf("geogate dev ended before it was ready: %v\n%s", err, stderr.String())
	case <-time.After(60 * time.Second):
		t.Fatalf("geogate dev was not ready within a minute\n%s", stderr.String())
	}
	return cmd
}

// shell runs one line as a user would type it.
func shell(t *testing.T, dir string, env []string, line string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", line)
	cmd.Dir, cmd.Env = dir, env
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
	return string(out)
}

// lines are the commands of a block, without comments.
func lines(block string) (out []string) {
	for line := range strings.Lines(block) {
		line, _, _ = strings.Cut(strings.TrimSpace(line), "  #")
		if line != "" && !strings.HasPrefix(line, "#") {
			out = append(out, line)
		}
	}
	return out
}

// TestReadmeExamples runs every example of README.md.
func TestReadmeExamples(t *testing.T) {
	freePorts(t)
	dir, env := workdir(t)
	all := examples(t)

	t.Run("dev", func(t *testing.T) {
		devCluster(t, dir)
		outputs := map[string]string{}
		for _, e := range all {
			if e.name != "dev" {
				continue
			}
			for _, line := range lines(e.body) {
				outputs[line] = shell(t, dir, env, line)
				t.Logf("$ %s\n%s", line, outputs[line])
				// The second datacenter has it a moment later than the first, as the README says.
				for range 50 {
					if (!strings.Contains(line, " get ") || outputs[line] != "") && (!strings.Contains(line, "/v3/kv/range") || strings.Contains(outputs[line], "200 OK")) {
						break
					}
					outputs[line] = shell(t, dir, env, "sleep 0.1; "+line)
				}
				if strings.Contains(line, " get ") && outputs[line] != "greeting\nhello\n" {
					t.Errorf("%s printed %q", line, outputs[line])
				}
			}
		}
		for line, out := range outputs {
			if strings.Contains(line, "/v3/kv/range") {
				told := strings.Contains(out, "Geogate-Staleness: ")
				if !strings.Contains(out, `"value":"aGVsbG8="`) || told != strings.Contains(line, "max-staleness") {
					t.Errorf("%s printed:\n%s", line, out)
				}
				continue
			}
			if strings.HasPrefix(line, "curl") && (!strings.Contains(out, "Geogate-Policy: QUORUM") || !strings.Contains(out, `"revision"`)) {
				t.Errorf("%s printed:\n%s", line, out)
			}
		}
		if out := outputs["bin/geogate dr drill run cut-link --html drill.html"]; !strings.Contains(out, "lost 0") || !strings.Contains(out, "data verified        true") {
			t.Errorf("the drill printed:\n%s", out)
		}
		if page, err := os.ReadFile(filepath.Join(dir, "drill.html")); err != nil || !strings.Contains(string(page), "</html>") {
			t.Errorf("the drill's page: %v, %.100q", err, page)
		}
		if out := outputs["bin/geogate status"]; !strings.Contains(out, "us-east") || !strings.Contains(out, "healthy") {
			t.Errorf("status printed:\n%s", out)
		}
	})

	t.Run("grow", func(t *testing.T) { growAndShrink(t, dir, env, all) })

	t.Run("serve", func(t *testing.T) {
		// The keys come first: their public halves go into the file.
		for _, e := range all {
			if e.name != "serve" {
				continue
			}
			commands := lines(e.body)
			printed := shell(t, dir, env, commands[0])
			writeTopology(t, dir, topologyExample(t, all), printed)
			shell(t, dir, env, commands[1])
			runBriefly(t, dir, env, commands[2])
		}
		// From the backup that was taken of the dev cluster.
		for _, e := range all {
			if e.name != "restore" {
				continue
			}
			out := ""
			for _, line := range lines(e.body) {
				out += shell(t, dir, env, line)
			}
			if !strings.Contains(out, "us-east/n0: 2 keys") {
				t.Errorf("restore printed %q", out)
			}
		}
	})
}

func topologyExample(t *testing.T, all []example) string {
	t.Helper()
	for _, e := range all {
		if e.name == "topology" {
			return e.body
		}
	}
	t.Fatal("README.md has no topology example")
	return ""
}

var publicKey = regexp.MustCompile(`U[A-Z2-7]{55}`)

// writeTopology puts the generated public keys in the places of the example's.
func writeTopology(t *testing.T, dir, yaml, printed string) {
	t.Helper()
	keys := publicKey.FindAllString(printed, -1)
	if len(keys) < 2 {
		t.Fatalf("config keys printed no two public keys:\n%s", printed)
	}
	yaml = strings.NewReplacer("UUSEAST", keys[0], "UEUWEST", keys[1]).Replace(yaml)
	path := filepath.Join(dir, "geogate.yaml")
	if err := os.WriteFile(path, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	top, err := configs.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if k := top.Keyspace("/orders/1"); k.Policy != "ALL" || k.OnUnreachable != configs.Wait {
		t.Errorf("the example's keyspace reads as %+v", k)
	}
}

// runBriefly starts a server, waits until its client port answers, and stops it.
func runBriefly(t *testing.T, dir string, env []string, line string) {
	t.Helper()
	cmd := exec.Command("bash", "-c", "exec "+line)
	cmd.Dir, cmd.Env = dir, env
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	deadline := time.After(20 * time.Second)
	for {
		probe := exec.Command(filepath.Join(dir, "bin", "etcdctl"), "--endpoints=127.0.0.1:24000", "get", "x")
		if err := probe.Run(); err == nil {
			break
		}
		select {
		case err := <-ended:
			t.Fatalf("%s: ended with %v\n%s", line, err, out.String())
		case <-deadline:
			_ = cmd.Process.Kill()
			t.Fatalf("%s: does not answer\n%s", line, out.String())
		default:
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("%s: %v after SIGTERM\n%s", line, fmt.Errorf("ended with: %w", err), out.String())
	}
}
