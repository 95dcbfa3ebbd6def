package failures

import (
	"crypto/sha256"
	"net/netip"
)

// Attempt is a key that is looked up at the expense of its address. The zero Attempt is that of a
// key which is not metered; it is not Allowed.
type Attempt struct {
	Ticket
	meter  *Meter
	addr   netip.Addr
	digest [sha256.Size]byte
}

// Begin takes one from the address of a key, as Take does. If the key may be looked up, call
// Succeeded or Failed when its state is known. A failure of the store needs neither: it is paid
// for, since the attempts of a flood may have caused it.
func (m *Meter) Begin(addr netip.Addr, digest [sha256.Size]byte) Attempt {
	a := Attempt{meter: m, addr: addr, digest: digest}
	a.Ticket = m.Take(addr, &a.digest)
	return a
}

// Succeeded gives the attempt back, and remembers that the key is good.
func (a *Attempt) Succeeded() {
	a.meter.Return(a.addr, &a.digest, a.Ticket)
	a.meter.Remember(&a.digest)
}

// Failed forgets that the key was good.
func (a *Attempt) Failed() { a.meter.Forget(&a.digest) }
