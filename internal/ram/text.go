package ram

import (
	"encoding/binary"
	"strings"
)

// Text is the strings of a token in one string: the lengths of all, then their bytes. It is
// immutable.
type Text string

// The first bytes of a Text.
const (
	apart  = '0' // the ID follows the payer
	shared = '1' // the payer ends in the ID
)

// NewText returns the Text of a token. It holds the ID once if the payer ends in it.
func NewText(payer, id string, others ...string) Text {
	header := []byte{apart}
	if strings.HasSuffix(payer, id) {
		header[0] = shared
	}
	header = binary.AppendUvarint(header, uint64(len(payer)))
	header = binary.AppendUvarint(header, uint64(len(id)))
	header = append(header, byte(len(others)))
	size := len(header) + len(payer) + len(id)
	for _, s := range others {
		header = binary.AppendUvarint(header, uint64(len(s)))
		size += len(s)
	}
	var text strings.Builder
	text.Grow(size)
	text.Write(header)
	text.WriteString(payer)
	if header[0] == apart {
		text.WriteString(id)
	}
	for _, s := range others {
		text.WriteString(s)
	}
	return Text(text.String())
}

// Payer returns the token's payer.
func (t Text) Payer() string {
	payer, _, _, at := t.header()
	return string(t[at : at+payer])
}

// ID returns the token's ID.
func (t Text) ID() string {
	payer, id, _, at := t.header()
	if at += payer; t[0] == shared {
		at -= id
	}
	return string(t[at : at+id])
}

// Others returns the strings after the ID.
func (t Text) Others() []string {
	payer, id, lengths, at := t.header()
	if at += payer; t[0] == apart {
		at += id
	}
	others := make([]string, 0, 8)
	for len(lengths) > 0 {
		length, rest := uvarint(lengths)
		others, lengths = append(others, string(t[at:at+length])), rest
		at += length
	}
	return others
}

// header returns the lengths of the payer and of the ID, the encoded lengths of the others,
// and where the bytes begin.
func (t Text) header() (payer, id int, others Text, at int) {
	payer, rest := uvarint(t[1:])
	id, rest = uvarint(rest)
	count, rest := int(rest[0]), rest[1:]
	others = rest
	for range count {
		_, rest = uvarint(rest)
	}
	return payer, id, others[:len(others)-len(rest)], len(t) - len(rest)
}

// uvarint returns the number that t begins with, and the rest of t.
func uvarint(t Text) (n int, rest Text) {
	for shift := 0; ; shift += 7 {
		b := t[0]
		n |= int(b&0x7f) << shift
		if t = t[1:]; b < 0x80 {
			return n, t
		}
	}
}
