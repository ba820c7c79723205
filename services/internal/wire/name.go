package wire

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/secure/precis"
	"golang.org/x/text/unicode/norm"
)

// maxMarks is how many combining marks may stand on a letter. Scripts that pile up many, such as Hebrew with points and accents, come to four.
const maxMarks = 4

// cleanText gives what people call themselves or theirs as it is kept, or says what is wrong with it: in NFC, with plain spaces, and of characters that
// can be seen and stay in their order. Else two names would look alike that are not, and one could change how what stands beside it looks.
//
// What is allowed is the FreeformClass of PRECIS (RFC 8264), which has neither controls of the text's direction nor other invisible characters, but
// for joiners between letters that look different with them. Beside it there are the joiners of emoji.
func cleanText(what, s string, limit int, lines bool) (string, error) {
	if !utf8.ValidString(s) {
		return "", fmt.Errorf("%s is not UTF-8", what)
	}
	s = strings.TrimSpace(norm.NFC.String(s))
	if !lines && !strings.ContainsFunc(s, unicode.IsControl) {
		s = strings.Join(strings.Fields(s), " ")
	}
	s = strings.Map(plainSpace, s)
	if err := checkText(what, s, limit, lines); err != nil {
		return "", err
	}
	seen := []rune(withoutEmojiJoiners(s))
	marks, base := 0, false
	for i, r := range seen {
		if unicode.IsControl(r) { // a line's end
			seen[i] = ' '
		}
		switch {
		case isBlank(r):
			return "", invisible(what, r)
		case !unicode.Is(unicode.M, r):
			marks, base = 0, !unicode.IsSpace(r)
			continue
		case !base:
			return "", fmt.Errorf("%s holds the combining mark %U without a letter before it", what, r)
		}
		if marks++; marks > maxMarks {
			return "", fmt.Errorf("%s holds more than %d combining marks on one letter", what, maxMarks)
		}
	}
	class := precis.NewFreeform()
	if _, err := class.Bytes([]byte(string(seen))); err == nil {
		return s, nil
	}
	for _, r := range seen {
		if _, err := class.Bytes([]byte(string(r))); err != nil {
			return "", invisible(what, r)
		}
	}
	return "", fmt.Errorf("%s holds characters that cannot stand where they do", what)
}

func invisible(what string, r rune) error {
	return fmt.Errorf("%s holds %U, which cannot be seen, or changes how others are seen; leave it out", what, r)
}

func plainSpace(r rune) rune {
	if unicode.Is(unicode.Zs, r) {
		return ' '
	}
	return r
}

// isBlank says whether a character takes room and shows nothing, though Unicode calls it a letter or a symbol.
func isBlank(r rune) bool {
	switch r {
	case '\u2800', // braille pattern blank
		'\ufffc',     // object replacement character
		'\U00013441', // Egyptian hieroglyph full blank
		'\U00013442', // and half blank
		'\U00016fe4', // Khitan small script filler
		'\U0001d159': // musical symbol null notehead
		return true
	}
	return false
}

const (
	zeroWidthJoiner = '\u200d'
	textStyle       = '\ufe0e'
	emojiStyle      = '\ufe0f'
)

// withoutEmojiJoiners leaves out what makes one picture of several characters, or chooses between picture and text: joiners between two pictures, and a
// selector of the style after a character that has one.
func withoutEmojiJoiners(s string) string {
	all := []rune(s)
	var kept []rune
	for i, r := range all {
		switch {
		case r == zeroWidthJoiner && i > 0 && i+1 < len(all) && endsPicture(all[i-1]) && isPicture(all[i+1]):
		case (r == textStyle || r == emojiStyle) && i > 0 && hasStyles(all[i-1]):
		default:
			kept = append(kept, r)
		}
	}
	return string(kept)
}

// isPicture says whether a character may be a part of a picture that is joined of several: symbols from the arrows on, as all emoji are.
func isPicture(r rune) bool { return r >= '\u2190' && unicode.In(r, unicode.So, unicode.Sm) }

func endsPicture(r rune) bool {
	return isPicture(r) || r == emojiStyle || (r >= '\U0001f3fb' && r <= '\U0001f3ff') // tones of skin
}

func hasStyles(r rune) bool {
	return isPicture(r) || strings.ContainsRune("#*0123456789©®‼⁉ℹ〰", r)
}
