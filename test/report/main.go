// Command report reads the output of `go test -json` on its standard input and shows what `go test` would have shown. It
// adds how long each test took to a file, from which it prints the slowest.
//
// usage: go test -json … | report [-v] FILE
//
//	report -slowest N FILE
//
// With -v it shows all output, else only that of tests that failed.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

func main() {
	verbose := flag.Bool("v", false, "show all output")
	slowest := flag.Int("slowest", 0, "print so many of the slowest tests of the file")
	flag.Parse()
	if err := run(*verbose, *slowest, flag.Args(), os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
}

func run(verbose bool, slowest int, args []string, in io.Reader, out io.Writer) error {
	if len(args) != 1 {
		return errors.New("usage: report [-v] [-slowest N] FILE")
	}
	if slowest > 0 {
		b, err := os.ReadFile(args[0])
		if err != nil {
			return err
		}
		return printSlowest(string(b), slowest, out)
	}
	f, err := os.OpenFile(args[0], os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(show(verbose, in, out, f), f.Close())
}

// event is a line of test2json.
type event struct {
	Action, Package, ImportPath, Test, Output string
	Elapsed                                   float64 // seconds
}

// show prints the tests' output and writes a line for each test at the top level: seconds, package and name.
func show(verbose bool, in io.Reader, out, times io.Writer) error {
	held := map[string]map[string]*strings.Builder{} // by package and test at the top level, of those that have not passed
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil {
				if _, err := out.Write(line); err != nil { // the go command's own
					return err
				}
			} else if err := one(verbose, e, held, out, times); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func one(verbose bool, e event, held map[string]map[string]*strings.Builder, out, times io.Writer) error {
	ended := e.Action == "pass" || e.Action == "fail" || e.Action == "skip"
	switch {
	case e.Test == "" && (e.Action == "output" || e.Action == "build-output"):
		// A package's last line, or what the compiler says.
		if e.Action == "build-output" || isResult(e.Output) {
			_, err := io.WriteString(out, e.Output)
			return err
		}
		return hold(verbose, e, held, out)
	case e.Action == "output":
		return hold(verbose, e, held, out)
	case e.Test == "" && ended:
		tests := held[e.Package]
		delete(held, e.Package)
		if e.Action != "fail" {
			return nil
		}
		for _, name := range slices.Sorted(maps.Keys(tests)) {
			if _, err := fmt.Fprintf(out, "--- output of %s %s\n%s", e.Package, name, tests[name]); err != nil {
				return err
			}
		}
	case ended && !strings.Contains(e.Test, "/"):
		if e.Action != "fail" {
			delete(held[e.Package], e.Test)
		}
		_, err := fmt.Fprintf(times, "%.2f\t%s\t%s\n", e.Elapsed, e.Package, e.Test)
		return err
	}
	return nil
}

func hold(verbose bool, e event, held map[string]map[string]*strings.Builder, out io.Writer) error {
	if verbose {
		_, err := io.WriteString(out, e.Output)
		return err
	}
	tests := held[e.Package]
	if tests == nil {
		tests = map[string]*strings.Builder{}
		held[e.Package] = tests
	}
	name, _, _ := strings.Cut(e.Test, "/")
	if tests[name] == nil {
		tests[name] = &strings.Builder{}
	}
	tests[name].WriteString(e.Output)
	return nil
}

// isResult says whether a line of output tells how a package's tests went.
func isResult(line string) bool {
	for _, prefix := range []string{"ok  \t", "FAIL\t", "?   \t"} {
		if strings.HasPrefix(line, prefix) {
			return true
		}
	}
	return false
}

// printSlowest prints the n slowest tests of a file that show has written.
func printSlowest(text string, n int, out io.Writer) error {
	type took struct {
		seconds float64
		what    string
	}
	var all []took
	for line := range strings.Lines(text) {
		seconds, what, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		s, err := strconv.ParseFloat(seconds, 64)
		if err != nil {
			return fmt.Errorf("line %q: %w", line, err)
		}
		all = append(all, took{s, strings.ReplaceAll(what, "\t", " ")})
	}
	slices.SortStableFunc(all, func(a, b took) int { return int((b.seconds - a.seconds) * 100) })
	for _, t := range all[:min(n, len(all))] {
		if _, err := fmt.Fprintf(out, "%8s  %s\n", time.Duration(t.seconds*float64(time.Second)).Round(100*time.Millisecond), t.what); err != nil {
			return err
		}
	}
	return nil
}
