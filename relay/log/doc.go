// Package log keeps the packets of one track in memory: a window of an append-only log with absolute
// 64-bit offsets. Everything else in Banyan reads tracks through it.
//
// A Log has one Writer at a time and any number of Cursors. Neither side ever waits for the other:
// slots hold pointers to immutable packets, the writer publishes with atomic stores (tail first,
// then slots, then head), and a cursor that finds its packet gone knows that it fell behind. A
// payload is copied once, into a slab that the garbage collector frees when the last packet of it has
// left the window and no reader holds one any more; reading costs no allocation, whatever the number
// of cursors.
//
// The window is bounded in time, in bytes and in packets. Time alone never drops the newest
// keyframe and what follows it, so that a new viewer can start at once however long the group of
// pictures is; bytes and packets do.
//
// Offsets may have holes, where a packet was lost on its way here. A late packet fills its hole while
// the window still covers it; cursors pass over a hole at once and say how many offsets they passed.
//
// A new log takes its first offset from the wall clock (FirstOffset), so that a track which is born
// again after a restart never reuses offsets that a replica may still hold.
package log
