// Package limit decides whether something may happen again so soon.
//
// A limit is a bucket of tokens: an event takes one, and the bucket fills up
// again evenly. The decision is the generic cell rate algorithm (GCRA): all
// that is kept of a bucket is one instant, its TAT ("theoretical arrival
// time"), at which it will be full again. [Rate.Take] is that decision, a pure
// function of TAT and now; who keeps the instants, and in which transaction,
// is not its business. A bucket that is full needs no row at all, which is how
// a table of buckets stays small.
//
// [Kind] lists the limits there are, [Rules] is how they are set, for all and
// for single accounts. What has no rate is not limited.
package limit
