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

// Others are the strings of a token besides its payer and its ID.
type Others [8]string

// NewText returns the Text of a token. It holds the ID once if the payer ends in it.
func NewText(payer, id string, others Others) Text {
	header := []byte{apart}
	if strings.HasSuffix(payer, id) {
		header[0] = shared
	}
	header = binary.AppendUvarint(header, uint64(len(payer)))
	header = binary.AppendUvarint(header, uint64(len(id)))
	size := len(payer) + len(id)
	for _, s := range others {
		header = binary.AppendUvarint(header, uint64(len(s)))
		size += len(s)
	}
	var text strings.Builder
	text.Grow(len(header) + size)
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
	lengths, at := t.header()
	return string(t[at : at+lengths[0]])
}

// ID returns the token's ID.
func (t Text) ID() string {
	lengths, at := t.header()
	end := t.afterID(lengths, at)
	return string(t[end-lengths[1] : end])
}

// Others returns the other strings.
func (t Text) Others() (others Others) {
	lengths, at := t.header()
	at = t.afterID(lengths, at)
	for i := range others {
		length := lengths[2+i]
		others[i] = string(t[at : at+length])
		at += length
	}
	return others
}

// afterID returns the end of the payer and the ID, which begin at a place.
func (t Text) afterID(lengths [10]int, at int) int {
	if at += lengths[0]; t[0] == apart {
		at += lengths[1]
	}
	return at
}

// header returns the lengths of the payer, the ID and the others, and where their bytes begin.
func (t Text) header() (lengths [10]int, at int) {
	at = 1
	for i := range lengths {
		for shift := 0; ; shift += 7 {
			b := t[at]
			at++
			lengths[i] |= int(b&0x7f) << shift
			if b < 0x80 {
				break
			}
		}
	}
	return lengths, at
}
