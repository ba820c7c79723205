package tui

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// bars are the heights of a sparkline.
var bars = []rune("▁▂▃▄▅▆▇█")

// sparkWidth is how many of the last values a sparkline shows.
const sparkWidth = 16

// spark draws values beside each other, the highest of them in full.
func spark(values []float64) string {
	if len(values) < 2 {
		return ""
	}
	values = values[max(0, len(values)-sparkWidth):]
	most := slices.Max(values)
	var b strings.Builder
	for _, v := range values {
		i := 0
		if most > 0 {
			i = min(int(v/most*float64(len(bars))), len(bars)-1)
		}
		b.WriteRune(bars[max(0, i)])
	}
	return b.String()
}

// rate gives a number per second in as many digits as one reads.
func rate(perSecond float64) string {
	if perSecond == 0 || perSecond >= 10 {
		return fmt.Sprintf("%.0f", perSecond)
	}
	return fmt.Sprintf("%.1f", perSecond)
}

// took gives a time in seconds in the unit that fits; nothing where there is none.
func took(seconds float64) string {
	switch {
	case seconds == 0:
		return ""
	case seconds < 0.01:
		return fmt.Sprintf("%.1f ms", 1000*seconds)
	case seconds < 1:
		return fmt.Sprintf("%.0f ms", 1000*seconds)
	}
	return time.Duration(seconds * float64(time.Second)).Round(100 * time.Millisecond).String()
}

// short is the beginning of a commit's name that is enough to find it.
func short(commit string) string { return commit[:min(len(commit), 8)] }

func counted(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
