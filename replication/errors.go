package replication

import (
	"errors"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cdc-relay/cdc-relay/replication/internal/frames"
)

// What can happen beside the errors of the server itself (*pgconn.PgError). Class says what to do about each.
var (
	// ErrLost: the connection ended without a word. Connect again.
	ErrLost = errors.New("connection lost")
	// ErrEnded: the server ended the stream, as it does when it shuts down. Connect again.
	ErrEnded = errors.New("the server ended the stream")
	// ErrSilent: the server does not answer (frozen, or the network between). Connect again.
	ErrSilent = errors.New("the server has not answered")
	// ErrNotReading: the server takes nothing from the socket. Connect again.
	ErrNotReading = errors.New("the server does not read")
	// ErrProtocol: what arrived is not the protocol. Never skipped (I7).
	ErrProtocol = frames.ErrProtocol
	// ErrFrozen: this process did not run, or did not call, for longer than the server waits for a status. The slot may have
	// another owner by now, so what was read is not to be used. Connect again.
	ErrFrozen = errors.New("this process stood still for longer than wal_sender_timeout")
	// ErrStopped: Stop was called before.
	ErrStopped = errors.New("the stream is stopped")
	// ErrStreaming: the connection belongs to a stream.
	ErrStreaming = errors.New("the connection streams")
	// ErrZeroLSN: Start was called without a position (I5).
	ErrZeroLSN = errors.New("the position is 0/0: take the mark's, or the slot's confirmed_flush_lsn")
	// ErrBeyondWAL: our position lies ahead of all that this server has written: not the server it was, or an older state of it.
	ErrBeyondWAL = errors.New("the position is beyond the server's WAL")
	// ErrPublicationSkipped: Postgres 18 met WAL in which the publication does not exist, and would leave its rows out.
	ErrPublicationSkipped = errors.New("the server skips rows of a publication that does not exist at this point of the WAL")
	// ErrSlotWaits: CreateSlot did not get its consistent point in time. No slot was made.
	ErrSlotWaits = errors.New("the slot waits for transactions that are still open")
	// ErrSlotMissing: LookSlot found none of that name.
	ErrSlotMissing = errors.New("the slot does not exist")
	// ErrNoFailover: the server is older than 17.
	ErrNoFailover = errors.New("failover slots need Postgres 17")
	// ErrPublicationMissing: LookPublication found none of that name.
	ErrPublicationMissing = errors.New("the publication does not exist")
	// ErrPublicationWrong: CheckPublication found what must not be; the error names the cure.
	ErrPublicationWrong = errors.New("the publication does not fit")
)

// Action is what to do after an error.
type Action uint8

const (
	Retry        Action = iota // connect again, with back-off
	Standby                    // another owns the slot: wait for it to become free
	Stop                       // a person has to do what Cure says
	SlotUnusable               // the slot is missing, lost or not ours: a person decides (exit 6)
)

func (a Action) String() string {
	return [...]string{"retry", "stand by", "stop", "slot unusable"}[a]
}

// Diagnosis is what an error of this package means.
type Diagnosis struct {
	Action Action
	Cure   string // what to do, for Stop and SlotUnusable; "" otherwise
	Owner  uint32 // Standby: process id of the walsender that holds the slot; 0: the server did not say
}

// Class says what to do about an error that this package returned. What it does not know is worth another try.
//
// One SQLSTATE can mean several things, and messages are translated: the name of the server's function that raised the
// error (PgError.Routine) tells them apart. Tried on 14 to 18.
func Class(err error) Diagnosis {
	var pg *pgconn.PgError
	switch {
	case errors.Is(err, ErrBeyondWAL):
		return unusable("this server is not the one that the mark was written for, or was restored from a backup: " +
			"check database.url; if the restore was meant, `cdc-relay slot adopt --new-incarnation` goes on from where the slot stands now")
	case errors.Is(err, ErrPublicationSkipped):
		return unusable(curePublication)
	case errors.Is(err, ErrSlotMissing):
		return unusable(cureMissing)
	case errors.Is(err, ErrPublicationMissing):
		return Diagnosis{Action: Stop, Cure: "create it: `cdc-relay migrate up`, or `cdc-relay publication create`"}
	case errors.Is(err, ErrPublicationWrong):
		return Diagnosis{Action: Stop, Cure: "see the error; `cdc-relay publication show` compares"}
	case errors.Is(err, ErrSlotWaits):
		return Diagnosis{Action: Stop, Cure: "end the old transactions, prepared ones first: SELECT * FROM pg_prepared_xacts; " +
			"SELECT pid, xact_start, state, query FROM pg_stat_activity WHERE backend_xid IS NOT NULL ORDER BY xact_start"}
	case errors.Is(err, ErrZeroLSN), errors.Is(err, ErrNoFailover), errors.Is(err, ErrProtocol):
		return Diagnosis{Action: Stop, Cure: "see the error"}
	case errors.As(err, &pg):
		return classPg(pg)
	}
	return Diagnosis{Action: Retry}
}

// Cures that several errors share.
const (
	cureMissing = "the slot was dropped, or this is another server (after a failover without a failover slot): " +
		"look in the outbox for rows after the mark, then `cdc-relay slot create` and `cdc-relay slot adopt --new-incarnation` go on from now"
	cureLost = "the server removed WAL that the slot needed (max_slot_wal_keep_size, idle_replication_slot_timeout): " +
		"look in the outbox for rows after the mark, then `cdc-relay slot drop` and `cdc-relay slot create` go on from now; " +
		"raise the limit, or find out why the relay was behind"
	curePublication = "the publication was dropped, or made after the slot: `cdc-relay publication create` makes it, `cdc-relay publication " +
		"accept` shows what may have been skipped, and `cdc-relay slot advance --to now` passes over WAL that cannot be read with it"
)

func unusable(cure string) Diagnosis { return Diagnosis{Action: SlotUnusable, Cure: cure} }

func classPg(e *pgconn.PgError) Diagnosis {
	stop := func(cure string) Diagnosis { return Diagnosis{Action: Stop, Cure: cure} }
	switch e.Code {
	case "55006": // object_in_use
		return Diagnosis{Action: Standby, Owner: lastNumber(e.Message)}
	case "28P01": // invalid_password
		return stop("the password is wrong: check database.password_file or database.url")
	case "28000": // invalid_authorization_specification: no such role, no pg_hba.conf line, no right to log in or to replicate
		return stop("the server does not let this role in: check that it exists with LOGIN REPLICATION, and that pg_hba.conf has a line for it and this database")
	case "42501": // insufficient_privilege
		return stop("the role lacks a right: ALTER ROLE ... REPLICATION (on RDS: GRANT rds_replication), CONNECT on the database")
	case "3D000": // invalid_catalog_name
		return stop("the database does not exist: check database.url")
	case "53400": // configuration_limit_exceeded
		return stop("all replication slots are in use: raise max_replication_slots and restart Postgres, or drop a slot that nobody needs (`cdc-relay slot list`)")
	case "42710": // duplicate_object
		return stop("the slot exists already: `cdc-relay slot adopt` takes it over")
	case "58P01": // undefined_file: a WAL segment is gone
		return unusable(cureLost)
	case "42704": // undefined_object: a slot, or a publication met while decoding
		if strings.HasPrefix(e.Routine, "ReplicationSlot") || e.Routine == "" && strings.Contains(e.Message, "slot") {
			return unusable(cureMissing)
		}
		return unusable(curePublication)
	case "55000": // object_not_in_prerequisite_state
		return classState(e)
	case "0A000": // feature_not_supported: decoding on a standby before 16; a failover in progress ends it
		return Diagnosis{Action: Retry}
	case "42601", "22023": // syntax_error, invalid_parameter_value
		return stop("this server does not understand the relay: Postgres 14 or later is needed, reached directly or through a pooler in session mode that lets replication through")
	case "54000", "22P02", "22012": // program_limit_exceeded, invalid_text_representation, division_by_zero: raised while decoding a row
		return stop("a row cannot be decoded: its fields together exceed 1 GB, or the publication's row filter fails on it (`cdc-relay publication show`)")
	}
	return Diagnosis{Action: Retry}
}

// classState tells the meanings of 55000 apart.
func classState(e *pgconn.PgError) Diagnosis {
	switch {
	case e.Routine == "CheckLogicalDecodingRequirements", strings.Contains(e.Message, "wal_level"):
		if strings.Contains(e.Message, "standby") {
			return Diagnosis{Action: Stop, Cure: "wal_level = logical on the primary"}
		}
		return Diagnosis{Action: Stop, Cure: "ALTER SYSTEM SET wal_level = logical, then restart Postgres"}
	case e.Routine == "LoadPublications":
		return unusable(curePublication)
	case strings.Contains(e.Message, "synced"): // 17: a failover slot on a standby, before it is promoted
		return Diagnosis{Action: Retry}
	}
	return unusable(cureLost)
}

// lastNumber reads the process id that ends "... is active for PID 4711".
func lastNumber(s string) uint32 {
	end := strings.LastIndexAny(s, "0123456789") + 1
	start := end
	for start > 0 && s[start-1] >= '0' && s[start-1] <= '9' {
		start--
	}
	n, _ := strconv.ParseUint(s[start:end], 10, 32)
	return uint32(n)
}
