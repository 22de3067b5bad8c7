package limit

import (
	"strconv"
	"time"
)

// Rate allows Burst events at once, and as many again over Per, evenly. The
// zero value is off: it limits nothing.
type Rate struct {
	Burst int
	Per   time.Duration
}

// Bounds of a rate. A bucket lives for at most MaxPer after it was last used,
// which bounds the table of buckets.
const (
	MaxBurst = 1_000_000
	MinPer   = time.Second
	MaxPer   = 30 * 24 * time.Hour
)

// Off says whether the rate limits nothing.
func (r Rate) Off() bool { return r.Burst <= 0 || r.Per <= 0 }

// String writes a rate as it is configured: "20/1h", or "off".
func (r Rate) String() string {
	if r.Off() {
		return "off"
	}
	return strconv.Itoa(r.Burst) + "/" + Span(r.Per)
}

// interval is the time in which one token comes back, rounded up, so that
// there are never more than the rate says.
func (r Rate) interval() time.Duration {
	return (r.Per + time.Duration(r.Burst) - 1) / time.Duration(r.Burst)
}

// depth is the time in which an empty bucket fills up.
func (r Rate) depth() time.Duration { return r.interval() * time.Duration(r.Burst) }

// Take asks for n tokens of a bucket with this TAT (the zero time: full). With
// wait 0 they are taken and next is the bucket's new TAT; otherwise nothing is
// taken, and asking again after wait would do if nobody else came first.
//
// A TAT that this rate could not have made, because the clock was set back or
// the rate was another one, is not believed: it would shut the bucket for as
// long as the clock was wrong. One event passes and leaves the bucket empty,
// so that a wrong clock doesn't open a limit either (SAFETY F37).
func (r Rate) Take(tat, now time.Time, n int) (next time.Time, wait time.Duration) {
	if r.Off() {
		return tat, 0
	}
	full := now.Add(r.depth())
	if tat.After(full) {
		return full, 0
	}
	next = later(tat, now).Add(r.interval() * time.Duration(n))
	if next.After(full) {
		return tat, next.Sub(full)
	}
	return next, 0
}

// Charge takes one token for what has happened already, as far as there is
// one: a bucket has no debts.
func (r Rate) Charge(tat, now time.Time) time.Time {
	if r.Off() {
		return tat
	}
	next, full := later(tat, now).Add(r.interval()), now.Add(r.depth())
	if next.After(full) {
		return full
	}
	return next
}

// Left is how many tokens the bucket has.
func (r Rate) Left(tat, now time.Time) int {
	if r.Off() {
		return 0
	}
	return int((r.depth() - min(later(tat, now).Sub(now), r.depth())) / r.interval())
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Span writes a duration in its one or two largest units, rounded up: people
// read it, and who waits that long has waited long enough.
func Span(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d >= day && d%day == 0:
		return strconv.FormatInt(int64(d/day), 10) + "d"
	case d > day:
		d = roundUp(d, time.Hour)
		return strconv.FormatInt(int64(d/day), 10) + "d" + rest(d%day/time.Hour, "h")
	case d >= time.Hour:
		d = roundUp(d, time.Minute)
		return strconv.FormatInt(int64(d/time.Hour), 10) + "h" + rest(d%time.Hour/time.Minute, "m")
	case d > time.Minute:
		d = roundUp(d, time.Second)
		return strconv.FormatInt(int64(d/time.Minute), 10) + "m" + rest(d%time.Minute/time.Second, "s")
	case d == time.Minute:
		return "1m"
	}
	return strconv.FormatInt(int64(roundUp(d, time.Second)/time.Second), 10) + "s"
}

func rest(n time.Duration, unit string) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(int64(n), 10) + unit
}

func roundUp(d, unit time.Duration) time.Duration { return (d + unit - 1) / unit * unit }
