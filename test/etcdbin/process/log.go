package process

import (
	"bytes"
	"io"
	"os"
)

// tailBytes of a log are enough to say why a server did not start.
const tailBytes = 4 << 10

// LogTail is the end of the process's log, in whole lines.
func (p *Process) LogTail() string {
	f, err := os.Open(p.log)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = f.Close() }() // only read
	info, err := f.Stat()
	if err != nil {
		return err.Error()
	}
	from := max(0, info.Size()-tailBytes)
	b, err := io.ReadAll(io.NewSectionReader(f, from, tailBytes))
	if err != nil {
		return err.Error()
	}
	if from > 0 {
		_, b, _ = bytes.Cut(b, []byte("\n"))
	}
	return string(bytes.TrimSpace(b))
}
