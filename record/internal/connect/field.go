package connect

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math/big"
	"strconv"
	"time"

	"github.com/cdc-relay/cdc-relay/record/internal/jsontext"
)

// OIDs of Postgres's own types, pg_type.dat. They are the same in every database.
const (
	oidBool        = 16
	oidInt8        = 20
	oidInt2        = 21
	oidInt4        = 23
	oidText        = 25
	oidJSON        = 114
	oidBpchar      = 1042
	oidVarchar     = 1043
	oidTimestamp   = 1114
	oidTimestamptz = 1184
	oidNumeric     = 1700
	oidUUID        = 2950
	oidJSONB       = 3802
)

// Field is how Debezium's connector hands a column of a type on to Kafka Connect.
type Field struct {
	Kind  Kind
	Scale int // numeric: digits behind the point
}

// Kind is a way to write a column.
type Kind uint8

const (
	Text      Kind = iota // text types, uuid, json: as they are
	Integer               // decimal
	Bool                  // true, false
	Numeric               // header: decimal text; JSON: base64 of the unscaled value
	Timestamp             // microseconds since the epoch
	TimestampTZ
)

// Of knows the types of the package document; any other is an error.
func Of(oid uint32, mod int32) (Field, error) {
	switch oid {
	case oidText, oidVarchar, oidBpchar, oidUUID, oidJSON, oidJSONB:
		return Field{Kind: Text}, nil
	case oidInt2, oidInt4, oidInt8:
		return Field{Kind: Integer}, nil
	case oidBool:
		return Field{Kind: Bool}, nil
	case oidNumeric:
		// The modifier is (precision << 16 | scale) + 4, scale in 11 bits with a sign (numeric.c).
		scale := int((mod-4)&0x7ff^0x400) - 0x400
		if mod < 4 || scale < 0 {
			return Field{}, fmt.Errorf("is numeric without precision and scale: give it both, as in numeric(12,2)")
		}
		return Field{Kind: Numeric, Scale: scale}, nil
	case oidTimestamp:
		// Below four digits Debezium counts milliseconds.
		if mod >= 0 && mod < 4 {
			return Field{}, fmt.Errorf("is timestamp(%d): only timestamp with four digits or more is supported", mod)
		}
		return Field{Kind: Timestamp}, nil
	case oidTimestamptz:
		return Field{Kind: TimestampTZ}, nil
	}
	return Field{}, fmt.Errorf("has a type (oid %d) that is not supported: text, uuid, integers, bool, numeric(p,s), timestamp,"+
		" timestamptz, json and jsonb are", oid)
}

// AppendHeader appends a value that is not null as Kafka Connect's SimpleHeaderConverter writes it.
func AppendHeader(dst []byte, f Field, text []byte) (out []byte, ok bool) {
	switch f.Kind {
	case Bool:
		return appendBool(dst, text), true
	case Numeric:
		return appendDecimal(dst, f.Scale, text)
	case Timestamp:
		return appendMicros(dst, text)
	case TimestampTZ:
		return appendZoned(dst, text)
	default:
		return append(dst, text...), true
	}
}

// AppendJSON appends a value as the schemaless JSON converter writes it, nil as null. One that has no form is written as null
// too, and not ok.
func AppendJSON(dst []byte, f Field, text []byte) (out []byte, ok bool) {
	if text == nil {
		return append(dst, "null"...), true
	}
	ok = true
	length := len(dst)
	switch f.Kind {
	case Text:
		return jsontext.AppendQuoted(dst, text), true
	case Integer:
		return append(dst, text...), true
	case Bool:
		return appendBool(dst, text), true
	case Numeric:
		dst, ok = appendUnscaled(dst, text)
	case Timestamp:
		dst, ok = appendMicros(dst, text)
	case TimestampTZ:
		dst = append(dst, '"')
		dst, ok = appendZoned(dst, text)
		dst = append(dst, '"')
	}
	if !ok {
		return append(dst[:length], "null"...), false
	}
	return dst, true
}

func appendBool(dst, text []byte) []byte {
	return strconv.AppendBool(dst, string(text) == "t")
}

// unscaled is the digits of a decimal without point and leading zeros; nil when text is NaN or an infinity.
func unscaled(text []byte) (digits []byte, negative bool) {
	negative = bytes.HasPrefix(text, []byte("-"))
	for _, c := range text {
		switch {
		case c == '0' && len(digits) == 0, c == '.', c == '-':
		case c >= '0' && c <= '9':
			digits = append(digits, c)
		default:
			return nil, false
		}
	}
	if len(digits) == 0 {
		digits = append(digits, '0')
	}
	return digits, negative
}

// appendDecimal writes a decimal as java.math.BigDecimal.toString does: with an exponent once the first digit stands more
// than six places behind the point.
func appendDecimal(dst []byte, scale int, text []byte) ([]byte, bool) {
	digits, negative := unscaled(text)
	if digits == nil {
		return dst, false
	}
	exponent := len(digits) - 1 - scale
	if scale == 0 || exponent >= -6 {
		return append(dst, text...), true
	}
	if negative {
		dst = append(dst, '-')
	}
	dst = append(dst, digits[0])
	if len(digits) > 1 {
		dst = append(append(dst, '.'), digits[1:]...)
	}
	return strconv.AppendInt(append(dst, 'E'), int64(exponent), 10), true
}

// appendUnscaled writes the base64 of the unscaled value, two's complement, big-endian, as short as may be
// (java.math.BigInteger.toByteArray), in quotes.
func appendUnscaled(dst, text []byte) ([]byte, bool) {
	digits, negative := unscaled(text)
	if digits == nil {
		return dst, false
	}
	n, ok := new(big.Int).SetString(string(digits), 10)
	if !ok {
		return dst, false
	}
	size := n.BitLen()/8 + 1
	if negative {
		n.Neg(n)
		size = new(big.Int).Not(n).BitLen()/8 + 1
		n.Add(n, new(big.Int).Lsh(big.NewInt(1), uint(8*size)))
	}
	dst = append(dst, '"')
	dst = base64.StdEncoding.AppendEncode(dst, n.FillBytes(make([]byte, size)))
	return append(dst, '"'), true
}

// appendMicros writes a timestamp without zone as microseconds since the epoch.
func appendMicros(dst, text []byte) ([]byte, bool) {
	t, err := time.Parse("2006-01-02 15:04:05", string(text))
	if err != nil {
		return dst, false
	}
	return strconv.AppendInt(dst, t.UnixMicro(), 10), true
}

// appendZoned writes a timestamp with zone in UTC, with as many digits of a second as it needs
// (java.time.format.DateTimeFormatter.ISO_OFFSET_DATE_TIME).
func appendZoned(dst, text []byte) ([]byte, bool) {
	for _, layout := range []string{"2006-01-02 15:04:05-07", "2006-01-02 15:04:05-07:00", "2006-01-02 15:04:05-07:00:00"} {
		if t, err := time.Parse(layout, string(text)); err == nil {
			return t.UTC().AppendFormat(dst, "2006-01-02T15:04:05.999999Z"), true
		}
	}
	return dst, false
}
