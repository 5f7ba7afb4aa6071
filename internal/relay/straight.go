package relay

import (
	"github.com/jackc/pglogrepl"

	"github.com/cdc-relay/cdc-relay/replication"
)

// straight puts the rows and messages of a transaction into the order in which they were written.
//
// Postgres sorts what a transaction and its subtransactions did by LSN, and takes the beginning of a row's record and the end
// of a message's. So a message of a savepoint and the row that the WAL has right behind it get the same LSN, and the server
// may send the row first (14 to 18):
//
//	WAL     | message, to X | row, from X |        sent: row at X, message at X
//
// A message at the LSN of the rows before it was therefore written before them. Rows wait until what follows shows that none
// comes: that is in the same transaction, whose commit at least is on its way.
type straight struct {
	on    bool   // messages are read: without them there is nothing to do, and nothing is copied
	queue []held // rows that wait, and what came behind them; len: in use
	next  int    // those before it have been taken
	ready int    // those before it may be
	bytes int    // of what waits
}

type held struct {
	lsn  pglogrepl.LSN
	data []byte // a copy
}

// straightBytes bounds what waits: the rows of one record of COPY share an LSN, and may be large.
const straightBytes = 1 << 20

// more tells whether pop has something.
func (q *straight) more() bool { return q.next < q.ready }

// pop returns what may be decoded. It holds until the next push.
func (q *straight) pop() (data []byte, ok bool) {
	if !q.more() {
		return nil, false
	}
	data = q.queue[q.next].data
	q.next++
	q.bytes -= len(data)
	return data, true
}

// compact forgets what has been taken; buffers change places, so that they are used again.
func (q *straight) compact() {
	waiting := len(q.queue) - q.next
	for i := range waiting {
		q.queue[i], q.queue[q.next+i] = q.queue[q.next+i], q.queue[i]
	}
	q.queue, q.ready, q.next = q.queue[:waiting], q.ready-q.next, 0
}

// push takes a message of pgoutput, when pop has nothing left, and returns it when it may be decoded at once.
func (q *straight) push(m *replication.Message) (data []byte, ok bool) {
	if !q.on || len(m.Data) == 0 {
		return m.Data, true
	}
	if q.next > 0 {
		q.compact()
	}
	row := m.Data[0] == 'I'
	if len(q.queue) == 0 && !row {
		return m.Data, true
	}
	same := len(q.queue) > 0 && q.queue[len(q.queue)-1].lsn == m.WALStart
	if same && m.Data[0] == 'M' {
		return m.Data, true // written before the rows that wait
	}
	if !same {
		q.ready = len(q.queue)
	}
	q.hold(m)
	if !row || q.bytes > straightBytes {
		q.ready = len(q.queue)
	}
	return nil, false
}

func (q *straight) hold(m *replication.Message) {
	n := len(q.queue)
	if n < cap(q.queue) {
		q.queue = q.queue[:n+1]
	} else {
		q.queue = append(q.queue, held{})
	}
	h := &q.queue[n]
	if cap(h.data) > straightBytes/16 {
		h.data = nil
	}
	h.lsn, h.data = m.WALStart, append(h.data[:0], m.Data...)
	q.bytes += len(m.Data)
}
