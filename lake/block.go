package lake

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/bits"

	"github.com/go-json-experiment/json"
	"github.com/minio/crc64nvme"
	"github.com/zeebo/xxh3"
)

// A partition is made of blocks: a block is one row group and, right behind it, the
// Bloom filter of its event IDs. Blocks that a rewrite does not touch are copied as
// they are. The footer has a table of them, as JSON, under blocksKey.
const blocksKey = "afterhours.blocks"

// Bounds of a block, whichever is reached first: what a late event costs, what
// readers must take as a whole, and what a rewrite holds in memory at a time.
// A block that grows gets a quarter larger before it is divided.
const (
	defaultBlockRows = 16 << 10
	blockBytes       = 16 << 20
)

// filterBits are the bits of a Bloom filter for each event ID: about one ID of a
// thousand is taken for one that may be there.
const filterBits = 16

// block is a block as the footer's table has it.
type block struct {
	// From divides the block from the one before: it is behind all its keys, and
	// not behind any of this block's. The first block's says nothing.
	From []byte `json:"from"`

	Rows      int64 `json:"rows"`
	Late      int64 `json:"late"`
	Conflicts int64 `json:"conflicts"`

	// The parts of the block, in this order.
	Head    part `json:"head"`    // all columns but the payloads
	Payload part `json:"payload"` // the column of payloads
	Filter  part `json:"filter"`
}

// part is a stretch of bytes.
type part struct {
	Size int64    `json:"size"`
	Sum  checksum `json:"crc"`
}

// add adds bytes to the part.
func (p *part) add(b []byte) {
	*p = part{p.Size + int64(len(b)), checksum(crc64nvme.Update(uint64(p.Sum), b))}
}

// sameBytes reports whether two blocks have the same bytes, as far as their sizes and
// checksums tell.
func (b *block) sameBytes(o *block) bool {
	return b.Head == o.Head && b.Payload == o.Payload && b.Filter == o.Filter
}

func (b *block) size() int64 { return b.Head.Size + b.Payload.Size + b.Filter.Size }

// table is what a footer says of a partition's blocks.
type table struct {
	Blocks []block  `json:"blocks"`
	Index  checksum `json:"index_crc"` // of the page index
}

func (t *table) encode() (string, error) {
	b, err := json.Marshal(t, json.Deterministic(true))
	if err != nil {
		return "", fmt.Errorf("encode table of blocks: %w", err)
	}
	return string(b), nil
}

func decodeTable(text string) (*table, error) {
	t := &table{}
	if err := json.Unmarshal([]byte(text), t, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("decode table of blocks: %w", err)
	}
	for i, b := range t.Blocks {
		if b.Rows < 1 || b.Late < 0 || b.Conflicts < 0 || b.Late > b.Rows || b.Conflicts > b.Rows || b.Head.Size < 1 || b.Payload.Size < 1 || b.Filter.Size < 1 {
			return nil, fmt.Errorf("block %d has an impossible count: %+v", i, b)
		}
		if i > 1 && bytes.Compare(t.Blocks[i-1].From, b.From) >= 0 {
			return nil, fmt.Errorf("blocks %d and %d are out of order", i-1, i)
		}
	}
	return t, nil
}

// sums returns what all blocks have together.
func (t *table) sums() (all block) {
	for _, b := range t.Blocks {
		all.Rows += b.Rows
		all.Late += b.Late
		all.Conflicts += b.Conflicts
	}
	return all
}

// separator returns the shortest key that is behind a and not behind b, where a is
// before b.
func separator(a, b []byte) []byte {
	n := 0
	for n < len(a) && a[n] == b[n] {
		n++
	}
	return bytes.Clone(b[:n+1])
}

// checksum is a CRC-64/NVME, which finds every flipped bit and nearly all else.
type checksum uint64

func checksumOf(b []byte) checksum { return checksum(crc64nvme.Update(0, b)) }

// then returns the checksum of two stretches of bytes, one behind the other, by the
// second's checksum and size: the first's, times x to the bits of the second, and the
// second's.
func (c checksum) then(next checksum, size int64) checksum {
	shift, power := uint64(1)<<63, uint64(1)<<55 // x to the 0, and to the bits of one byte
	for n := size; n > 0; n >>= 1 {
		if n&1 != 0 {
			shift = times(shift, power)
		}
		power = times(power, power)
	}
	return checksum(times(shift, uint64(c))) ^ next
}

// times multiplies two polynomials, whose lowest power is in the highest bit, modulo
// that of the checksum.
func times(a, b uint64) (product uint64) {
	for ; a != 0; a <<= 1 {
		if a>>63 != 0 {
			product ^= b
		}
		b = b>>1 ^ crc64nvme.NVME&-(b&1)
	}
	return product
}

// MarshalText returns 16 hexadecimal digits.
func (c checksum) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%016x", uint64(c)), nil }

// UnmarshalText reads what MarshalText returns.
func (c *checksum) UnmarshalText(b []byte) error {
	n, err := unhex(b, 8)
	if err == nil {
		*c = checksum(binary.BigEndian.Uint64(n))
	}
	return err
}

// content is a [Manifest].Content. Rows that leave are subtracted, so it need not be
// computed anew.
type content struct{ hi, lo uint64 }

func (c content) add(o content) content {
	lo, carry := bits.Add64(c.lo, o.lo, 0)
	hi, _ := bits.Add64(c.hi, o.hi, carry)
	return content{hi, lo}
}

func (c content) sub(o content) content {
	lo, borrow := bits.Sub64(c.lo, o.lo, 0)
	hi, _ := bits.Sub64(c.hi, o.hi, borrow)
	return content{hi, lo}
}

// String returns 32 hexadecimal digits.
func (c content) String() string { return fmt.Sprintf("%016x%016x", c.hi, c.lo) }

// MarshalText returns what String returns.
func (c content) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads what MarshalText returns.
func (c *content) UnmarshalText(b []byte) error {
	n, err := unhex(b, 16)
	if err == nil {
		c.hi, c.lo = binary.BigEndian.Uint64(n), binary.BigEndian.Uint64(n[8:])
	}
	return err
}

func unhex(b []byte, n int) ([]byte, error) {
	v := make([]byte, n)
	if len(b) != 2*n || !bytes.Equal(b, bytes.ToLower(b)) {
		return nil, errors.New("not a checksum")
	}
	_, err := hex.Decode(v, b)
	return v, err
}

// hasher computes what rows add to a partition's content.
type hasher struct{ buf []byte }

// row returns the content of one row: of its body as sorters have it, which says
// how long the ID is, and the ID.
func (h *hasher) row(r *record) content {
	h.buf = append(appendBody(h.buf[:0], r, hasCells), r.id...)
	return contentOf(h.buf)
}

func contentOf(b []byte) content {
	sum := xxh3.Hash128(b)
	return content{sum.Hi, sum.Lo}
}

// idContent returns what an event ID adds to a set of IDs.
func idContent(id []byte) content { return contentOf(id) }
