package consensus

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.etcd.io/etcd/raft/v3/raftpb"
	"go.etcd.io/etcd/server/v3/wal/walpb"
)

// Record types of etcd's write-ahead log; the wal package keeps them to itself.
const (
	metadataRecord int64 = iota + 1
	entryRecord
	stateRecord
	crcRecord
	snapshotRecord
)

const (
	frameBytes       = 8       // length field before each record; records are padded to a multiple of it
	maxIdentityBytes = 1 << 20 // more than what stands before and in the metadata of a segment
	sectorBytes      = 512     // what a disk writes whole or not at all
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// segment is one file of the write-ahead log, named SEQ-INDEX.wal: its place in the log and the index of the
// first entry that may stand in it.
type segment struct {
	name  string
	seq   uint64
	index uint64
}

// listSegments returns the segments in order. It is an error when one is missing between two others.
func listSegments(dir string) ([]segment, error) {
	files, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []segment
	for _, f := range files {
		s := segment{name: f.Name()}
		if !strings.HasSuffix(s.name, ".wal") {
			continue
		}
		if _, err := fmt.Sscanf(s.name, "%016x-%016x.wal", &s.seq, &s.index); err != nil {
			return nil, fmt.Errorf("%w: %s is not the name of a log segment; move it away", ErrDamaged, filepath.Join(dir, s.name))
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b segment) int { return strings.Compare(a.name, b.name) })
	for i := 1; i < len(all); i++ {
		if all[i].seq != all[i-1].seq+1 || all[i].index < all[i-1].index {
			return nil, fmt.Errorf("%w: in %s the segment between %s and %s is missing; put it back, or %s",
				ErrDamaged, dir, all[i-1].name, all[i].name, replaceNode)
		}
	}
	return all, nil
}

// Advice. Replacing the node always works. Rebuilding it is for a whole log whose state machine is lost.
const (
	replaceNode = "replace this node by one with a new node id and an empty directory"
	rebuildNode = "check the disk, then start this node with --rebuild to get a copy of the data from another node of its datacenter"
)

// logScan is what a pass over a write-ahead log finds. It checks more than etcd's reader does: the reader takes
// a length field beyond the end of the file for a torn write, and Repair would then cut off everything behind a
// single flipped bit, acknowledged writes included.
type logScan struct {
	identity  []byte
	snapshots []walpb.Snapshot
	state     raftpb.HardState
	entries   int    // seen, overwritten ones included
	last      uint64 // index of the entry or snapshot seen last
	before    int64  // type of the record seen last
	torn      string // what is torn at the end of the last segment; "" when nothing is

	crc uint32
}

// scanLog reads all segments and checks every record.
func scanLog(dir string, segments []segment) (*logScan, error) {
	s := &logScan{}
	for i, seg := range segments {
		path := filepath.Join(dir, seg.name)
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		if err := s.segment(data, i == len(segments)-1); err != nil {
			return nil, fmt.Errorf("%w: %s: %w; restore this file, or %s", ErrDamaged, path, err, replaceNode)
		}
	}
	return s, nil
}

// segment checks one segment's records up to its end.
func (s *logScan) segment(data []byte, last bool) error {
	for off := 0; off < len(data); {
		rec, size, err := readRecord(data[off:])
		if err == nil && rec != nil {
			err = s.record(rec)
		}
		if err == nil && rec != nil {
			off += size
			continue
		}
		rest := data[off:]
		if err == nil && allZero(rest) {
			return nil // preallocated space
		}
		if err == nil {
			err = errors.New("zeros where a record should be")
		}
		if !last || intactBatchFollows(rest) || !isTorn(rest, off) {
			return fmt.Errorf("at offset %d: %w", off, err)
		}
		s.torn = fmt.Sprintf("at offset %d of the last segment: %v", off, err)
		return nil
	}
	return nil
}

// readRecord decodes the record at the start of b. A nil record without an error means a length of zero.
func readRecord(b []byte) (*walpb.Record, int, error) {
	if len(b) < frameBytes {
		return nil, 0, errors.New("file ends within a length field")
	}
	field := binary.LittleEndian.Uint64(b)
	if field == 0 {
		return nil, 0, nil
	}
	length := field &^ (0xff << 56)
	pad := uint64(0)
	if field>>63 != 0 {
		pad = field >> 56 & 7
	}
	if length+pad > uint64(len(b)-frameBytes) {
		return nil, 0, fmt.Errorf("record of %d bytes ends beyond the file", length)
	}
	if (length+pad)%frameBytes != 0 {
		return nil, 0, fmt.Errorf("record of %d bytes is not padded", length)
	}
	rec := &walpb.Record{}
	if err := rec.Unmarshal(b[frameBytes : frameBytes+length]); err != nil {
		return nil, 0, fmt.Errorf("record can't be decoded: %w", err)
	}
	return rec, int(frameBytes + length + pad), nil
}

// record checks one record and follows what it says. The checksum covers the data of a record and not its type,
// so the content has to make sense too.
func (s *logScan) record(rec *walpb.Record) error {
	if rec.Type == crcRecord {
		if s.crc != 0 && rec.Crc != s.crc {
			return fmt.Errorf("checksum %08x does not continue the segment before, which ends with %08x", rec.Crc, s.crc)
		}
		s.crc = rec.Crc
		return nil
	}
	crc := crc32.Update(s.crc, castagnoli, rec.Data)
	if crc != rec.Crc {
		return fmt.Errorf("checksum is %08x, should be %08x", crc, rec.Crc)
	}
	if err := s.content(rec); err != nil {
		return err
	}
	s.crc, s.before = crc, rec.Type
	return nil
}

func (s *logScan) content(rec *walpb.Record) error {
	switch rec.Type {
	case metadataRecord:
		if s.identity != nil && !bytes.Equal(s.identity, rec.Data) {
			return errors.New("identity differs from the one before")
		}
		s.identity = rec.Data
	case entryRecord:
		var e raftpb.Entry
		if err := e.Unmarshal(rec.Data); err != nil {
			return fmt.Errorf("entry can't be decoded: %w", err)
		}
		// Only the first entry of a batch may replace what stands in the log, and never what is committed.
		if s.entries > 0 && e.Index > s.last+1 || s.before == entryRecord && e.Index != s.last+1 || e.Index <= s.state.Commit {
			return fmt.Errorf("entry %d after entry %d, committed %d", e.Index, s.last, s.state.Commit)
		}
		s.last, s.entries = e.Index, s.entries+1
	case stateRecord:
		var st raftpb.HardState
		if err := st.Unmarshal(rec.Data); err != nil {
			return fmt.Errorf("state can't be decoded: %w", err)
		}
		if st.Term < s.state.Term || st.Commit < s.state.Commit {
			return fmt.Errorf("state goes back from term %d commit %d to term %d commit %d", s.state.Term, s.state.Commit, st.Term, st.Commit)
		}
		s.state = st
	case snapshotRecord:
		var snap walpb.Snapshot
		if err := snap.Unmarshal(rec.Data); err != nil {
			return fmt.Errorf("snapshot record can't be decoded: %w", err)
		}
		s.snapshots = append(s.snapshots, snap)
		s.last = max(s.last, snap.Index)
	default:
		return fmt.Errorf("unknown record type %d", rec.Type)
	}
	return nil
}

// isTorn says whether b, which holds no valid record at its start, may be what an interrupted write left. off is
// b's offset in the file. Sectors are written whole, and new segments are full of zeros, so an interrupted write
// shows as a file that ends too early or as a sector of zeros within the record.
func isTorn(b []byte, off int) bool {
	if len(b) < frameBytes {
		return true
	}
	field := binary.LittleEndian.Uint64(b)
	if field == 0 {
		return true // later sectors of one batch got to the disk before this one
	}
	length := int64(field &^ (0xff << 56))
	pad := int64(0)
	if field>>63 != 0 {
		pad = int64(field >> 56 & 7)
	}
	if length+pad > int64(len(b)-frameBytes) {
		// The length was written in one piece. It is right if the file ends within the record, and wrong if
		// preallocated space follows.
		return !allZero(b[max(frameBytes, len(b)-sectorBytes):])
	}
	end := frameBytes + int(length+pad)
	for at := frameBytes; at < end; {
		next := min(at+sectorBytes-(off+at)%sectorBytes, end)
		if allZero(b[at:next]) {
			return true
		}
		at = next
	}
	return false
}

// intactBatchFollows says whether damage at the start of b is followed by a batch that was begun after the
// damaged one had been synced. Every batch ends with a state or a snapshot record and is synced before the next
// is begun, so an intact record after such an end proves it, and then the damage is no torn write.
func intactBatchFollows(b []byte) bool {
	for at := frameBytes; at+frameBytes <= len(b); at += frameBytes {
		rec, size, err := readRecord(b[at:])
		if err != nil || rec == nil || !plausible(rec) {
			continue
		}
		ended := false
		crc := rec.Crc
		for next := at + size; ; next += size {
			ended = ended || rec.Type == stateRecord || rec.Type == snapshotRecord
			if rec, size, err = readRecord(b[min(next, len(b)):]); err != nil || rec == nil || !plausible(rec) {
				break
			}
			if crc = crc32.Update(crc, castagnoli, rec.Data); crc != rec.Crc {
				break
			}
			if ended {
				return true
			}
		}
	}
	return false
}

// plausible keeps the search for intact records from starting at any eight bytes that look like a length.
func plausible(rec *walpb.Record) bool {
	return rec.Type >= metadataRecord && rec.Type <= snapshotRecord && len(rec.Data) > 0 && rec.XXX_unrecognized == nil
}

func allZero(b []byte) bool {
	for len(b) >= 8 {
		if binary.LittleEndian.Uint64(b) != 0 {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// firstIdentity reads the metadata at the head of a segment, nil when it is not there.
func firstIdentity(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	head, err := io.ReadAll(io.LimitReader(f, maxIdentityBytes))
	if err != nil {
		return nil, err
	}
	for len(head) > 0 {
		rec, size, err := readRecord(head)
		if err != nil || rec == nil {
			return nil, nil //nolint:nilerr // opening the log says what is wrong with it
		}
		if rec.Type == metadataRecord {
			return rec.Data, nil
		}
		head = head[size:]
	}
	return nil, nil
}
