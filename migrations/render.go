package migrations

import (
	"embed"
	"fmt"
	"io/fs"
	"regexp"
	"strconv"
	"strings"
	"text/template"

	"github.com/jackc/pgx/v5"
)

//go:embed sql/*.sql
var files embed.FS

// Data is what a file's template sees.
type Data struct {
	Outbox          Table  // {{.Outbox}} prints "public"."outbox"; {{.Outbox.Schema}}, {{.Outbox.Name}}, {{.Outbox.With "_default"}}
	PayloadType     string // jsonb, json, text or bytea
	PayloadMaxBytes int    // of the payload as Postgres sends it
	Publication     Name
	RelayRole       Name // empty: no grants
	CreateRole      bool // make RelayRole where it is missing
	PremakeDays     int  // partitions ahead of today's
	Protocol        int  // number of the protocol between database and binary (DESIGN 7a, versions)
	CompatibleFrom  int  // the oldest protocol number that a binary may have to run on this schema
}

// Name prints itself as a quoted identifier.
type Name string

func (n Name) String() string { return pgx.Identifier{string(n)}.Sanitize() }

// Table prints itself as a quoted, qualified identifier.
type Table struct{ Schema, Name Name }

func (t Table) String() string { return t.Schema.String() + "." + t.Name.String() }

// Path is schema.table without quotes, as in the configuration.
func (t Table) Path() string { return string(t.Schema) + "." + string(t.Name) }

// With is the table of the same schema whose name ends in suffix.
func (t Table) With(suffix string) Table { return Table{t.Schema, t.Name + Name(suffix)} }

// literal quotes a string constant. Backslashes never get here: Options.Validate refuses them.
func literal(v any) string {
	var s string
	switch v := v.(type) {
	case Name:
		s = string(v) // the bare name, not its quoted form
	case fmt.Stringer:
		s = v.String()
	default:
		s = fmt.Sprint(v)
	}
	return "'" + strings.ReplaceAll(s, "'", "''") + "'"
}

// file is one rendered migration.
type file struct {
	number int // as in its name; also its version
	name   string
	sql    string
}

// render evaluates every embedded file, in order of number. The numbers have no gap: a version is a position.
func render(o Options) ([]file, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	schema, table, _ := strings.Cut(o.OutboxTable, ".")
	data := Data{
		Outbox:          Table{Name(schema), Name(table)},
		PayloadType:     o.PayloadType,
		PayloadMaxBytes: o.PayloadMaxBytes,
		Publication:     Name(o.Publication),
		RelayRole:       Name(o.RelayRole),
		CreateRole:      o.CreateRole,
		PremakeDays:     o.PremakeDays,
		Protocol:        Protocol,
		CompatibleFrom:  CompatibleFrom,
	}
	names, err := fs.Glob(files, "sql/*.sql") // sorted
	if err != nil {
		return nil, err
	}
	numbered := regexp.MustCompile(`\Asql/([0-9]{3})_[a-z_]+\.sql\z`)
	var out []file
	for _, path := range names {
		m := numbered.FindStringSubmatch(path)
		if m == nil {
			return nil, fmt.Errorf("migration %s: want sql/NNN_name.sql", path)
		}
		text, err := files.ReadFile(path)
		if err != nil {
			return nil, err
		}
		tmpl, err := template.New(path).Option("missingkey=error").Funcs(template.FuncMap{"literal": literal}).Parse(string(text))
		if err != nil {
			return nil, fmt.Errorf("parse migration: %w", err)
		}
		var b strings.Builder
		if err := tmpl.Execute(&b, data); err != nil {
			return nil, fmt.Errorf("render migration: %w", err)
		}
		number, _ := strconv.Atoi(m[1])
		out = append(out, file{number: number, name: strings.TrimSuffix(strings.TrimPrefix(path, "sql/"), ".sql"), sql: b.String()})
	}
	return out, nil
}
