package configs

import (
	"os"
	"testing"
)

// FuzzParse: any bytes are a topology or an error with words; a topology that was read can be written and read again.
func FuzzParse(f *testing.F) {
	example, err := os.ReadFile("geogate.example.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(example)
	f.Add([]byte("a: &a [*a]"))
	f.Add([]byte("limits: {queue_bytes: 99999999999999999999GiB}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		topology, err := Parse("t.yaml", b)
		if err != nil {
			if err.Error() == "" {
				t.Fatal("an error without words")
			}
			return
		}
		written, err := topology.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse("t.yaml", written); err != nil {
			t.Fatalf("%v in what was written:\n%s", err, written)
		}
	})
}
