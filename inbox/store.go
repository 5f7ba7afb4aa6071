package inbox

import (
	"context"
	"time"
)

// Store is what an inbox remembers, in the database of the consumer. T is the driver's transaction: pgx.Tx, *sql.Tx, or the one
// of inboxtest. It may be used by several goroutines; a transaction only by the one that Tx gave it to.
//
// The methods that take a T work in that transaction and see and lock as READ COMMITTED does. All others are short transactions
// of their own. Failures of the database come out as *DatabaseError.
type Store[T any] interface {
	Claims[T]
	Letters[T]
	Places
	Marks[T]
	Waiter
	Maintainer
}

// Claims remember which events took effect.
type Claims[T any] interface {
	// Tx runs f in one READ COMMITTED transaction and commits when f returns nil. An error of f rolls back and comes out as it is,
	// unless it says (by its SQLSTATE) that the database gave up, or the connection is gone: then a *DatabaseError wraps it. When
	// ctx ends the connection is closed at once, even while f goes on: nothing of an abandoned handler stays locked.
	Tx(ctx context.Context, f func(ctx context.Context, tx T) error) error
	// Claim asks for all ids in one statement and answers in their order. The ids are distinct and sorted: two batches that
	// share ids deadlock otherwise. It waits for the transaction of a concurrent copy. A consumer is registered at its first
	// claim.
	Claim(ctx context.Context, tx T, consumer string, asks []Ask) ([]Answer, error)
	// Took notes how long the handler took for each of the messages, with their claims (Options.RecordDuration).
	Took(ctx context.Context, tx T, consumer string, ids []UID, each time.Duration) error
	// AddAttempts adds delta to the tries of a message, in a transaction of its own, and returns the sum (never below 0).
	AddAttempts(ctx context.Context, consumer string, id UID, delta int) (int, error)
	// ClearAttempts forgets the tries of finished messages.
	ClearAttempts(ctx context.Context, tx T, consumer string, ids []UID) error
}

// Ask is one id to be claimed.
type Ask struct {
	ID    UID
	Topic string // with Key, to learn whether the key is parked
	Key   []byte // nil: not asked
	// Age is the day by which a message below the watermark is judged against the retention; zero: it is at or above the
	// watermark, and fresh whatever its age.
	Age time.Time
}

// Answer says what became of an Ask.
type Answer struct {
	State  ClaimState
	Parked bool // with Fresh: the key is parked; call ParkBehind before anything is done
}

// ClaimState is what the claim found.
type ClaimState byte

// The states.
const (
	Known  ClaimState = iota // claimed before: a duplicate
	Fresh                    // claimed by this transaction
	TooOld                   // below the watermark and older than the retention: a duplicate; nothing was claimed
)

// Letters are dead letters, and messages that wait behind one of their key.
//
// Whoever adds to a parked key, plays a letter of it or releases it holds the lock of the key's row until his transaction ends. So
// nothing is added behind "none left", and nothing overtakes what is being played.
type Letters[T any] interface {
	// AddLetter writes a dead letter, in the transaction that claimed its id. With parkKey later messages of its key are to wait.
	AddLetter(ctx context.Context, tx T, consumer string, l *Letter, parkKey bool) error
	// AnyParked tells whether the consumer has parked keys at all, which is rare.
	AnyParked(ctx context.Context, tx T, consumer string) (bool, error)
	// ParkedKeys tells which of the keys are parked, without locking them; Claim answers the same by the way.
	ParkedKeys(ctx context.Context, tx T, consumer string, keys []UID) ([]bool, error)
	// ParkBehind locks the key and adds l to those that wait; false when the key was released meanwhile: l is to be processed.
	ParkBehind(ctx context.Context, tx T, consumer string, l *Letter) (bool, error)
	// Playable returns what verdicts have made ready for these partitions of a topic (nil: all): of a parked key only its first
	// letter, of letters that park no key each one; oldest first, at most limit.
	Playable(ctx context.Context, consumer, topic string, partitions []int32, limit int) ([]Playable, error)
	// BeginPlay takes the verdict Retry back and counts the try, in a transaction of its own and before the handler runs: a
	// letter that kills the process is not played for ever. ErrGone when its verdict has changed.
	BeginPlay(ctx context.Context, consumer string, id int64) error
	// TakeLetter locks the letter's key, deletes the letter, claims its id anew (a claim that the retention took must not
	// make a later copy fresh) and, when none is left, releases the key. The row is the claim: ErrGone when it is not there, or
	// not the first of its key.
	TakeLetter(ctx context.Context, tx T, consumer string, id int64) (*Letter, error)
	// EndPlay files a failed play: why, and whether the verdict Retry is put back because the database, not the handler, failed
	// (the try is not counted then).
	EndPlay(ctx context.Context, consumer string, id int64, why string, again bool) error
	// ListLetters returns letters, oldest first, at most limit. An empty consumer means all.
	ListLetters(ctx context.Context, consumer string, f LetterFilter, limit int) ([]Letter, error)
	// Judge gives a verdict on letters and announces it; their number is returned. Retry of a letter whose key is parked means the
	// first letter of that key: nothing is played out of order. Drop means the letter itself. The owner of the partition acts on
	// verdicts, because only it has the handler.
	Judge(ctx context.Context, consumer string, ids []int64, v Verdict) (int, error)
	// CountLetters returns the number of dead letters and of those that wait behind one.
	CountLetters(ctx context.Context, consumer string) (dead, waiting int, err error)
}

// Verdict is what an operator decided about a letter.
type Verdict string

// The verdicts.
const (
	NoVerdict Verdict = ""
	Retry     Verdict = "retry" // play it again; behind it, those of its key that only wait
	Drop      Verdict = "drop"  // give it up
)

// Letter is a message that was put aside, whole.
type Letter struct {
	ID       int64 // rises with the order of a key
	Consumer string
	UID      UID  // what was claimed
	Key      UID  // KeyUID of the message; zero: no key
	Waiting  bool // never tried: it waits behind a letter of its key
	Verdict  Verdict
	Reason   string // one word: permanent, attempts, undecodable, no_id, handler, waiting
	Error    string // for people
	Attempts int
	Created  time.Time
	Message  Message
}

// LetterFilter narrows ListLetters; zero fields match all.
type LetterFilter struct {
	IDs   []int64
	Topic string
	Key   []byte // nil: any
}

// Playable is a letter that is to be played or dropped.
type Playable struct {
	ID        int64
	Topic     string
	Partition int32
	Drop      bool
}

// Place is a partition of a topic.
type Place struct {
	Topic     string
	Partition int32
}

// PlaceState is what is known about where a consumer stands in a partition.
type PlaceState struct {
	Place
	Start     int64 // offset of the first contact
	Watermark int64 // all messages below it are finished; Start at first
	Clean     bool  // the last owner ended in good order; true at first contact
	First     bool  // this was the first contact
	Epoch     int64 // of the owner that opened it
}

// Progress is how far an owner has come.
type Progress struct {
	Place
	Epoch     int64
	Watermark int64
}

// Places keep, for each (consumer, topic, partition), where the consumer began and how far it has come: the truth, of which
// Kafka's offsets are a hint.
type Places interface {
	// Open takes a partition over: it returns what the row says, and marks it unclean under a new epoch, in one step. At first
	// contact the row is made with start, which must be 0 or more.
	Open(ctx context.Context, consumer string, at Place, start int64) (PlaceState, error)
	// Save raises watermarks (never lowers them) in one statement; with clean it also says that the owner ends in good order.
	// Rows that another owner has opened since are left alone: ErrFenced, after the others were saved.
	Save(ctx context.Context, consumer string, clean bool, progress ...Progress) error
	// Look reads without opening; places never opened are missing in the answer. An empty topic means all.
	Look(ctx context.Context, consumer, topic string) ([]PlaceState, error)
	// Retention is the number of days for which claims are kept.
	Retention(ctx context.Context) (days int, err error)
}

// MarkPlace is the row of the high-water mark: one for each source and partition.
type MarkPlace struct {
	Source string
	Place
}

// Mark is the highest position that took effect, and the event there.
type Mark struct {
	LSN   uint64
	Index int64 // -1: before the first of the transaction
	Last  string
}

// Marks keep high-water marks: one row instead of a row for each event.
type Marks[T any] interface {
	// LockMark locks the row and returns it; false when there is none. The lock is held until tx ends: it fences whoever else
	// works on the partition.
	LockMark(ctx context.Context, tx T, consumer string, at MarkPlace) (Mark, bool, error)
	// SetMark writes the row.
	SetMark(ctx context.Context, tx T, consumer string, at MarkPlace, m Mark) error
	// Sources returns what is registered for (consumer, topic) and locks out others who want to register there.
	Sources(ctx context.Context, tx T, consumer, topic string) ([]string, error)
	// AddSource registers a source in tx.
	AddSource(ctx context.Context, tx T, consumer, topic, source string) error
	// Announce registers sources ahead of their first record: after a re-sharding, or to go on after ErrUnknownSource.
	Announce(ctx context.Context, consumer, topic string, sources ...string) error
	// Partitions returns the number of partitions that the marks of a topic were made for. With accept, or when none is
	// stored, it stores n first.
	Partitions(ctx context.Context, consumer, topic string, n int, accept bool) (int, error)
}

// Waiter waits for verdicts.
type Waiter interface {
	// Wait returns when somebody has given a verdict on letters of the consumer, or after the given time at the latest. Stores
	// that cannot listen wait for that time.
	Wait(ctx context.Context, consumer string, atMost time.Duration) error
}

// Maintainer looks after the days of the claims.
type Maintainer interface {
	// Maintain makes days ahead, moves stray claims to their day and drops days past the retention, each step in a short
	// transaction of its own that gives way to others. One process does it at a time; another returns with Busy at once. Call
	// it each hour; claims do not depend on it, only the disk does.
	Maintain(ctx context.Context) (Maintained, error)
}

// Maintained is what Maintain did.
type Maintained struct {
	Made    []string // days, like 2026-11-24
	Moved   int64    // claims of a day that had not been made
	Dropped []string // days
	Waiting []string // what could not be done yet, and why
	Busy    bool     // another process is at it
}
