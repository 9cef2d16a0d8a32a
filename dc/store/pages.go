package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	bolt "go.etcd.io/bbolt"
)

// pageCheck walks all pages of a bbolt file that a transaction can reach, as bbolt does when it opens a file
// for writing: each page in bounds and referenced once, and keys in order within pages and between them.
// bbolt trusts lengths that it finds in pages and ends the process where it does not like them; this
// believes nothing, and returns an error.
type pageCheck struct {
	file     io.ReaderAt
	pageSize int
	pages    uint64 // number of pages in use
	seen     []uint64
	buffers  [][]byte // one for each depth
}

// The layout of bbolt's pages, all numbers in the machine's order: a header of id (8 bytes), flags (2),
// count (2) and overflow (4), then the elements. A branch element is the distance to its key (4), the key's
// length (4) and a page (8); a leaf element is flags (4), the distance to its key (4) and the lengths of
// key (4) and value (4), which lies behind the key. A bucket is a value of root page (8) and sequence (8);
// with root 0 a page follows inline.
const (
	pageHeaderBytes = 16
	elementBytes    = 16
	branchPage      = 1
	leafPage        = 2
	bucketElement   = 1
	bucketBytes     = 16
	maxPageDepth    = 64
)

// checkPages checks the file at path as the transaction sees it.
func checkPages(path string, tx *bolt.Tx) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size := tx.DB().Info().PageSize
	c := pageCheck{file: f, pageSize: size, pages: uint64(tx.Size()) / uint64(size)}
	c.seen = make([]uint64, c.pages/64+1)
	return c.tree(uint64(tx.Cursor().Bucket().Root()))
}

// tree checks the pages of one bucket; their keys begin anew.
func (c *pageCheck) tree(root uint64) error {
	_, err := c.page(root, nil, nil, 0)
	return err
}

// page checks a page and all below it. Its keys must be at or behind low, and before high. It returns the
// greatest key, valid until the page is read over.
func (c *pageCheck) page(id uint64, low, high []byte, depth int) (last []byte, err error) {
	p, err := c.read(id, depth)
	if err != nil {
		return nil, fmt.Errorf("page %d: %w", id, err)
	}
	switch binary.NativeEndian.Uint16(p[8:]) {
	case branchPage:
		last, err = c.branch(p, low, high, depth)
	case leafPage:
		last, err = c.leaf(p, low, high, depth)
	default:
		err = fmt.Errorf("unknown kind %#x", binary.NativeEndian.Uint16(p[8:]))
	}
	if err != nil {
		return nil, fmt.Errorf("page %d: %w", id, err)
	}
	return last, nil
}

// read reads a page with its overflow, and notes that it is used.
func (c *pageCheck) read(id uint64, depth int) ([]byte, error) {
	if depth == maxPageDepth {
		return nil, errors.New("nested too deep")
	}
	if depth == len(c.buffers) {
		c.buffers = append(c.buffers, make([]byte, c.pageSize))
	}
	if err := c.use(id); err != nil {
		return nil, err
	}
	buf := c.buffers[depth][:c.pageSize]
	if _, err := c.file.ReadAt(buf, int64(id)*int64(c.pageSize)); err != nil {
		return nil, err
	}
	if got := binary.NativeEndian.Uint64(buf); got != id {
		return nil, fmt.Errorf("calls itself %d", got)
	}
	overflow := uint64(binary.NativeEndian.Uint32(buf[12:]))
	if overflow == 0 {
		return buf, nil
	}
	if overflow >= c.pages {
		return nil, fmt.Errorf("goes on for %d pages", overflow)
	}
	for i := range overflow {
		if err := c.use(id + 1 + i); err != nil {
			return nil, err
		}
	}
	// Not kept at this depth: pages of large values are few.
	buf = make([]byte, (int(overflow)+1)*c.pageSize)
	if _, err := c.file.ReadAt(buf, int64(id)*int64(c.pageSize)); err != nil {
		return nil, err
	}
	return buf, nil
}

func (c *pageCheck) use(id uint64) error {
	if id < 2 || id >= c.pages {
		return fmt.Errorf("is outside of the %d pages in use", c.pages)
	}
	word, bit := id/64, uint64(1)<<(id%64)
	if c.seen[word]&bit != 0 {
		return errors.New("is used twice")
	}
	c.seen[word] |= bit
	return nil
}

func (c *pageCheck) branch(p, low, high []byte, depth int) (last []byte, err error) {
	count := int(binary.NativeEndian.Uint16(p[10:]))
	if count == 0 {
		return nil, errors.New("branch without a child")
	}
	next, err := branchKey(p, 0)
	if err != nil {
		return nil, err
	}
	last = low
	for i := range count {
		key := next
		if err := inOrder(key, last, high, i > 0); err != nil {
			return nil, err
		}
		end := high
		if i+1 < count {
			if next, err = branchKey(p, i+1); err != nil {
				return nil, err
			}
			end = next
		}
		child := binary.NativeEndian.Uint64(p[pageHeaderBytes+i*elementBytes+8:])
		if last, err = c.page(child, key, end, depth+1); err != nil {
			return nil, err
		}
	}
	return bytes.Clone(last), nil // it lies in a buffer that the next page at that depth reuses
}

func branchKey(p []byte, i int) ([]byte, error) {
	at := pageHeaderBytes + i*elementBytes
	if at+elementBytes > len(p) {
		return nil, fmt.Errorf("element %d is outside", i)
	}
	pos, size := binary.NativeEndian.Uint32(p[at:]), binary.NativeEndian.Uint32(p[at+4:])
	return within(p, at, pos, size)
}

// within is the part of a page that an element at a place points to.
func within(p []byte, at int, pos, size uint32) ([]byte, error) {
	from := uint64(at) + uint64(pos)
	to := from + uint64(size)
	if to > uint64(len(p)) {
		return nil, fmt.Errorf("bytes %d to %d of %d", from, to, len(p))
	}
	return p[from:to:to], nil
}

func (c *pageCheck) leaf(p, low, high []byte, depth int) (last []byte, err error) {
	count := int(binary.NativeEndian.Uint16(p[10:]))
	last = low
	for i := range count {
		at := pageHeaderBytes + i*elementBytes
		if at+elementBytes > len(p) {
			return nil, fmt.Errorf("element %d is outside", i)
		}
		flags, pos := binary.NativeEndian.Uint32(p[at:]), binary.NativeEndian.Uint32(p[at+4:])
		keySize, valueSize := binary.NativeEndian.Uint32(p[at+8:]), binary.NativeEndian.Uint32(p[at+12:])
		key, err := within(p, at, pos, keySize)
		if err != nil {
			return nil, err
		}
		value, err := within(p, at+int(pos), keySize, valueSize)
		if err != nil {
			return nil, err
		}
		if err := inOrder(key, last, high, i > 0); err != nil {
			return nil, err
		}
		last = key
		switch {
		case flags == bucketElement:
			err = c.bucket(value, depth)
		case flags != 0:
			err = fmt.Errorf("unknown flags %#x", flags)
		}
		if err != nil {
			return nil, fmt.Errorf("element %q: %w", key, err)
		}
	}
	return bytes.Clone(last), nil
}

func (c *pageCheck) bucket(value []byte, depth int) error {
	if len(value) < bucketBytes {
		return errors.New("bucket is too short")
	}
	if root := binary.NativeEndian.Uint64(value); root != 0 {
		_, err := c.page(root, nil, nil, depth+1)
		return err
	}
	inline := value[bucketBytes:]
	if len(inline) < pageHeaderBytes || binary.NativeEndian.Uint16(inline[8:]) != leafPage {
		return errors.New("inline bucket without a page")
	}
	_, err := c.leaf(inline, nil, nil, depth+1)
	return err
}

// inOrder checks a key against the one before it, which it may equal only as the first of its page, and the
// bound of its page.
func inOrder(key, before, high []byte, strict bool) error {
	if before != nil {
		if cmp := bytes.Compare(before, key); cmp > 0 || (strict && cmp == 0) {
			return fmt.Errorf("key %x is behind %x", key, before)
		}
	}
	if high != nil && bytes.Compare(key, high) >= 0 {
		return fmt.Errorf("key %x is not before %x", key, high)
	}
	return nil
}
