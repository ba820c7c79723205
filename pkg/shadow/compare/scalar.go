package compare

import (
	"bytes"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// canonicalString writes a JSON string with as few escapes as there can be. What is no character, an invalid byte or
// half of a surrogate pair, becomes U+FFFD and its hexadecimal digits: so it still differs from others, and is valid
// Unicode.
func canonicalString(quoted []byte) []byte {
	if bytes.IndexByte(quoted, '\\') < 0 && utf8.Valid(quoted) {
		return quoted
	}
	in := quoted[1 : len(quoted)-1]
	out := append(make([]byte, 0, len(quoted)), '"')
	for len(in) > 0 {
		if in[0] != '\\' {
			r, n := utf8.DecodeRune(in)
			if r == utf8.RuneError && n == 1 {
				out = fmt.Appendf(out, "\uFFFD%02x", in[0])
			} else {
				out = append(out, in[:n]...)
			}
			in = in[n:]
			continue
		}
		r, n := unescape(in)
		if utf16.IsSurrogate(r) {
			low, m := rune(0), 0
			if len(in) > n && in[n] == '\\' {
				low, m = unescape(in[n:])
			}
			if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
				out, n = utf8.AppendRune(out, pair), n+m
			} else {
				out = fmt.Appendf(out, "\uFFFD%04x", r)
			}
		} else {
			out = appendCharacter(out, r)
		}
		in = in[n:]
	}
	return append(out, '"')
}

// unescape gives what the escape at the begin of a string stands for, and its length.
func unescape(in []byte) (rune, int) {
	switch c := in[1]; c {
	case 'u':
		r, _ := strconv.ParseUint(string(in[2:6]), 16, 16) // four digits, since it is JSON
		return rune(r), 6
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	default:
		return rune(c), 2
	}
}

func appendCharacter(out []byte, r rune) []byte {
	switch {
	case r == '"' || r == '\\':
		return append(out, '\\', byte(r))
	case r == '\n':
		return append(out, `\n`...)
	case r == '\t':
		return append(out, `\t`...)
	case r < ' ':
		return fmt.Appendf(out, `\u%04x`, r)
	}
	return utf8.AppendRune(out, r)
}

// appendQuoted writes valid text as a JSON string in canonical form.
func appendQuoted(out []byte, s string) []byte {
	out = append(out, '"')
	for _, r := range s {
		out = appendCharacter(out, r)
	}
	return append(out, '"')
}

// maxExponent is the largest one that is computed with. A number with a larger one is compared as it is written.
const maxExponent = 1e15

// longest is how many digits an integer may have that is written without an exponent. A UUID, as a number, has 39.
const longest = 40

// canonicalNumber writes a JSON number so that equal numbers are written the same: 1e3, 1000.0 and 1000, also -0 and 0.
// It is exact, and takes no longer for a large exponent.
func canonicalNumber(in []byte) []byte {
	if isCanonicalInteger(in) {
		return in
	}
	rest, negative := bytes.CutPrefix(bytes.ToLower(in), []byte("-"))
	mantissa, power, _ := bytes.Cut(rest, []byte("e"))
	whole, fraction, _ := bytes.Cut(mantissa, []byte("."))
	digits := bytes.TrimLeft(append(bytes.Clone(whole), fraction...), "0")
	if len(digits) == 0 {
		return []byte("0")
	}
	exponent := 0
	if len(power) > 0 {
		var err error
		if exponent, err = strconv.Atoi(string(power)); err != nil || exponent > maxExponent || exponent < -maxExponent {
			return bytes.ToLower(in)
		}
	}
	exponent -= len(fraction)
	significant := bytes.TrimRight(digits, "0")
	exponent += len(digits) - len(significant)
	var out []byte
	if negative {
		out = append(out, '-')
	}
	// The number is 0.significant times ten to the power of point.
	switch point := len(significant) + exponent; {
	case exponent >= 0 && point <= longest:
		out = append(out, significant...)
		return append(out, strings.Repeat("0", exponent)...)
	case exponent < 0 && point > 0:
		out = append(out, significant[:point]...)
		out = append(out, '.')
		return append(out, significant[point:]...)
	case exponent < 0 && point > -6:
		out = append(out, "0."...)
		out = append(out, strings.Repeat("0", -point)...)
		return append(out, significant...)
	default:
		out = append(out, significant[0])
		if len(significant) > 1 {
			out = append(out, '.')
			out = append(out, significant[1:]...)
		}
		out = append(out, 'e')
		return strconv.AppendInt(out, int64(point-1), 10)
	}
}

// isCanonicalInteger is the way out for most numbers.
func isCanonicalInteger(in []byte) bool {
	digits := bytes.TrimPrefix(in, []byte("-"))
	if len(digits) > longest || len(digits) < len(in) && digits[0] == '0' {
		return false
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// near says whether two numbers in canonical form differ by no more than a tolerance. Numbers with a thousand digits,
// or with an exponent of that size, are not computed with.
func near(a, b []byte, tolerance *big.Rat) bool {
	x, ok := rational(a)
	if !ok {
		return false
	}
	y, ok := rational(b)
	if !ok {
		return false
	}
	distance := x.Sub(x, y)
	return distance.Abs(distance).Cmp(tolerance) <= 0
}

func rational(number []byte) (*big.Rat, bool) {
	if _, power, found := bytes.Cut(number, []byte("e")); found {
		if exponent, err := strconv.Atoi(string(power)); err != nil || exponent > 1000 || exponent < -1000 {
			return nil, false
		}
	}
	if len(number) > 1000 {
		return nil, false
	}
	return new(big.Rat).SetString(string(number))
}
