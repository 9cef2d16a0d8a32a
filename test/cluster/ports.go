package cluster

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
)

// Ports are handed out below the range from which the kernel takes those of outgoing connections.
const (
	firstPort = 15000
	portCount = 16000
)

// portFile counts the ports that were handed out, by all test processes of this machine together: a port is free
// between its choice and the start of its node, so that two processes could choose the same one.
func portFile() string {
	return filepath.Join(os.TempDir(), "geogate-test-ports-"+strconv.Itoa(os.Getuid()))
}

var portMutex sync.Mutex // the lock of the file is the process's

func freeAddr(t testing.TB) string {
	t.Helper()
	portMutex.Lock()
	defer portMutex.Unlock()
	f, err := os.OpenFile(portFile(), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil { // given up with the file
		t.Fatal(err)
	}
	text, err := io.ReadAll(io.LimitReader(f, 20))
	if err != nil {
		t.Fatal(err)
	}
	next, _ := strconv.Atoi(string(text)) // a new file, and nonsense in it, begin anew
	for range portCount {
		next = (max(next, 0) + 1) % portCount
		addr := fmt.Sprintf("127.0.0.1:%d", firstPort+next)
		l, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if err := f.Truncate(0); err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte(strconv.Itoa(next)), 0); err != nil {
			t.Fatal(err)
		}
		return addr
	}
	t.Fatalf("no free port between %d and %d", firstPort, firstPort+portCount)
	return ""
}
