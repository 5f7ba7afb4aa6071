package pgstore

import (
	"context"
	_ "embed" // the schema
	"fmt"
	"strings"
)

// Schema is the SQL that Migrate runs, for those who run their own tool: it may run again.
//
//go:embed schema.sql
var Schema string

// Options of Migrate.
type Options struct {
	KeepDays    int    // how long claims are kept, in days; 0: as it is (8 at first)
	PremakeDays int    // days made ahead; 0: as it is (3 at first)
	Role        string // who is granted what a consumer needs; "": nobody but the owner
}

// Migrate makes or updates the schema in the transaction of q, under a lock, so that two at once do no harm.
func Migrate(ctx context.Context, q Querier, o Options) error {
	if o.KeepDays < 0 || o.KeepDays > 3650 || o.PremakeDays < 0 || o.PremakeDays > 366 {
		return fmt.Errorf("migrate the inbox: keep 1 to 3650 days and make 1 to 366 ahead, not %d and %d", o.KeepDays, o.PremakeDays)
	}
	if _, err := q.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended('cdc_inbox migrate', 0))`); err != nil {
		return Fail("migrate the inbox", err)
	}
	if _, err := q.Exec(ctx, Schema); err != nil {
		return Fail("migrate the inbox", err)
	}
	if o.KeepDays > 0 || o.PremakeDays > 0 {
		_, err := q.Exec(ctx, `UPDATE cdc_inbox.setting SET keep_days = coalesce(nullif($1::int, 0), keep_days), premake_days = coalesce(nullif($2::int, 0), premake_days)`,
			int64(o.KeepDays), int64(o.PremakeDays))
		if err != nil {
			return Fail("migrate the inbox", err)
		}
	}
	if o.Role == "" {
		return nil
	}
	role := `"` + strings.ReplaceAll(o.Role, `"`, `""`) + `"`
	_, err := q.Exec(ctx, strings.ReplaceAll(`GRANT USAGE ON SCHEMA cdc_inbox TO $role;
		GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA cdc_inbox TO $role;
		REVOKE INSERT, UPDATE, DELETE ON cdc_inbox.setting FROM $role;
		GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA cdc_inbox TO $role`, "$role", role))
	return Fail(fmt.Sprintf("grant the inbox to role %s", o.Role), err)
}
