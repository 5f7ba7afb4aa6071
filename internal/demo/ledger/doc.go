// Package ledger keeps the demo's books: what the application committed, what the consumer got, and what is wrong.
//
//	Committed(key, n)       the application's commit returned; per key n is 1, 2, 3, ... in commit order
//	RolledBack(rows)        rows that must never be seen
//	Delivered(key, n)       the consumer got it, perhaps before the commit returned
//	Phantom()               the consumer got something that was never committed so
//	Summary()               missing, phantom, duplicates, out_of_order, latency
//
// It promises to count exactly while its memory depends on the keys and on what is on its way, not on how long the demo
// runs. Latency is commit returned to delivered, of first deliveries; one that is delivered first counts as 0. It is
// precise to one part in fifty.
package ledger
