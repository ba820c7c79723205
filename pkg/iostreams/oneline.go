package iostreams

import "strings"

// OneLine keeps what another program said from moving the cursor, and to one line. What follows an escape stays, as text.
func OneLine(s string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c == '\t' || c == '\n' || c == '\r':
			return ' '
		case c < 0x20 || c == 0x7f || (c >= 0x80 && c < 0xa0):
			return -1
		}
		return c
	}, s)
}
