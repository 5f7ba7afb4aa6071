package replication

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Publication is what the catalog says of one.
type Publication struct {
	Name      string
	Owner     string
	AllTables bool
	Schemas   []string // FOR TABLES IN SCHEMA (15 and later)
	Insert    bool
	Update    bool
	Delete    bool
	Truncate  bool
	ViaRoot   bool             // publish_via_partition_root
	Tables    []PublishedTable // named by FOR TABLE, by name
}

// PublishedTable is a table named in a publication.
type PublishedTable struct {
	Schema, Name string
	Partitioned  bool     // a partitioned table
	Partition    bool     // a partition of one
	Filter       string   // row filter (15 and later), "" for all rows
	Columns      []string // column list (15 and later), nil for all
}

// String is schema.table.
func (t PublishedTable) String() string { return t.Schema + "." + t.Name }

const selectPublications = `
SELECT p.pubname::text, pg_catalog.pg_get_userbyid(p.pubowner)::text, p.puballtables, p.pubinsert, p.pubupdate, p.pubdelete, p.pubtruncate, p.pubviaroot,
       %s,
       coalesce((SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
                    'Schema', n.nspname, 'Name', c.relname, 'Partitioned', c.relkind = 'p', 'Partition', c.relispartition,
                    'Filter', %s, 'Columns', %s) ORDER BY n.nspname, c.relname)
                   FROM pg_catalog.pg_publication_rel r
                   JOIN pg_catalog.pg_class c ON c.oid = r.prrelid
                   JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                  WHERE r.prpubid = p.oid), '[]')
  FROM pg_catalog.pg_publication p`

// ListPublications returns the publications of the database, by name.
func ListPublications(ctx context.Context, db DB) ([]Publication, error) {
	pubs, err := queryPublications(ctx, db, " ORDER BY p.pubname")
	if err != nil {
		return nil, fmt.Errorf("list publications: %w", err)
	}
	return pubs, nil
}

// LookPublication returns one publication; ErrPublicationMissing when there is none of that name.
func LookPublication(ctx context.Context, db DB, name string) (*Publication, error) {
	pubs, err := queryPublications(ctx, db, " WHERE p.pubname = $1", name)
	if err == nil && len(pubs) == 0 {
		err = ErrPublicationMissing
	}
	if err != nil {
		return nil, fmt.Errorf("look at publication %q: %w", name, err)
	}
	return &pubs[0], nil
}

func queryPublications(ctx context.Context, db DB, where string, args ...any) ([]Publication, error) {
	// Schemas, filters and column lists came with 15: before, the catalog has no names for them.
	var since15 bool
	if err := db.QueryRow(ctx, "SELECT pg_catalog.current_setting('server_version_num')::int >= 150000").Scan(&since15); err != nil {
		return nil, err
	}
	schemas, filter, columns := "ARRAY[]::text[]", "''", "NULL"
	if since15 {
		schemas = `ARRAY(SELECT n.nspname::text FROM pg_catalog.pg_publication_namespace s JOIN pg_catalog.pg_namespace n ON n.oid = s.pnnspid
		            WHERE s.pnpubid = p.oid ORDER BY 1)`
		filter = "coalesce(pg_catalog.pg_get_expr(r.prqual, r.prrelid), '')"
		columns = `(SELECT pg_catalog.jsonb_agg(a.attname ORDER BY a.attnum) FROM pg_catalog.pg_attribute a
		             WHERE a.attrelid = r.prrelid AND a.attnum = ANY (r.prattrs::smallint[]))`
	}
	rows, err := db.Query(ctx, fmt.Sprintf(selectPublications, schemas, filter, columns)+where, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (p Publication, err error) {
		err = row.Scan(&p.Name, &p.Owner, &p.AllTables, &p.Insert, &p.Update, &p.Delete, &p.Truncate, &p.ViaRoot, &p.Schemas, &p.Tables)
		return p, err
	})
}

// Problem is something about a publication that a person should know.
type Problem struct {
	Fatal bool   // events would be missing, or come under wrong names: do not start
	What  string // with the publication's and the table's name
	Cure  string
}

// Check compares the publication with the outbox tables that it is for (schema.table) and returns every problem, fatal
// ones first. Whether it is the same as when the slot was made, the mark's fingerprint says.
func (p *Publication) Check(tables []string) []Problem {
	var fatal, other []Problem
	add := func(to *[]Problem, cure, format string, args ...any) {
		*to = append(*to, Problem{Fatal: to == &fatal, What: fmt.Sprintf("publication %q ", p.Name) + fmt.Sprintf(format, args...), Cure: cure})
	}
	name := pgx.Identifier{p.Name}.Sanitize()
	if p.AllTables {
		add(&fatal, "make one FOR TABLE: `cdc-relay publication create`", "is FOR ALL TABLES: every table of the database would be decoded and sent")
	}
	if len(p.Schemas) > 0 {
		add(&fatal, "make one FOR TABLE: `cdc-relay publication create`", "is FOR TABLES IN SCHEMA %s: whatever is created there would be sent", strings.Join(p.Schemas, ", "))
	}
	if !p.Insert || p.Update || p.Delete || p.Truncate {
		add(&fatal, fmt.Sprintf("ALTER PUBLICATION %s SET (publish = 'insert'), then `cdc-relay publication accept`", name),
			"must publish inserts and nothing else: with updates a filter or a missing replica identity makes the application's own UPDATE fail")
	}
	if p.AllTables || len(p.Schemas) > 0 {
		return fatal
	}
	for _, want := range tables {
		at := slices.IndexFunc(p.Tables, func(t PublishedTable) bool { return t.String() == want })
		if at < 0 {
			add(&fatal, fmt.Sprintf("ALTER PUBLICATION %s ADD TABLE %s, then `cdc-relay publication accept`", name, quoteTable(want)), "does not contain %s", want)
			continue
		}
		t := p.Tables[at]
		if t.Partitioned && !p.ViaRoot {
			add(&fatal, fmt.Sprintf("ALTER PUBLICATION %s SET (publish_via_partition_root = true), then `cdc-relay publication accept`", name),
				"sends the rows of %s under the names of its partitions", want)
		}
		if t.Filter != "" {
			add(&other, "", "sends only the rows of %s WHERE %s", want, t.Filter)
		}
		if t.Columns != nil {
			add(&other, "", "sends only the columns %s of %s", strings.Join(t.Columns, ", "), want)
		}
	}
	for _, t := range p.Tables {
		if !slices.Contains(tables, t.String()) {
			add(&other, fmt.Sprintf("ALTER PUBLICATION %s DROP TABLE %s, or add the table to outbox in the configuration", name, quoteTable(t.String())),
				"also contains %s, which no outbox of the configuration names: its rows are sent and ignored", t)
		}
	}
	return append(fatal, other...)
}

// CheckPublication looks at the publication and returns its fatal problems as one error, with their cures; nil when the
// relay may start. ErrPublicationMissing when there is none.
func CheckPublication(ctx context.Context, db DB, name string, tables []string) error {
	p, err := LookPublication(ctx, db, name)
	if err != nil {
		return err
	}
	var errs []error
	for _, problem := range p.Check(tables) {
		if problem.Fatal {
			errs = append(errs, fmt.Errorf("%w: %s; %s", ErrPublicationWrong, problem.What, problem.Cure))
		}
	}
	return errors.Join(errs...)
}

// CreatePublication makes a publication of inserts into these tables (schema.table), partitions under their root's name.
// filter (15 and later) is a row filter without its parentheses, for each of the tables; "" for none. Make it before the
// slot: a slot cannot decode WAL from before the publication with it.
func CreatePublication(ctx context.Context, db DB, name string, tables []string, filter string) error {
	if len(tables) == 0 {
		return fmt.Errorf("create publication %q: no tables", name)
	}
	list := make([]string, len(tables))
	for i, t := range tables {
		list[i] = quoteTable(t)
		if filter != "" {
			list[i] += " WHERE (" + filter + ")"
		}
	}
	_, err := db.Exec(ctx, fmt.Sprintf("CREATE PUBLICATION %s FOR TABLE %s WITH (publish = 'insert', publish_via_partition_root = true)",
		pgx.Identifier{name}.Sanitize(), strings.Join(list, ", ")))
	if err != nil {
		return fmt.Errorf("create publication %q: %w", name, err)
	}
	return nil
}

// DropPublication drops a publication. A slot that still has to decode WAL with it becomes useless: the caller has asked a
// person (I10).
func DropPublication(ctx context.Context, db DB, name string) error {
	if _, err := db.Exec(ctx, "DROP PUBLICATION "+(pgx.Identifier{name}.Sanitize())); err != nil {
		return fmt.Errorf("drop publication %q: %w", name, err)
	}
	return nil
}

// quoteTable quotes schema.table; a name without a schema is left to the search path.
func quoteTable(name string) string {
	if schema, table, ok := strings.Cut(name, "."); ok {
		return pgx.Identifier{schema, table}.Sanitize()
	}
	return pgx.Identifier{name}.Sanitize()
}
