package cli

import (
	"regexp"
	"slices"
	"strings"
)

// DefaultEnv is the environment that --env means where it is not given.
const DefaultEnv = "local"

// SameCommand, at the beginning of a line of Error.Next, stands for the command line that the user typed.
const SameCommand = "the same command again"

// Line gives a command line that can be typed: SameCommand becomes what the user typed, labctl becomes the way it was
// called, and the lab that the user chose (--file and --env) is named again. What begins otherwise stays as it is.
func (f *Factory) Line(command string) string {
	sudo := ""
	if rest, ok := strings.CutPrefix(command, "sudo "); ok {
		sudo, command = "sudo ", rest
	}
	if rest, ok := strings.CutPrefix(command, SameCommand); ok {
		return sudo + f.Again() + rest
	}
	command = f.addressed(command)
	if rest, ok := strings.CutPrefix(command, "labctl "); ok {
		command = f.program() + " " + rest
	}
	return sudo + command
}

// Again gives the command line that the user typed, without the flags that are named, each of which has a value.
func (f *Factory) Again(without ...string) string {
	words := []string{f.program()}
	for i := 0; i < len(f.Args); i++ {
		name, isFlag := strings.CutPrefix(f.Args[i], "--")
		if name == "" { // what follows belongs to another program
			return strings.Join(append(words, quoteAll(f.Args[i:])...), " ")
		}
		name, _, hasValue := strings.Cut(name, "=")
		if isFlag && slices.Contains(without, name) {
			if !hasValue {
				i++
			}
			continue
		}
		words = append(words, Quote(f.Args[i]))
	}
	return strings.Join(words, " ")
}

func (f *Factory) program() string {
	if f.Program == "" {
		return "labctl"
	}
	return f.Program
}

// commandStart matches where a command of labctl begins in a text: at its beginning, quoted, after a colon, or inside
// another command.
var commandStart = regexp.MustCompile("(^|`|: |\\$\\(|\\bsudo )labctl (?:cluster (?:status|start|stop|logs)|" +
	"chaos|dev|doctor|down|drift|exec|graph|helm|help|kubeconfig|kubectl|load|logs|open|outputs|plan|shadow (?:start|status|diff|report|promote|rollback|abort)|ship|status|up|validate|version)\\b")

// addressed names the lab that the user chose in every command of labctl in text.
func (f *Factory) addressed(text string) string {
	if f.File == "" && (f.Env == "" || f.Env == DefaultEnv) {
		return text
	}
	var b strings.Builder
	last := 0
	for _, at := range commandStart.FindAllStringIndex(text, -1) {
		start, end := at[0], at[1]
		command, _, _ := strings.Cut(text[start:], "`")
		if strings.HasPrefix(text[start:], "`") {
			command, _, _ = strings.Cut(text[start+1:], "`")
		}
		command, _, _ = strings.Cut(command, "   (") // a remark
		verb := text[start:end]
		if strings.HasSuffix(verb, " kubectl") || strings.HasSuffix(verb, " helm") { // what follows these is theirs
			end = start + strings.LastIndex(verb, " ")
		}
		b.WriteString(text[last:end])
		b.WriteString(f.chosen(strings.TrimPrefix(verb, "`"), command))
		last = end
	}
	return b.String() + text[last:]
}

// chosen gives the flags that a command needs to work on the chosen lab, as far as it takes and lacks them.
func (f *Factory) chosen(verb, command string) string {
	verb = verb[strings.LastIndex(verb, " ")+1:]
	if verb == "help" || verb == "version" || strings.Contains(command, " --help") {
		return ""
	}
	flags := ""
	if f.Env != "" && f.Env != DefaultEnv && verb != "dev" && !strings.Contains(command, " -e ") && !strings.Contains(command, " --env") {
		flags += " -e " + Quote(f.Env)
	}
	if f.File != "" && !strings.Contains(command, " --file") {
		flags += " --file " + Quote(f.File)
	}
	return flags
}

// plainWord is what a shell takes as it is.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

// Quote writes a word so that a shell reads it as one.
func Quote(word string) string {
	if plainWord.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

func quoteAll(words []string) []string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = Quote(w)
	}
	return out
}
