package wire

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"golang.org/x/text/unicode/norm"
)

func TestCleanTitle(t *testing.T) {
	for name, tc := range map[string]struct{ in, want, problem string }{
		"plain":                       {in: "Lab 7", want: "Lab 7"},
		"spaces":                      {in: " \u00a0Lab \u2003 7\u3000", want: "Lab 7"},
		"lines around":                {in: "\na  b\n", want: "a b"},
		"NFC":                         {in: "Cafe\u0301", want: "Café"},
		"longest":                     {in: strings.Repeat("e\u0301", MaxTitleRunes), want: strings.Repeat("é", MaxTitleRunes)},
		"too long":                    {in: strings.Repeat("é", MaxTitleRunes+1), problem: "longer than 80"},
		"script stays":                {in: "<b>&amp;</b>", want: "<b>&amp;</b>"},
		"many scripts":                {in: "שלום مرحبا สวัสดี 東京 हिन्दी 한국어", want: "שלום مرحبا สวัสดี 東京 हिन्दी 한국어"},
		"Hebrew with points":          {in: "בְּרֵאשִׁ֖ית", want: norm.NFC.String("בְּרֵאשִׁ֖ית")},
		"Tibetan":                     {in: "བོད་སྐད", want: "བོད་སྐད"},
		"Persian joiner":              {in: "می\u200cخواهم", want: "می\u200cخواهم"},
		"Indic joiner":                {in: "क्\u200dष", want: "क्\u200dष"},
		"emoji":                       {in: "😀 🎉", want: "😀 🎉"},
		"emoji style":                 {in: "I ❤\ufe0f 1\ufe0f\u20e3 ☎\ufe0e", want: "I ❤\ufe0f 1\ufe0f\u20e3 ☎\ufe0e"},
		"emoji of several":            {in: "👩\u200d👩\u200d👧 🏳\ufe0f\u200d🌈 👩🏽\u200d🚒 🤷🏻\u200d♀\ufe0f", want: "👩\u200d👩\u200d👧 🏳\ufe0f\u200d🌈 👩🏽\u200d🚒 🤷🏻\u200d♀\ufe0f"},
		"flag":                        {in: "🇩🇪", want: "🇩🇪"},
		"empty":                       {in: " \u2003 ", problem: "empty"},
		"two lines":                   {in: "a\nb", problem: "control character U+000A"},
		"not UTF-8":                   {in: "a\xff", problem: "not UTF-8"},
		"override":                    {in: "admin\u202enimda", problem: "title holds U+202E, which cannot be seen"},
		"isolate":                     {in: "a\u2067b\u2069", problem: "U+2067"},
		"mark of direction":           {in: "a\u200fb", problem: "U+200F"},
		"Arabic mark of direction":    {in: "a\u061cb", problem: "U+061C"},
		"zero-width space":            {in: "ad\u200bmin", problem: "U+200B"},
		"zero-width alone":            {in: "\u200b", problem: "U+200B"},
		"joiner between Latin":        {in: "ad\u200dmin", problem: "U+200D"},
		"non-joiner between Latin":    {in: "ad\u200cmin", problem: "U+200C"},
		"joiner after emoji":          {in: "😀\u200d", problem: "U+200D"},
		"joiner between symbols":      {in: "©\u200d®", problem: "U+200D"},
		"word joiner":                 {in: "ad\u2060min", problem: "U+2060"},
		"byte order mark":             {in: "\ufeffadmin", problem: "U+FEFF"},
		"soft hyphen":                 {in: "ad\u00admin", problem: "U+00AD"},
		"grapheme joiner":             {in: "a\u034f", problem: "U+034F"},
		"style of a letter":           {in: "a\ufe0f", problem: "U+FE0F"},
		"tags":                        {in: "a\U000e0061\U000e007f", problem: "U+E0061"},
		"Hangul filler":               {in: "\u3164", problem: "U+3164"},
		"half-width filler":           {in: "a\uffa0", problem: "U+FFA0"},
		"braille blank":               {in: "\u2800\u2800", problem: "U+2800"},
		"object":                      {in: "a\ufffc", problem: "U+FFFC"},
		"line separator":              {in: "a\u2028b", want: "a b"},
		"private use":                 {in: "a\ue000", problem: "U+E000"},
		"no character":                {in: "a\ufdd0", problem: "U+FDD0"},
		"stack of marks":              {in: "Z" + strings.Repeat("\u0300", maxMarks+1), problem: "more than 4 combining marks"},
		"stack of marks that compose": {in: "a\u0302\u0301\u0323\u0300\u0300\u0300\u0300", problem: "more than 4 combining marks"},
		"mark without a letter":       {in: "\u0301a", problem: "U+0301 without a letter"},
		"mark on a space":             {in: "a \u0301", problem: "U+0301 without a letter"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := CleanTitle(tc.in)
			if tc.problem != "" {
				require.ErrorContains(t, err, tc.problem)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tc.want, got)
		})
	}
}

func TestCleanProfile(t *testing.T) {
	p, err := ProfileChange{DisplayName: " Ann  A. ", Colour: "#AABBCC", Bio: " one\n two \u00a0", Status: " "}.Clean()
	require.NoError(t, err)
	require.Equal(t, ProfileChange{DisplayName: "Ann A.", Colour: "#aabbcc", Bio: "one\n two"}, p)
	for name, bad := range map[string]ProfileChange{
		"display_name": {DisplayName: "a\u202eb", Colour: "red"},
		"bio":          {DisplayName: "a", Colour: "red", Bio: "a\n\u202eb"},
		"status":       {DisplayName: "a", Colour: "red", Status: "\u200b"},
	} {
		_, err := bad.Clean()
		require.ErrorContains(t, err, name)
	}
	s, err := CleanNickname(" \u00a0")
	require.NoError(t, err)
	require.Empty(t, s)
	_, err = CleanNickname("\u2066a")
	require.ErrorContains(t, err, "nickname")
}

func FuzzCleanText(f *testing.F) {
	for _, s := range []string{"Lab", "Cafe\u0301", "admin\u202enimda", "👩🏽\u200d🚒", "❤\ufe0f", "a\u200d", "\u3164", "בְּרֵאשִׁ֖ית", "a\r\n b", " \u0301", "می\u200cخواهم", "\xff"} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, s string, lines bool) {
		got, err := cleanText("name", s, MaxTitleRunes, lines)
		if err != nil {
			return
		}
		require.True(t, utf8.ValidString(got))
		require.True(t, norm.NFC.IsNormalString(got))
		require.LessOrEqual(t, utf8.RuneCountInString(got), MaxTitleRunes)
		require.Equal(t, strings.TrimSpace(got), got)
		again, err := cleanText("name", got, MaxTitleRunes, lines)
		require.NoError(t, err)
		require.Equal(t, got, again, "what is kept stays as it is")
		visible := strings.ContainsFunc(got, func(r rune) bool { return unicode.IsGraphic(r) && !unicode.IsSpace(r) && !unicode.Is(unicode.M, r) })
		require.True(t, visible, "%+q", got)
		for _, r := range got {
			require.False(t, unicode.Is(unicode.Bidi_Control, r), "%U", r)
			require.False(t, unicode.IsControl(r) && (!lines || !strings.ContainsRune("\n\r\t", r)), "%U", r)
			if unicode.Is(unicode.Cf, r) {
				require.Contains(t, "\u200c\u200d\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd", string(r), "%U", r)
			}
		}
	})
}
