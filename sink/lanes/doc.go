// Package lanes turns a synchronous write into the asynchronous port of package sink.
//
//	            hash of topic and key        one worker for each active lane
//	Publish --> lane 0  [ e e e e e ] -----> seal: Divert? -> write -> Ack -> next batch
//	        --> lane 1  [ e ]         ----->                    |
//	        --> lane 2  [ ]                                     +- fails: wait, the same events again
//	                                                            +- rejected: Reject, then seal what is behind it again
//
// A lane's worker takes what stands in its queue, up to the limits of a batch, asks which events have been taken over,
// writes, and takes again: nothing lingers when it is idle, and while one write is under way the next batch gathers. A
// worker ends when its queue is empty, so an idle sink has no goroutine.
//
// Promises, beside those of package sink: at most one write a lane at a time; a batch that fails is written again without
// being mixed with what came later; at most Config.Lanes goroutines; no allocation for each event.
//
// Not done here: encoding, connections and time limits belong to the write. A write must end soon after its context does,
// or Close waits for it.
package lanes
