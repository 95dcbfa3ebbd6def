package failures_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/httpkey/httpkey/internal/failures"
)

var (
	attacker = netip.MustParseAddr("203.0.113.7")
	other    = netip.MustParseAddr("203.0.113.8")
)

// digest returns the digest of the key with a number.
func digest(n int) *[32]byte {
	var d [32]byte
	for i := range uint64(4) { // as SplitMix64
		x := uint64(n)*4 + i
		x *= 0x9e3779b97f4a7c15
		x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
		x = (x ^ x>>27) * 0x94d049bb133111eb
		binary.LittleEndian.PutUint64(d[8*i:], x^x>>31)
	}
	return &d
}

// flood sends many keys that no other flood sends, and returns how many pass.
func flood(m *failures.Meter, a netip.Addr, first, count int) (passed int) {
	for n := range count {
		if m.Take(a, digest(first+n)).Allowed {
			passed++
		}
	}
	return passed
}

// A million keys of one address, fewer under the race detector, over an hour, take what the limit admits, to the key.
func TestBadKeysOfAnAddressAreBounded(t *testing.T) {
	t.Parallel()
	for _, limit := range []struct {
		rate, burst int64
		period      time.Duration
		want        int
	}{
		{10, 10, time.Minute, 610 - 1}, // the last refill comes with the hour
		{10, 30, time.Minute, 630 - 1},
		{1, 1, time.Hour, 1},
		{100, 20, time.Second, 20 * 10_000}, // it is full at each step
	} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m := failures.New(limit.rate, limit.burst, limit.period)
				const slots, each = 10_000, keys / 10_000
				passed := 0
				for slot := range slots {
					passed += flood(m, attacker, slot*each, each)
					time.Sleep(time.Hour / slots) // in the bubble's time
				}
				if want := limit.want; passed < want-1 || passed > want+1 {
					t.Errorf("%d of %d keys passed, want %d", passed, slots*each, want)
				}
			})
		})
	}
}

// Many keys at once pass as often as Burst says.
func TestBadKeysAtOnce(t *testing.T) {
	t.Parallel()
	const burst, callers, each = 50, 16, 500
	for name, keyOf := range map[string]func(n int) int{
		"of their own":   func(n int) int { return n },
		"all one":        func(int) int { return 1 },
		"a few of them":  func(n int) int { return n % 100 },
		"twice in a row": func(n int) int { return n / 2 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := failures.New(1, burst, 1000*time.Hour)
			var passed atomic.Int64
			var callersLeft sync.WaitGroup
			for caller := range callers {
				callersLeft.Go(func() {
					for n := range each {
						if m.Take(attacker, digest(keyOf(caller*each+n))).Allowed {
							passed.Add(1)
						}
					}
				})
			}
			callersLeft.Wait()
			if passed.Load() != burst {
				t.Errorf("%d keys passed at once, want %d", passed.Load(), burst)
			}
		})
	}
}

// An attacker who lets keys wait gets as many again as one who does not.
func TestKeysThatWaitAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := failures.New(60, 20, time.Minute)
		const minutes, most = 3, 2 * (60*3 + 20)
		passed := 0
		for second := range minutes * 60 {
			passed += flood(m, attacker, second/3*500, 500) // the same for three seconds
			time.Sleep(time.Second)
		}
		if passed > most || passed < most*3/4 {
			t.Errorf("%d keys passed, want at most %d, and not far from it", passed, most)
		}
	})
}

// The same bad keys again and again take nothing from the second bucket but once a window.
func TestLoopsOfBadKeysLeaveRoom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := failures.New(60, 20, time.Minute)
		const seconds = 600
		passed := 0
		for range seconds * 100 {
			passed += flood(m, attacker, 0, 5)
			time.Sleep(10 * time.Millisecond)
		}
		if most := seconds + 20 + 5*(seconds/20+1); passed > most {
			t.Errorf("5 bad keys passed %d times, want at most %d", passed, most)
		}
	})
}

// While a flood takes each refill at once, a good key that is not known passes after its wait.
func TestUnknownGoodKeysPassAfterTheirWait(t *testing.T) {
	t.Parallel()
	for name, keyOf := range map[string]func(n int) int{
		"of made-up keys":      func(n int) int { return n },
		"of a key":             func(int) int { return 1 },
		"of ten keys":          func(n int) int { return n % 10 },
		"of keys that repeat":  func(n int) int { return n / 2 },
		"of keys, ten at once": func(n int) int { return n - n%10 + n%2 },
	} {
		t.Run("a flood "+name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m := failures.New(60, 20, time.Minute)
				end := make(chan struct{})
				go func() { // ends at the end of the test
					for n := 0; ; n++ {
						m.Take(attacker, digest(keyOf(n+1)))
						select {
						case <-end:
							return
						case <-time.After(5 * time.Millisecond):
						}
					}
				}()
				defer close(end)
				for key := range 10 {
					time.Sleep(time.Second + time.Millisecond) // the first bucket is empty, and stays so
					good := digest(-1 - key)
					denied := m.Take(attacker, good)
					if denied.Allowed || denied.RetryAfter != 1_000_000 {
						t.Fatalf("key %d: the first answer is %+v", key, denied)
					}
					time.Sleep(time.Duration(denied.RetryAfter)*time.Microsecond + 6*time.Millisecond)
					allowed := m.Take(attacker, good)
					if !allowed.Allowed {
						t.Fatalf("key %d: after its wait, the answer is %+v", key, allowed)
					}
					m.Return(attacker, good, allowed)
					m.Remember(good)
					if again := m.Take(attacker, good); !again.Allowed {
						t.Errorf("key %d: once it is known, the answer is %+v", key, again)
					}
				}
			})
		})
	}
}

// Programs that share a good key do not prolong each other's waits.
func TestSharedKeysWaitOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := failures.New(60, 20, time.Minute)
		flood(m, attacker, 100, 20)
		for range 10 {
			if m.Take(attacker, digest(1)).Allowed {
				t.Fatal("the first bucket is not empty")
			}
			time.Sleep(99 * time.Millisecond)
		}
		time.Sleep(10 * time.Millisecond)
		flood(m, attacker, 200, 1)
		if !m.Take(attacker, digest(1)).Allowed {
			t.Error("after its wait, the key is denied")
		}
	})
}

// A key whose wait is displaced waits again. Others displace it only if their line is full, and
// the one that began first goes first.
func TestDisplacedWaits(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		others int
		passes bool
	}{{0, true}, {7, true}, {8, false}, {100, false}} {
		synctest.Test(t, func(t *testing.T) {
			m := failures.New(60, 1, time.Minute)
			good, bad := digest(1), *digest(1)
			flood(m, attacker, 100, 1)
			if m.Take(attacker, good).Allowed {
				t.Fatal("the first bucket is not empty")
			}
			for range tt.others {
				time.Sleep(5 * time.Millisecond)
				bad[15]++
				m.Take(attacker, &bad)
			}
			time.Sleep(time.Second)
			flood(m, attacker, 200, 1)
			if passes := m.Take(attacker, good).Allowed; passes != tt.passes {
				t.Errorf("after %d others, the key passes: %v", tt.others, passes)
			}
		})
	}
}

// Waits of years do not wrap around.
func TestLongWaits(t *testing.T) {
	t.Parallel()
	m := failures.New(1, 1, 140*365*24*time.Hour)
	for i, want := range []int{1, 0, 0, 0} {
		if passed := flood(m, attacker, i/2, 1); passed != want {
			t.Errorf("%d: %d keys passed, want %d", i, passed, want)
		}
	}
}

// Good keys that are known pass always, and take nothing. Keys that are good but not known pay
// nothing in the end.
func TestGoodKeysPass(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := failures.New(10, 10, time.Minute)
		for key := range 1000 {
			ticket := m.Take(attacker, digest(key))
			if !ticket.Allowed || ticket.Remaining != 9 {
				t.Fatalf("key %d: %+v", key, ticket)
			}
			m.Return(attacker, digest(key), ticket)
			m.Remember(digest(key))
		}
		denied, displaced := 0, 0
		for n := range 100_000 {
			if !m.Take(attacker, digest(1_000_000+n)).Allowed {
				denied++
			}
			if ticket := m.Take(attacker, digest(n%1000)); !ticket.Allowed {
				displaced++
			} else {
				m.Return(attacker, digest(n%1000), ticket) // gives back nothing
			}
		}
		if denied != 100_000-10 {
			t.Errorf("%d of 100,000 bad keys were denied", denied)
		}
		if displaced > 0 {
			t.Errorf("good keys were denied %d times", displaced)
		}
	})
}

// A good key is known until Forget, and one that was never good is not.
func TestForget(t *testing.T) {
	t.Parallel()
	m := failures.New(1, 1, 1000*time.Hour)
	isKnown := func(n int) bool { return m.Take(attacker, digest(n)).Allowed }
	if flood(m, attacker, 100, 2) != 1 {
		t.Fatal("the bucket is not empty")
	}
	if m.Remember(digest(1)); !isKnown(1) || isKnown(2) {
		t.Error("not one key is known")
	}
	m.Forget(digest(2))
	if !isKnown(1) {
		t.Error("a key is forgotten for another")
	}
	if m.Forget(digest(1)); isKnown(1) {
		t.Error("a key is not forgotten")
	}
	m.Forget(digest(1))
	if m.Remember(digest(1)); !isKnown(1) {
		t.Error("a key does not become known again")
	}
	for _, i := range []int{0, 1, 8, 15} { // the bytes that count
		changed := *digest(1)
		if changed[i] ^= 2; m.Take(attacker, &changed).Allowed {
			t.Errorf("a digest that differs in byte %d is known", i)
		}
	}
}

// Ten thousand good keys are all known, and more than there is room for displace some.
func TestManyGoodKeys(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ keys, least int }{{10_000, 9_990}, {20_000, 19_900}} {
		m := failures.New(1, 1, 1000*time.Hour)
		flood(m, attacker, 1<<30, 1)
		for key := range tt.keys {
			m.Remember(digest(key))
		}
		known := 0
		for key := range tt.keys {
			if m.Take(attacker, digest(key)).Allowed {
				known++
			}
		}
		if t.Logf("%d of %d", known, tt.keys); known < tt.least {
			t.Errorf("%d of %d keys are known, want at least %d", known, tt.keys, tt.least)
		}
	}
}

// Return gives back the one that Take took, once, to the same address.
func TestReturn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := failures.New(3, 3, time.Hour)
		remaining := func(a netip.Addr) int64 {
			ticket := m.Take(a, digest(0))
			m.Return(a, digest(0), ticket)
			if !ticket.Allowed {
				return 0
			}
			return ticket.Remaining + 1
		}
		tickets := []failures.Ticket{}
		for n := range 5 {
			tickets = append(tickets, m.Take(attacker, digest(n)))
		}
		for i, want := range []int64{0, 0, 1, 2, 3} {
			m.Return(attacker, digest(4-i), tickets[4-i])
			if got := remaining(attacker); got != want {
				t.Errorf("after %d, %d are left, want %d", i+1, got, want)
			}
		}
		if m.Return(attacker, digest(0), failures.Ticket{}); remaining(attacker) != 3 || remaining(other) != 3 {
			t.Error("the zero Ticket changes a bucket")
		}
		flood(m, attacker, 10, 10)
		time.Sleep(20 * time.Minute)
		flood(m, attacker, 20, 1)
		if again := flood(m, attacker, 13, 3); again != 3 {
			t.Errorf("%d keys that waited passed", again)
		}
		if denied := m.Take(attacker, digest(16)); !denied.Allowed {
			m.Return(attacker, digest(16), denied)
		}
		if m.Take(attacker, digest(16)).Allowed {
			t.Error("a key that took nothing gives back")
		}
		time.Sleep(10 * time.Hour)
		late := m.Take(attacker, digest(1))
		time.Sleep(10 * time.Hour)
		if m.Return(attacker, digest(1), late); remaining(attacker) != 3 {
			t.Error("a bucket is more than full")
		}
	})
}

// A key that was good has not been looked up in vain.
func TestReturnedKeysNeedNoWindow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := failures.New(60, 10, time.Minute)
		ticket := m.Take(attacker, digest(1))
		m.Return(attacker, digest(1), ticket)
		flood(m, attacker, 100, 10)
		if m.Take(attacker, digest(1)).Allowed {
			t.Fatal("the first bucket is not empty")
		}
		time.Sleep(time.Second)
		flood(m, attacker, 200, 1)
		if !m.Take(attacker, digest(1)).Allowed {
			t.Error("the key has waited in vain")
		}
	})
}

func TestAddressesArePaidForApart(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		attacker, other string
		isOne           bool
	}{
		{"203.0.113.7", "203.0.113.8", false},
		{"203.0.113.7", "::ffff:203.0.113.7", true},
		{"203.0.113.7", "", false},
		{"2001:db8:1:2::1", "2001:db8:1:2:ffff::9", true},
		{"2001:db8:1:2::1", "2001:db8:1:2::1%eth0", true},
		{"2001:db8:1:2::1", "2001:db8:1:3::1", false},
		{"", "", true},
		{"", "::", false},
		{"", "0.0.0.0", false},
		{"0.0.0.0", "::", false},
	} {
		t.Run(tt.attacker+" and "+tt.other, func(t *testing.T) {
			t.Parallel()
			m := failures.New(5, 5, 1000*time.Hour)
			attacker, _ := netip.ParseAddr(tt.attacker)
			other, _ := netip.ParseAddr(tt.other)
			if passed := flood(m, attacker, 0, 100); passed != 5 {
				t.Fatalf("%d passed", passed)
			}
			if got := !m.Take(other, digest(1000)).Allowed; got != tt.isOne {
				t.Errorf("one bucket is %v, want %v", got, tt.isOne)
			}
		})
	}
}

// spray sends keys from many addresses, and returns how many pass.
func spray(m *failures.Meter, addresses, each int) (passed int) {
	for n := range addresses {
		a := netip.AddrFrom16([16]byte{0: 0x20, 1: 1, 4: byte(n >> 16), 5: byte(n >> 8), 6: byte(n), 15: 1})
		passed += flood(m, a, n*each, each)
	}
	return passed
}

// A thousand addresses at once do not meet another one.
func TestManyAddresses(t *testing.T) {
	t.Parallel()
	m := failures.New(5, 5, 1000*time.Hour)
	if passed := spray(m, 1000, 20); passed != 1000*5 {
		t.Errorf("%d keys of 1,000 addresses passed, want %d", passed, 1000*5)
	}
	for n := range 1000 {
		a := netip.AddrFrom4([4]byte{203, 0, byte(n >> 8), byte(n)})
		ticket := m.Take(a, digest(-n))
		if !ticket.Allowed {
			t.Fatalf("other address %d is denied", n)
		}
		m.Return(a, digest(-n), ticket)
	}
}

// A million addresses neither take memory nor pass more than the room for 32,768 admits.
func TestAMillionAddresses(t *testing.T) {
	t.Parallel()
	if size := unsafe.Sizeof(failures.Meter{}); size > 3<<20 {
		t.Errorf("a Meter has %d bytes", size)
	}
	m := failures.New(1, 1, 1000*time.Hour)
	if passed := spray(m, keys, 1); passed != 32_768 {
		t.Errorf("%d keys passed, want one for each of 32,768 addresses", passed)
	}
}

// Once the buckets of others are full again, an address has one of its own.
func TestBucketsAreGivenBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := failures.New(5, 5, time.Minute)
		for round := range 3 {
			spray(m, 100_000, 1)
			time.Sleep(time.Minute)
			if passed := flood(m, other, (1+round)<<24, 100); passed != 5 {
				t.Errorf("%d keys passed, want 5", passed)
			}
		}
	})
}

func TestAllocations(t *testing.T) {
	// Not parallel: AllocsPerRun counts those of the whole process.
	m := failures.New(5, 5, time.Hour)
	a, good := netip.MustParseAddr("2001:db8::1"), digest(1)
	n, bad := 0, *digest(2)
	if got := testing.AllocsPerRun(1000, func() {
		n++
		binary.LittleEndian.PutUint64(bad[:], uint64(n))
		m.Take(a, &bad)
		m.Return(a, good, m.Take(a, good))
		m.Remember(good)
		m.Forget(good)
	}); got != 0 {
		t.Errorf("%v allocations", got)
	}
}
