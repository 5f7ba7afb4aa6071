package deadletter

// State is what became of a dead letter.
type State string

// The states. A row in Parked, Requeue or Drop keeps its key parked, unless it went alone.
const (
	Parked   State = "parked"   // waits for an operator, its key too
	Dead     State = "dead"     // waits for an operator, alone
	Requeue  State = "requeue"  // marked: the owner publishes it
	Drop     State = "drop"     // marked: the owner forgets it
	Requeued State = "requeued" // published
	Dropped  State = "dropped"  // given up by an operator
	Skipped  State = "skipped"  // an operator's verdict about a position, without the event
)

// Resolved tells whether nothing remains to be done.
func (s State) Resolved() bool { return s == Requeued || s == Dropped || s == Skipped }
