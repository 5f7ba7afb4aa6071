package connect

import (
	"math"
	"testing"
)

func numeric(precision, scale int32) int32 { return precision<<16 | scale + 4 }

func TestForms(t *testing.T) {
	t.Parallel()
	tests := []struct {
		oid          uint32
		mod          int32
		text         string
		header, json string // "" : no form
	}{
		{oidText, -1, `a "b"`, `a "b"`, `"a \"b\""`},
		{oidUUID, -1, "u", "u", `"u"`},
		{oidJSONB, -1, `{"a": 1}`, `{"a": 1}`, `"{\"a\": 1}"`},
		{oidInt8, -1, "-9223372036854775808", "-9223372036854775808", "-9223372036854775808"},
		{oidBool, -1, "t", "true", "true"},
		{oidBool, -1, "f", "false", "false"},
		{oidNumeric, numeric(12, 2), "12.30", "12.30", `"BM4="`},
		{oidNumeric, numeric(12, 2), "-0.05", "-0.05", `"+w=="`},
		{oidNumeric, numeric(12, 2), "0.00", "0.00", `"AA=="`},
		{oidNumeric, numeric(12, 2), "1.28", "1.28", `"AIA="`},
		{oidNumeric, numeric(12, 2), "-1.28", "-1.28", `"gA=="`},
		{oidNumeric, numeric(20, 8), "0.00000012", "1.2E-7", `"DA=="`},
		{oidNumeric, numeric(20, 8), "-0.00000001", "-1E-8", `"/w=="`},
		{oidNumeric, numeric(20, 8), "0.00000000", "0E-8", `"AA=="`},
		{oidNumeric, numeric(20, 8), "0.00000123", "0.00000123", `"ew=="`},
		{oidNumeric, numeric(12, 2), "NaN", "", ""},
		{oidTimestamp, -1, "2026-01-02 03:04:05.678901", "1767323045678901", "1767323045678901"},
		{oidTimestamp, 6, "1969-12-31 23:59:59.5", "-500000", "-500000"},
		{oidTimestamp, -1, "infinity", "", ""},
		{oidTimestamp, -1, "0044-03-15 00:00:00 BC", "", ""},
		{oidTimestamptz, -1, "2026-01-02 03:04:05.678901+00", "2026-01-02T03:04:05.678901Z", `"2026-01-02T03:04:05.678901Z"`},
		{oidTimestamptz, -1, "2026-01-02 03:04:05.678901+05:30", "2026-01-01T21:34:05.678901Z", `"2026-01-01T21:34:05.678901Z"`},
		{oidTimestamptz, -1, "1890-01-02 03:04:05+00:53:28", "1890-01-02T02:10:37Z", `"1890-01-02T02:10:37Z"`},
		{oidTimestamptz, -1, "-infinity", "", ""},
	}
	for _, tt := range tests {
		f, err := Of(tt.oid, tt.mod)
		if err != nil {
			t.Errorf("oid %d: %v", tt.oid, err)
			continue
		}
		header, ok := AppendHeader(nil, f, []byte(tt.text))
		if ok != (tt.header != "") || ok && string(header) != tt.header {
			t.Errorf("%s as header: got %s, %v, want %q", tt.text, header, ok, tt.header)
		}
		json, ok := AppendJSON(nil, f, []byte(tt.text))
		if want := tt.json; ok != (want != "") || ok && string(json) != want || !ok && string(json) != "null" {
			t.Errorf("%s as JSON: got %s, %v, want %q", tt.text, json, ok, want)
		}
	}
	if got, ok := AppendJSON(nil, Field{}, nil); string(got) != "null" || !ok {
		t.Errorf("null as JSON: got %s, %v", got, ok)
	}
}

func TestUnsupportedTypes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		oid uint32
		mod int32
	}{{oidNumeric, -1}, {oidTimestamp, 3}, {701, -1}, {1082, -1}, {17, -1}, {math.MaxUint32, -1}} {
		if f, err := Of(tt.oid, tt.mod); err == nil {
			t.Errorf("oid %d modifier %d: got %v, want an error", tt.oid, tt.mod, f)
		}
	}
}
