// Package confirm asks before something is done to an environment that is protected.
package confirm

import (
	"bufio"
	"fmt"
	"strings"

	"github.com/labctl/labctl/pkg/cli"
)

// Protected wants the name of a protected environment, by flag or typed. To is what the command
// does to it.
func Protected(f *cli.Factory, to, env string, protected bool, given string) error {
	if !protected || given == env {
		return nil
	}
	if given != "" {
		return &cli.Error{What: fmt.Sprintf("--confirm names the environment %q, but this is %q", given, env), Next: next(f, env)}
	}
	if f.IO.Interactive {
		_, _ = fmt.Fprintf(f.IO.Err, "The environment %q is protected. Type its name to %s: ", env, to)
		// A stream that ends has typed nothing.
		line, _ := bufio.NewReader(f.IO.In).ReadString('\n')
		if strings.TrimSpace(line) == env {
			return nil
		}
	}
	return Refused(f, env)
}

// Refused says that a protected environment was not confirmed.
func Refused(f *cli.Factory, env string) error {
	return &cli.Error{What: fmt.Sprintf("the environment %q is protected, and its name was not confirmed", env), Next: next(f, env)}
}

func next(f *cli.Factory, env string) []string {
	return []string{f.Again("confirm") + " --confirm " + cli.Quote(env)}
}
