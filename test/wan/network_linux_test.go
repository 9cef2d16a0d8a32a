package wan

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

func open(t *testing.T, c Conditions) *Network {
	t.Helper()
	if err := Available(); err != nil {
		t.Skipf("NOT TESTED: %v", err)
	}
	n, err := Open(Config{Sites: []string{"a", "b"}, Conditions: c, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

func set(t *testing.T, n *Network, from, to string, c Conditions) {
	t.Helper()
	if err := n.Set(from, to, c); err != nil {
		t.Fatal(err)
	}
}

// mailbox is a datagram socket of a site.
func mailbox(t *testing.T, n *Network, site string) net.PacketConn {
	t.Helper()
	c, err := n.Site(site).ListenPacket("udp4", n.Site(site).Addr.String()+":7000")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// post sends count datagrams and returns how many arrive before the line is silent, and how long the first took.
func post(t *testing.T, from, to net.PacketConn, count int) (arrived int, first time.Duration) {
	t.Helper()
	start := time.Now()
	for range count {
		if _, err := from.WriteTo([]byte("hello"), to.LocalAddr()); err != nil {
			t.Fatal(err)
		}
	}
	for buf := make([]byte, 64); ; arrived++ {
		if err := to.SetReadDeadline(time.Now().Add(500 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := to.ReadFrom(buf); err != nil {
			return arrived, first
		}
		if first == 0 {
			first = time.Since(start)
		}
	}
}

func TestDelay(t *testing.T) {
	n := open(t, Conditions{Delay: 80 * time.Millisecond})
	a, b := mailbox(t, n, "a"), mailbox(t, n, "b")
	if arrived, first := post(t, a, b, 10); arrived != 10 || first < 80*time.Millisecond || first > 400*time.Millisecond {
		t.Errorf("%d of 10 arrived, the first after %s, want 80ms", arrived, first)
	}
	set(t, n, "a", "b", Conditions{})
	if _, first := post(t, a, b, 1); first > 60*time.Millisecond {
		t.Errorf("without delay it takes %s", first)
	}
	if _, first := post(t, b, a, 1); first < 80*time.Millisecond {
		t.Errorf("the other direction takes %s, want 80ms still", first)
	}
}

func TestLoss(t *testing.T) {
	n := open(t, Conditions{Loss: 0.2})
	a, b := mailbox(t, n, "a"), mailbox(t, n, "b")
	const count = 200
	arrived, _ := post(t, a, b, count)
	counts, err := n.Counts("a", "b")
	if err != nil {
		t.Fatal(err)
	}
	if arrived < 130 || arrived > 185 || counts.Carried != uint64(arrived) || counts.Lost != uint64(count-arrived) {
		t.Errorf("%d of %d arrived with 20 %% loss; counted %+v", arrived, count, counts)
	}
}

func TestCutOneWay(t *testing.T) {
	n := open(t, Conditions{})
	a, b := mailbox(t, n, "a"), mailbox(t, n, "b")
	set(t, n, "a", "b", Conditions{Cut: true})
	if arrived, _ := post(t, a, b, 5); arrived != 0 {
		t.Errorf("%d datagrams went through a cut", arrived)
	}
	if arrived, _ := post(t, b, a, 5); arrived != 5 {
		t.Errorf("%d of 5 datagrams arrived against the direction that is cut", arrived)
	}
	if c, err := n.Counts("a", "b"); err != nil || c.Cut != 5 {
		t.Errorf("counted %+v, %v", c, err)
	}
	if _, err := n.Counts("a", "c"); !errors.Is(err, ErrUnknownSite) {
		t.Errorf("counts of a site that does not exist: %v", err)
	}
}

// pair is a TCP connection from a to b.
func pair(t *testing.T, n *Network) (client, server net.Conn) {
	t.Helper()
	l, err := n.Site("b").Listen("tcp4", n.Site("b").Addr.String()+":7001")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if client, err = n.Site("a").DialContext(ctx, "tcp4", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	return client, server
}

func TestSocketsOutliveACut(t *testing.T) {
	n := open(t, Conditions{Delay: time.Millisecond})
	client, server := pair(t, n)
	set(t, n, "a", "b", Conditions{Cut: true})
	if _, err := io.WriteString(client, "during the cut\n"); err != nil {
		t.Fatal(err)
	}
	if err := server.SetReadDeadline(time.Now().Add(500 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	var timeout net.Error
	if _, err := server.Read(make([]byte, 1)); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Fatalf("read during the cut: %v, want silence", err)
	}
	set(t, n, "a", "b", Conditions{})
	if err := server.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(server).ReadString('\n'); err != nil || line != "during the cut\n" {
		t.Errorf("after healing: %q, %v; the kernel should have sent it again", line, err)
	}
}

func TestBandwidth(t *testing.T) {
	n := open(t, Conditions{BitsPerSecond: 2_000_000})
	client, server := pair(t, n)
	const size = 250_000 // a second's worth
	start := time.Now()
	go func() {
		_, _ = client.Write(make([]byte, size)) // the reader notices what is missing
		_ = client.Close()
	}()
	got, err := io.Copy(io.Discard, server)
	if took := time.Since(start); err != nil || got != size || took < 900*time.Millisecond || took > 10*time.Second {
		t.Errorf("%d bytes in %s, %v; want %d in a little over a second", got, took, err, size)
	}
}

func TestProcessLivesInTheSiteAndDiesWithIt(t *testing.T) {
	n := open(t, Conditions{})
	out, err := exec.Command("true").Output()
	if err != nil {
		t.Skip("NOT TESTED: no coreutils", out)
	}
	show := exec.Command("cat", "/proc/net/dev")
	var text strings.Builder
	show.Stdout = &text
	if err := n.Site("a").Start(show); err != nil {
		t.Fatal(err)
	}
	if err := show.Wait(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text.String(), device) || strings.Contains(text.String(), "eth0") {
		t.Errorf("the process sees these devices:\n%s", text.String())
	}
	long := exec.Command("sleep", "600")
	other, err := Open(Config{Sites: []string{"c"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Site("c").Start(long); err != nil {
		t.Fatal(err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	err = long.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("the process of a closed site ended with %v, want SIGKILL", err)
	}
	if err := other.Site("c").Do(func() error { return nil }); !errors.Is(err, ErrClosed) {
		t.Errorf("a closed site answers %v", err)
	}
}
