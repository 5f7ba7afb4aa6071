package config

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ByteSize is a number of bytes, written with a binary unit: 900KiB, 32MiB, 1GiB.
type ByteSize int64

// Binary units.
const (
	KiB ByteSize = 1 << 10
	MiB ByteSize = 1 << 20
	GiB ByteSize = 1 << 30
)

// String is the size in the largest unit that divides it.
func (b ByteSize) String() string {
	switch {
	case b != 0 && b%GiB == 0:
		return fmt.Sprintf("%dGiB", b/GiB)
	case b != 0 && b%MiB == 0:
		return fmt.Sprintf("%dMiB", b/MiB)
	case b != 0 && b%KiB == 0:
		return fmt.Sprintf("%dKiB", b/KiB)
	}
	return fmt.Sprintf("%dB", int64(b))
}

// ParseByteSize reads "900KiB", "1.5MiB", "4096" or "4096B". Decimal units (KB, MB) are refused: too many people mean the
// binary ones by them.
func ParseByteSize(text string) (ByteSize, error) {
	s := strings.TrimSpace(text)
	digits := strings.TrimRight(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
	unit := strings.TrimSpace(s[len(digits):])
	scale := ByteSize(1)
	switch strings.ToLower(unit) {
	case "", "b":
	case "kib":
		scale = KiB
	case "mib":
		scale = MiB
	case "gib":
		scale = GiB
	case "k", "kb", "m", "mb", "g", "gb":
		return 0, fmt.Errorf("%q has no binary unit; write %s%siB", text, digits, strings.ToUpper(unit[:1]))
	default:
		return 0, fmt.Errorf("%q is no size; write it like 512KiB, 32MiB or 1GiB", text)
	}
	n, err := strconv.ParseFloat(digits, 64)
	if err != nil || n < 0 || n*float64(scale) >= math.MaxInt64 {
		return 0, fmt.Errorf("%q is no size; write it like 512KiB, 32MiB or 1GiB", text)
	}
	return ByteSize(n * float64(scale)), nil
}

// Auto is a number, or the word auto.
type Auto struct {
	Auto bool
	N    int // counts unless Auto
}

// String is "auto" or the number.
func (a Auto) String() string {
	if a.Auto {
		return "auto"
	}
	return strconv.Itoa(a.N)
}

func parseAuto(text string) (Auto, error) {
	if strings.EqualFold(text, "auto") {
		return Auto{Auto: true}, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return Auto{}, fmt.Errorf("%q is neither a whole number nor auto", text)
	}
	return Auto{N: n}, nil
}

func parseDuration(text string) (time.Duration, error) {
	if text == "0" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err == nil {
		return d, nil
	}
	if _, numErr := strconv.ParseFloat(text, 64); numErr == nil {
		return 0, fmt.Errorf("%q has no unit; write %ss, or 500ms, 2m, 72h", text, text)
	}
	if days, found := strings.CutSuffix(text, "d"); found {
		if n, dayErr := strconv.Atoi(days); dayErr == nil {
			return 0, fmt.Errorf("%q counts days; write %dh", text, n*24)
		}
	}
	return 0, fmt.Errorf("%q is no duration; write it like 500ms, 20s, 2m or 72h", text)
}

// FormatDuration is d as a person writes it: 72h, not 72h0m0s.
func FormatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func parseBool(text string) (bool, error) {
	switch strings.ToLower(text) {
	case "true", "on", "yes", "1":
		return true, nil
	case "false", "off", "no", "0":
		return false, nil
	}
	return false, fmt.Errorf("%q is neither true nor false", text)
}

// setText stores text at ptr, by ptr's type. Lists are separated by commas, maps are name=column pairs.
func setText(ptr any, text string) error {
	var err error
	switch p := ptr.(type) {
	case *string:
		*p = text
	case *bool:
		*p, err = parseBool(text)
	case *int:
		var n int
		if n, err = strconv.Atoi(text); err != nil {
			return fmt.Errorf("%q is no whole number", text)
		}
		*p = n
	case *ByteSize:
		*p, err = ParseByteSize(text)
	case *time.Duration:
		*p, err = parseDuration(text)
	case *Auto:
		*p, err = parseAuto(text)
	case *[]string:
		*p = splitList(text)
	case *map[string]string:
		*p, err = splitMap(text)
	case *Secret:
		p.value, p.file = text, ""
	case secretFile:
		p.of.value, p.of.file = "", text
	default:
		panic(fmt.Sprintf("config: no scalar of type %T", ptr))
	}
	return err
}

// formatText is the inverse of setText, with secrets masked; "" when nothing is set.
func formatText(ptr any) string {
	switch p := ptr.(type) {
	case *string:
		return *p
	case *bool:
		return strconv.FormatBool(*p)
	case *int:
		return strconv.Itoa(*p)
	case *ByteSize:
		return p.String()
	case *time.Duration:
		return FormatDuration(*p)
	case *Auto:
		return p.String()
	case *[]string:
		return strings.Join(*p, ",")
	case *map[string]string:
		return joinMap(*p)
	case *Secret:
		if p.value == "" {
			return ""
		}
		return p.Masked()
	case secretFile:
		return p.of.file
	}
	panic(fmt.Sprintf("config: no scalar of type %T", ptr))
}

func splitList(text string) []string {
	var list []string
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			list = append(list, item)
		}
	}
	return list
}

var errMapText = errors.New("write pairs: name=column,name=column")

func splitMap(text string) (map[string]string, error) {
	m := map[string]string{}
	for _, item := range splitList(text) {
		name, column, found := strings.Cut(item, "=")
		if !found || name == "" {
			return nil, errMapText
		}
		m[strings.TrimSpace(name)] = strings.TrimSpace(column)
	}
	return m, nil
}

func joinMap(m map[string]string) string {
	pairs := make([]string, 0, len(m))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		pairs = append(pairs, name+"="+m[name])
	}
	return strings.Join(pairs, ",")
}
