package terraform

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/labctl/labctl/pkg/event"
)

// Handling says what becomes of an environment variable on its way to terraform.
type Handling string

// The ways to handle a variable.
const (
	Pinned Handling = "pinned"    // it has the same value whatever the user's is
	Passed Handling = "passed on" // terraform sees it
	Left   Handling = "left out"  // terraform does not see it, and a warning says so
	ByHand Handling = "exec only" // labctl exec passes it on, the engine leaves it out with a warning
	Filled Handling = "filled in" // terraform sees it; where it is not set, it sees labctl's
)

const (
	pluginCache = "TF_PLUGIN_CACHE_DIR"
	lessGarbage = "400" // percent of what lives, before Go collects garbage (GOGC)
)

// Variable is what labctl does with an environment variable that changes what terraform does.
type Variable struct {
	Name     string // with a trailing * for all that begin so
	Handling Handling
	Value    string // of one that is pinned
	Why      string
}

// Variables lists every environment variable with which labctl does something. All others are passed on, such as HOME, PATH,
// HTTPS_PROXY, SSL_CERT_FILE, ARM_*, AWS_* and GOOGLE_*. docs/guide/environment.md holds the same table.
func Variables() []Variable {
	return []Variable{
		{"TF_WORKSPACE", Pinned, "default", "labctl keeps a state for each environment; a workspace would split it"},
		{"TF_DATA_DIR", Left, "", "each stack has its own .terraform in its work directory"},
		{"TF_CLI_ARGS*", Left, "", "it would change every command that labctl runs"},
		{"TF_VAR_*", Left, "", "inputs come from stack.hcl and *.tfvars alone"},
		{"TF_REATTACH_PROVIDERS", Left, "", "labctl sets it where a stack uses the lab provider"},
		{"TF_DISABLE_PLUGIN_TLS", Left, "", "it is for those who work on terraform itself"},
		{"TF_SKIP_PROVIDER_VERIFY", Left, "", "providers are verified"},
		{"TF_LOG*", ByHand, "", "the log shows secrets"},
		{"TF_INPUT", ByHand, "0", "the engine has nobody to ask"},
		{"TF_IN_AUTOMATION", ByHand, "1", "the engine says itself what to do next"},
		{"CHECKPOINT_DISABLE", Pinned, "1", "terraform does not ask for newer versions"},
		{pluginCache, Filled, "", "stacks share what they download"},
		{"GOGC", Filled, lessGarbage, "terraform is faster by a fifth; only for a stack that starts no providers and programs, which would see it, too"},
		{"TF_CLI_CONFIG_FILE", Passed, "", "mirrors and credentials are the machine's"},
		{"TF_TOKEN_*", Passed, "", "credentials of registries"},
		{"TF_ENCRYPTION", Passed, "", "OpenTofu encrypts states and plans with it"},
	}
}

func (v Variable) matches(name string) bool {
	if prefix, all := strings.CutSuffix(v.Name, "*"); all {
		return strings.HasPrefix(name, prefix)
	}
	return name == v.Name
}

// environment is what terraform sees: what it inherits, handled as Variables says. The notes say what was left out.
func (r *Runner) environment(byHand bool) (env map[string]string, notes []string) {
	env = map[string]string{}
	for _, kv := range r.options.Environ {
		if name, value, ok := strings.Cut(kv, "="); ok {
			env[name] = value
		}
	}
	leave := func(v Variable) {
		for _, name := range slices.Sorted(maps.Keys(env)) {
			if v.matches(name) {
				if env[name] != "" && env[name] != v.Value {
					notes = append(notes, fmt.Sprintf("%s is set in your environment, and left out: %s", name, v.Why))
				}
				delete(env, name)
			}
		}
	}
	for _, v := range Variables() {
		switch v.Handling {
		case Pinned:
			if have := env[v.Name]; have != "" && have != v.Value && v.Name == "TF_WORKSPACE" {
				notes = append(notes, fmt.Sprintf("TF_WORKSPACE=%s is set in your environment, and left out: %s", have, v.Why))
			}
			env[v.Name] = v.Value
		case Left:
			leave(v)
		case ByHand:
			if !byHand {
				leave(v)
				if v.Value != "" {
					env[v.Name] = v.Value
				}
			}
		case Filled, Passed:
		}
	}
	if r.options.Plugins != "" && env[pluginCache] == "" {
		env[pluginCache] = r.options.Plugins
		// Else terraform installs again what the cache has already, over a program that another stack runs. What it warns
		// of is a lock file without the checksums of other platforms; ours is the work directory's own.
		env["TF_PLUGIN_CACHE_MAY_BREAK_DEPENDENCY_LOCK_FILE"] = "true"
	}
	return env, notes
}

// hurry lets terraform collect garbage less often: a run over what is built in is at its end before that pays off, and its memory is small.
func (s *session) hurry() {
	if s.env["GOGC"] == "" && !s.needs.download && !s.needs.programs {
		s.env["GOGC"] = lessGarbage
	}
}

// warnOfEnvironment says once what was left out of the user's environment.
func (r *Runner) warnOfEnvironment(notes []string, report event.Report) {
	if report == nil || len(notes) == 0 {
		return
	}
	r.warned.Do(func() {
		for _, note := range notes {
			report.Warn("%s", note)
		}
	})
}
