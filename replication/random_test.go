package replication

import "crypto/rand"

// random bytes do not compress.
func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) //nolint:errcheck // never fails
	return b
}
