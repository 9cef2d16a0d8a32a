package wire

import (
	"fmt"

	"google.golang.org/protobuf/proto"
)

// overheadBytes bounds what a signed shipment adds to its frame: names, numbers, the signature or MACs, and the
// worst case of a codec that does not compress.
const overheadBytes = 4096

// Assembler puts the parts of shipments together. Parts of one shipment must arrive in order; a first part
// starts anew, so a shipment whose writer stopped half way is forgotten when the next one begins.
type Assembler struct {
	MaxBytes int // of the frames of a shipment

	head *Part // of the shipment under way; its Data collects all parts
	next uint32
}

// Add takes one stream message. It returns the whole shipment when this was its last part, else nil, and
// the part's header in any case. An error means that the message does not fit what came before.
func (a *Assembler) Add(message []byte) (whole []byte, p *Part, err error) {
	p = &Part{}
	if err := proto.Unmarshal(message, p); err != nil {
		return nil, p, fmt.Errorf("%w: %w", ErrMessage, err)
	}
	if err := readable(p.Version); err != nil {
		return nil, p, err
	}
	if p.TotalBytes > uint64(a.MaxBytes)+overheadBytes || p.Count == 0 || p.Index >= p.Count {
		return nil, p, fmt.Errorf("%w: part %d of %d, %d bytes in all, the limit is %d", ErrMessage, p.Index, p.Count, p.TotalBytes, a.MaxBytes)
	}
	if p.Index == 0 {
		a.head, a.next = p, 0
		if p.Count > 1 {
			p.Data = append(make([]byte, 0, p.TotalBytes), p.Data...)
		}
	} else if a.head == nil || p.Index != a.next || p.LastRevision != a.head.LastRevision ||
		p.PrevRevision != a.head.PrevRevision || p.Count != a.head.Count || p.TotalBytes != a.head.TotalBytes {
		a.head = nil
		return nil, p, fmt.Errorf("%w: part %d of %d of the frame up to %d does not follow", ErrMessage, p.Index, p.Count, p.LastRevision)
	} else {
		if uint64(len(a.head.Data)+len(p.Data)) > a.head.TotalBytes {
			a.head = nil
			return nil, p, fmt.Errorf("%w: parts exceed the %d bytes announced", ErrMessage, p.TotalBytes)
		}
		a.head.Data = append(a.head.Data, p.Data...)
	}
	a.next++
	if a.next < p.Count {
		return nil, p, nil
	}
	whole, a.head = a.head.Data, nil
	if uint64(len(whole)) != p.TotalBytes {
		return nil, p, fmt.Errorf("%w: %d bytes, %d were announced", ErrMessage, len(whole), p.TotalBytes)
	}
	return whole, p, nil
}
