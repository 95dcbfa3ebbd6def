package usage

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/internal/address"
)

// Options configure a [Recorder]. The zero value, and nil, are the defaults.
type Options struct {
	// Interval is how often counts are written. 0: 10 s. A process that is killed loses the
	// counts of one Interval.
	Interval time.Duration

	// KeepHours is for how long the Store keeps the counts of hours, and the last clients. It is
	// at least 48 hours. 0: 31 days.
	KeepHours time.Duration
	// KeepDays is for how long the Store keeps the counts of days. It is at least KeepHours.
	// 0: 400 days.
	KeepDays time.Duration

	// Clients records the address and the User-Agent of the last client of each token. They are
	// personal data: tell the users of your API.
	Clients bool
	// ClientAddr returns the client's address for Clients. It should be that of
	// [httpkey.Options]; see [httpkey.TrustedProxies]. Nil: the address of the connection.
	ClientAddr func(*http.Request) netip.Addr

	// OnError receives the error of each write in the background that failed, and the number of
	// requests that are lost. It must not block. Nil: nobody is told.
	OnError func(error)
}

// The defaults of Options, and the least KeepHours.
const (
	defaultInterval  = 10 * time.Second
	defaultKeepHours = 31 * Day
	defaultKeepDays  = 400 * Day
	leastKeepHours   = 2 * Day
)

// Validate reports the first invalid field of o, in an error that wraps
// [httpkey.ErrInvalidOptions] and names it. [NewRecorder] panics with that error.
func (o *Options) Validate() error {
	if o == nil {
		return nil
	}
	d := o.withDefaults()
	switch {
	case o.Interval < 0:
		return fmt.Errorf("%w: Interval is %v, it must not be negative", httpkey.ErrInvalidOptions, o.Interval)
	case d.KeepHours < leastKeepHours:
		return fmt.Errorf("%w: KeepHours is %v, it must be at least %v", httpkey.ErrInvalidOptions,
			d.KeepHours, leastKeepHours)
	case d.KeepDays < d.KeepHours:
		return fmt.Errorf("%w: KeepDays is %v, it must be at least KeepHours, which is %v", httpkey.ErrInvalidOptions,
			d.KeepDays, d.KeepHours)
	}
	return nil
}

func (o *Options) withDefaults() Options {
	if o == nil {
		o = &Options{}
	}
	d := *o
	d.Interval = cmp.Or(o.Interval, defaultInterval)
	d.KeepHours, d.KeepDays = cmp.Or(o.KeepHours, defaultKeepHours), cmp.Or(o.KeepDays, defaultKeepDays)
	if d.ClientAddr == nil {
		d.ClientAddr = address.OfConnection
	}
	if d.OnError == nil {
		d.OnError = func(error) {}
	}
	return d
}

// Recorder is an [httpkey.Observer] that counts, and a [Reader]. Make one with [NewRecorder], and
// close it after the server has shut down, so that nothing is lost. It is safe for concurrent use,
// by any number of Guards.
//
// A request costs the Recorder no allocation and no write. The first count after a pause sets a
// timer. When the timer fires, one goroutine writes, and sets the timer again only if more has
// come meanwhile. The timer also fires at each full hour. So a request within moments of it may
// count for the other hour, or within seconds while the store does not answer.
//
// Counts that the store did not take are written again after the next Interval. A Recorder holds
// the counts of 131,072 tokens at most in an Interval, and of as many hours of tokens that the
// store did not take. It reports the number of requests beyond that to [Options].OnError.
type Recorder struct {
	store   Store
	options Options

	pending pending
	unsent  backlog       // guarded by turn
	turn    chan struct{} // holds a value during a write and a read

	armed   atomic.Bool // a timer is set, or its write is running
	mu      sync.Mutex  // guards the fields below
	since   time.Time   // when the pending counts began
	timer   *time.Timer
	closing bool
}

var (
	_ httpkey.Observer = (*Recorder)(nil)
	_ Reader           = (*Recorder)(nil)
)

// NewRecorder returns a Recorder that writes to a store. Nil opts mean the defaults. It panics if
// store is nil, and with the error of [Options.Validate]. It does no I/O and starts no goroutine.
func NewRecorder(store Store, opts *Options) *Recorder {
	if store == nil {
		panic("httpkey: usage.NewRecorder needs a Store, as usage.NewMemory() makes one")
	}
	if err := opts.Validate(); err != nil {
		panic(err.Error())
	}
	return &Recorder{
		store:   store,
		options: opts.withDefaults(),
		pending: newPending(),
		unsent:  newBacklog(),
		turn:    make(chan struct{}, 1),
	}
}

// Enabled implements the optional method of an [httpkey.Observer]: a Guard makes only the events
// that count.
func (r *Recorder) Enabled(_ context.Context, t httpkey.EventType) bool {
	switch t {
	case httpkey.EventAdmitted, httpkey.EventRefused, httpkey.EventDryRun, httpkey.EventCharged:
		return true
	}
	return false
}

// OnlyIDs implements the optional method of an [httpkey.Observer]: a Recorder needs the IDs of tokens
// alone, and keeps no Event.
func (r *Recorder) OnlyIDs() bool { return true }

// Observe implements [httpkey.Observer]. It does not wait for the store.
func (r *Recorder) Observe(ctx context.Context, e *httpkey.Event) {
	if e.Token.ID == "" || !r.Enabled(ctx, e.Type) {
		return
	}
	var client Client
	if r.options.Clients && e.Request != nil && isUse(e) {
		client = Client{r.options.ClientAddr(e.Request), e.Request.UserAgent(), time.Now()}
	}
	r.pending.note(e, client)
	if !r.armed.Load() {
		r.arm()
	}
}

// arm sets the timer, unless one is set or its write is running.
func (r *Recorder) arm() {
	if !r.armed.CompareAndSwap(false, true) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.since = time.Now()
	if !r.closing {
		untilNextHour := r.since.Truncate(Hour).Add(Hour).Sub(r.since)
		r.timer = time.AfterFunc(min(r.options.Interval, untilNextHour), r.tick)
	}
}

// tick runs in the timer's goroutine.
func (r *Recorder) tick() {
	isEmpty, err := r.writeInBackground()
	if err != nil {
		r.options.OnError(err)
	}
	// Counts that came during the write did not set a timer, so this does.
	r.armed.Store(false)
	if !isEmpty || !r.pending.isEmpty() {
		r.arm()
	}
}

func (r *Recorder) writeInBackground() (isEmpty bool, err error) {
	r.turn <- struct{}{}
	defer func() { <-r.turn }()
	err = r.write(context.Background(), r.isClosing)
	return len(r.unsent.deltas) == 0, err
}

// Close writes what is not in the store yet, and ends the work in the background. Call it when the
// server has shut down. A Recorder still counts after Close; another Close writes the counts since
// then. The error is the store's, or that of ctx if ctx ends first: a write in progress then ends
// when the store returns. The error also reports requests that were lost earlier.
func (r *Recorder) Close(ctx context.Context) error {
	r.mu.Lock()
	r.closing = true
	if r.timer != nil {
		r.timer.Stop()
	}
	r.armed.Store(false) // so that a count after Close has its own hour
	r.mu.Unlock()

	written := make(chan error, 1)
	go func() { // a store that ignores ctx must not block the caller; the goroutine ends when the store answers
		if err := r.takeTurn(ctx); err != nil {
			written <- err
			return
		}
		defer func() { <-r.turn }()
		written <- r.write(ctx, func() bool { return false })
	}()
	select {
	case err := <-written:
		return err
	case <-ctx.Done():
		return fmt.Errorf("httpkey: close the recorder of usage: %w", ctx.Err())
	}
}

func (r *Recorder) isClosing() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.closing
}

func (r *Recorder) takeTurn(ctx context.Context) error {
	select {
	case r.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("httpkey: wait for a write of usage: %w", ctx.Err())
	}
}

const (
	batchSize    = 1000
	batchTimeout = 5 * time.Second
)

// write writes the counts, batch by batch, until stop returns true or the store takes nothing of a
// batch. The caller has the turn.
func (r *Recorder) write(ctx context.Context, stop func() bool) error {
	r.unsent.take(&r.pending, r.hour())
	var failed error
	isDown := false
	for batch := range slices.Chunk(r.unsent.drain(), batchSize) {
		rest := batch
		if !isDown && !stop() {
			var err error
			rest, err = r.writeBatch(ctx, batch)
			failed = cmp.Or(failed, err)
			isDown = err != nil && len(rest) == len(batch)
		}
		for _, delta := range rest {
			r.unsent.add(delta)
		}
	}
	if failed != nil {
		return fmt.Errorf("httpkey: %d counts of usage are not written yet, %d requests are lost: %w",
			len(r.unsent.deltas), r.pending.lost.Swap(0), failed)
	}
	if lost := r.pending.lost.Swap(0); lost > 0 {
		return fmt.Errorf("httpkey: %d requests are lost for usage, of more tokens than a Recorder bears", lost)
	}
	return nil
}

func (r *Recorder) writeBatch(ctx context.Context, deltas []Delta) (rest []Delta, err error) {
	ctx, cancel := context.WithTimeout(ctx, batchTimeout)
	defer cancel()
	return r.store.Add(ctx, deltas, Keep{r.options.KeepHours, r.options.KeepDays})
}

// hour returns the hour of the pending counts.
func (r *Recorder) hour() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.since.UTC().Truncate(Hour)
}

// Of implements [Reader]. It includes what this process has not written yet.
func (r *Recorder) Of(ctx context.Context, id string, from, to time.Time, step time.Duration) ([]Interval, error) {
	starts, err := Starts(from, to, step)
	if err != nil || len(starts) == 0 {
		return nil, err
	}
	if err := r.takeTurn(ctx); err != nil {
		return nil, err
	}
	defer func() { <-r.turn }()
	stored, err := r.store.Of(ctx, id, from, to, step)
	if err != nil {
		return nil, err
	}
	for _, delta := range r.unwritten(id) {
		if start := delta.Hour.Truncate(step); !start.Before(starts[0]) && start.Before(to) {
			stored = insert(stored, start, delta.Counts)
		}
	}
	return stored, nil
}

// insert adds counts to the interval that begins at start.
func insert(intervals []Interval, start time.Time, c Counts) []Interval {
	i, found := slices.BinarySearchFunc(intervals, start, func(i Interval, t time.Time) int { return i.Start.Compare(t) })
	if !found {
		intervals = slices.Insert(intervals, i, Interval{Start: start})
	}
	if intervals[i].Add(c); intervals[i].IsZero() {
		intervals = slices.Delete(intervals, i, i+1)
	}
	return intervals
}

// unwritten returns the counts of a token that are not in the store. The caller has the turn.
func (r *Recorder) unwritten(id string) []Delta {
	deltas := r.unsent.of(id)
	if delta, ok := r.pending.of(id); ok {
		delta.Hour = r.hour()
		deltas = append(deltas, delta)
	}
	return deltas
}

// LastClient implements [Reader]. It includes what this process has not written yet.
func (r *Recorder) LastClient(ctx context.Context, id string) (Client, error) {
	if err := r.takeTurn(ctx); err != nil {
		return Client{}, err
	}
	defer func() { <-r.turn }()
	last, err := r.store.LastClient(ctx, id)
	if err != nil {
		return Client{}, err
	}
	for _, delta := range r.unwritten(id) {
		if delta.Client.At.After(last.At) {
			last = delta.Client
		}
	}
	return last, nil
}

// Total returns the sum from one moment to another, such as the beginnings of two months, for an
// invoice. Both are rounded down to the hour of UTC. Whole days are sums of days, which the store
// keeps for [Options].KeepDays; the rest are sums of hours. Processes that have not written yet, for
// up to their Interval, are missing, except for this one. Total returns an error that wraps
// [ErrInvalidRange] for more than 1,000 days.
func (r *Recorder) Total(ctx context.Context, id string, from, to time.Time) (Counts, error) {
	from, to = from.UTC().Truncate(Hour), to.UTC().Truncate(Hour)
	firstDay, lastDay := from.Add(Day-Hour).Truncate(Day), to.Truncate(Day)
	if lastDay.Before(firstDay) { // within a day
		firstDay, lastDay = to, to
	}
	var total Counts
	for _, part := range []struct {
		from, to time.Time
		step     time.Duration
	}{{from, firstDay, Hour}, {firstDay, lastDay, Day}, {lastDay, to, Hour}} {
		intervals, err := r.Of(ctx, id, part.from, part.to, part.step)
		if err != nil {
			return Counts{}, err
		}
		for i := range intervals {
			total.Add(intervals[i].Counts)
		}
	}
	return total, nil
}

// String returns the name of the type, which templates print.
func (r *Recorder) String() string { return "usage.Recorder" }

// Format keeps the addresses of clients out of a printed Recorder.
func (r *Recorder) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, r.String()) }
