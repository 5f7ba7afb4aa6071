package partitions

// Report is what one Maintain did, and what it left.
type Report struct {
	Made    []string // partitions attached, those for moved rows too
	Moved   []Move   // rows brought home from the default partition
	Dropped []string
	Deleted int64 // rows of a plain table

	Waiting []Waiting // what is due and could not be done yet; the next call tries again

	PremadeDays int   // days after today that have a partition, without a gap
	DefaultRows int64 // rows in the default partition; an operator should look when it is not 0
}

// Move is one day's rows that left the default partition.
type Move struct {
	Partition string
	Rows      int64
}

// Waiting is something that is due.
type Waiting struct {
	What string // a partition's name, or a day as 2006-01-02
	Why  string // what holds it, for people
}

func (r *Report) wait(what, why string) { r.Waiting = append(r.Waiting, Waiting{what, why}) }
