package main

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"
)

// TestLineDelaysAndKeepsOrder sends numbers while the delay goes up and down.
func TestLineDelaysAndKeepsOrder(t *testing.T) {
	in, out := net.Pipe()
	line := newLongLine(in)
	const numbers = 300
	const delay = 30 * time.Millisecond
	begin := time.Now()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		var b [8]byte
		for n := range numbers {
			binary.BigEndian.PutUint64(b[:], uint64(n))
			d := delay
			if n >= numbers/2 {
				d = 0 // behind what is still on its way
			}
			if !line.send(b[:], d) {
				t.Error("the line failed")
			}
			clear(b[:]) // the caller's again
		}
	}()
	var b [8]byte
	for n := range numbers {
		if _, err := io.ReadFull(out, b[:]); err != nil {
			t.Fatal(err)
		}
		if got := binary.BigEndian.Uint64(b[:]); got != uint64(n) {
			t.Fatalf("%d arrived, want %d", got, n)
		}
		if took := time.Since(begin); took < delay {
			t.Fatalf("number %d arrived after %s, want at least %s", n, took, delay)
		}
	}
	<-sent
	line.close()
}

// TestLineBringsAllBeforeItEnds sends and closes at once.
func TestLineBringsAllBeforeItEnds(t *testing.T) {
	var to bytes.Buffer
	line := newLongLine(&to)
	line.send([]byte("late"), 10*time.Millisecond)
	line.close()
	if to.String() != "late" {
		t.Errorf("%q arrived", to.String())
	}
}

// TestLineSaysThatNobodyTakesIt sends to an end that is closed.
func TestLineSaysThatNobodyTakesIt(t *testing.T) {
	in, out := net.Pipe()
	_ = out.Close()
	line := newLongLine(in)
	defer line.close()
	if line.send([]byte("x"), 0) {
		t.Error("the line takes what it can't deliver")
	}
}

func TestNapIsNotShort(t *testing.T) {
	n := newNap()
	defer n.close()
	for _, d := range []time.Duration{-time.Second, 0, time.Microsecond, 1300 * time.Microsecond, 20 * time.Millisecond} {
		begin := time.Now()
		n.take(d)
		if took := time.Since(begin); took < d {
			t.Errorf("slept %s of %s", took, d)
		}
	}
}
