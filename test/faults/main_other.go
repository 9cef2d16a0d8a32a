//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	_, _ = fmt.Fprintln(os.Stderr, "faults: NOT RUN: network namespaces and TUN devices need Linux")
}
