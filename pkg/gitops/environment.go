package gitops

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// Environment is an environment's directory in a repository:
//
//	RELEASE/apps/        the Applications of Argo CD, which the release's root application makes
//	RELEASE/chart/       the chart
//	RELEASE/values.yaml  its values, and
//	RELEASE/images.yaml  those that name images
//	labctl.sum           what labctl wrote last of all these
//	pin.yaml             there while a rollback holds
//
// Each environment has a chart of its own, so that a change of it reaches one environment after the other.
type Environment struct {
	Name string
	Dir  string // in the repository
}

const (
	chartDir   = "chart"
	valuesFile = "values.yaml"
	imagesFile = "images.yaml"
	sumFile    = "labctl.sum"
	pinFile    = "pin.yaml"
	appsDir    = "apps"
)

// AppsDir is where the Applications of a release are in the repository.
func (e Environment) AppsDir(release string) string { return path.Join(e.Dir, release, appsDir) }

// Release is what a release is in Git.
type Release struct {
	Name   string
	Chart  map[string][]byte // path in the chart → content
	Values map[string]any    // without the images
	Images map[string]any    // the part of the values that names images
	Apps   map[string][]byte // name of a file in apps/ → an Application
}

// ChartDir is where the chart of a release is in the repository.
func (e Environment) ChartDir(release string) string { return path.Join(e.Dir, release, chartDir) }

// files gives a release's files.
func (e Environment) files(r Release) (Files, error) {
	out := Files{}
	for name, content := range r.Chart {
		out[path.Join(e.ChartDir(r.Name), name)] = content
	}
	for name, content := range r.Apps {
		out[path.Join(e.AppsDir(r.Name), name)] = content
	}
	for name, values := range map[string]map[string]any{valuesFile: r.Values, imagesFile: r.Images} {
		text, err := yaml.Marshal(values)
		if err != nil {
			return nil, fmt.Errorf("write the values of release %s: %w", r.Name, err)
		}
		out[path.Join(e.Dir, r.Name, name)] = text
	}
	return out, nil
}

// ConflictError says that files were changed both in Git and in the lab.
type ConflictError struct {
	Files  []string
	Commit Commit // the last that changed one of them
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("%s changed in the lab, and in Git by %s (%s, %q)", strings.Join(e.Files, ", "), e.Commit.Author, e.Commit.Short(), e.Commit.Subject())
}

// Hint is the next command to type.
func (e *ConflictError) Hint() string {
	return "labctl gitops push --overwrite   (if the lab is right; labctl gitops diff shows what that changes)"
}

// Merge says what to change in Git so that it has a release as the lab describes it. What changed in Git alone stays: somebody wants it so.
// What changed on both sides is a *ConflictError, and where a rollback holds, anything new is a *PinnedError, unless overwrite says that
// the lab is right.
func (e Environment) Merge(r *Repository, release Release, overwrite bool) (Files, error) {
	ours, err := e.files(release)
	if err != nil {
		return nil, err
	}
	theirs, err := r.Files(e.Dir)
	if err != nil {
		return nil, err
	}
	sumName := path.Join(e.Dir, sumFile)
	base := readSums(theirs[sumName])
	change, sums := Files{}, map[string]string{}
	var conflict []string
	for _, name := range slices.Sorted(maps.Keys(e.mine(release.Name, ours, base))) {
		content, want := ours[name]
		if want {
			sums[name] = sum(content)
		}
		now, there := theirs[name]
		switch {
		case sums[name] == base[name] && !overwrite: // not changed in the lab
		case there == want && bytes.Equal(now, content): // the same on both sides
		case !overwrite && (there && sum(now) != base[name] || !there && base[name] != ""): // changed in Git
			conflict = append(conflict, name)
		default:
			change[name] = content
		}
	}
	if pin, ok, err := e.Pinned(r); err != nil {
		return nil, err
	} else if ok && !overwrite && len(conflict)+len(change) > 0 {
		return nil, &PinnedError{e.Name, pin}
	}
	if len(conflict) > 0 {
		return nil, e.conflict(r, conflict)
	}
	for name, s := range base {
		if !e.isOf(release.Name, name) {
			sums[name] = s
		}
	}
	if !maps.Equal(sums, base) {
		change[sumName] = writeSums(sums)
	}
	return change, nil
}

// mine gives the names of a release's files, those that labctl wrote before, too.
func (e Environment) mine(release string, ours Files, base map[string]string) map[string]bool {
	names := map[string]bool{}
	for name := range ours {
		names[name] = true
	}
	for name := range base {
		if e.isOf(release, name) {
			names[name] = true
		}
	}
	return names
}

// isOf says whether a file is a release's.
func (e Environment) isOf(release, name string) bool {
	return strings.HasPrefix(name, path.Join(e.Dir, release)+"/")
}

func (e Environment) conflict(r *Repository, names []string) error {
	log, err := r.Log(e.Dir, 100)
	if err != nil {
		return err
	}
	found := &ConflictError{Files: names}
	for _, c := range log {
		_, files, err := r.FilesAt(c.Hash, e.Dir)
		if err != nil {
			return err
		}
		_, before, err := r.FilesAt(c.Hash+"~1", e.Dir)
		if err != nil {
			before = Files{} // it is the first commit
		}
		if slices.ContainsFunc(names, func(name string) bool { return !bytes.Equal(files[name], before[name]) }) {
			found.Commit = c
			break
		}
	}
	return found
}

func sum(content []byte) string {
	s := sha256.Sum256(content)
	return hex.EncodeToString(s[:])
}

// readSums reads labctl.sum: a digest and a name on each line, as sha256sum writes them.
func readSums(text []byte) map[string]string {
	sums := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if digest, name, ok := strings.Cut(strings.TrimSpace(line), "  "); ok {
			sums[name] = digest
		}
	}
	return sums
}

func writeSums(sums map[string]string) []byte {
	var b bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		fmt.Fprintf(&b, "%s  %s\n", sums[name], name)
	}
	return b.Bytes()
}

// Remove says what to change so that Git has nothing of a release.
func (e Environment) Remove(r *Repository, release string) (Files, error) {
	theirs, err := r.Files(e.Dir)
	if err != nil {
		return nil, err
	}
	sumName := path.Join(e.Dir, sumFile)
	change, sums := Files{}, readSums(theirs[sumName])
	for name := range theirs {
		if e.isOf(release, name) {
			change[name] = nil
			delete(sums, name)
		}
	}
	if len(change) > 0 {
		if change[sumName] = writeSums(sums); len(sums) == 0 {
			change[sumName] = nil
		}
	}
	return change, nil
}

// Pin says that a rollback holds.
type Pin struct {
	Revision string `json:"revision"` // the commit whose content was brought back
	Before   string `json:"before"`   // the commit that it took the place of
	By       string `json:"by"`
	Reason   string `json:"reason,omitempty"`
}

// PinnedError says that a rollback holds, so that nothing new is written.
type PinnedError struct {
	Environment string
	Pin         Pin
}

// Hint is the next command to type.
func (e *PinnedError) Hint() string { return "labctl rollback " + e.Environment + " --undo" }

func (e *PinnedError) Error() string {
	why := ""
	if e.Pin.Reason != "" {
		why = ": " + e.Pin.Reason
	}
	return fmt.Sprintf("%s rolled back to %s%s", e.Pin.By, Short(e.Pin.Revision), why)
}

// Pinned gives the pin of an environment; ok is false where there is none.
func (e Environment) Pinned(r *Repository) (pin Pin, ok bool, err error) {
	name := path.Join(e.Dir, pinFile)
	text, ok, err := r.File(name)
	if err != nil || !ok {
		return pin, false, err
	}
	if err := yaml.UnmarshalStrict(text, &pin); err != nil {
		return pin, false, fmt.Errorf("read %s: %w", name, err)
	}
	return pin, true, nil
}

// Previous is the revision before the one that runs: before the last change or, where a rollback holds, before what that brought back.
func (e Environment) Previous(r *Repository) (string, error) {
	log, err := r.Log(e.Dir, 1000)
	if err != nil {
		return "", err
	}
	now := 0
	if pin, ok, err := e.Pinned(r); err != nil {
		return "", err
	} else if ok {
		now = slices.IndexFunc(log, func(c Commit) bool { return c.Hash == pin.Revision })
	}
	if now < 0 || now+1 >= len(log) {
		return "", fmt.Errorf("environment %s has no earlier revision", e.Name)
	}
	return log[now+1].Hash, nil
}

// Rollback says what to change so that an environment is as it was at a revision, and stays so until Unpin.
func (e Environment) Rollback(r *Repository, pin Pin) (Files, error) {
	commit, then, err := r.FilesAt(pin.Revision, e.Dir)
	if err != nil {
		return nil, err
	}
	if len(then) == 0 {
		return nil, fmt.Errorf("at revision %s there is nothing in %s", commit.Short(), e.Dir)
	}
	pin.Revision, pin.Before = commit.Hash, r.Head()
	if earlier, ok, err := e.Pinned(r); err != nil {
		return nil, err
	} else if ok {
		pin.Before = earlier.Before
	}
	text, err := yaml.Marshal(pin)
	if err != nil {
		return nil, err
	}
	change, err := e.replace(r, then)
	if err != nil {
		return nil, err
	}
	change[path.Join(e.Dir, pinFile)] = text
	delete(change, path.Join(e.Dir, sumFile)) // what the lab wrote last is still what it wrote last
	return change, nil
}

// Unpin says what to change so that an environment is what it was before it was rolled back, and takes what is new again.
func (e Environment) Unpin(r *Repository, pin Pin) (Files, error) {
	_, before, err := r.FilesAt(pin.Before, e.Dir)
	if err != nil {
		return nil, err
	}
	return e.replace(r, before)
}

// replace says what to change so that the environment has these files and no others.
func (e Environment) replace(r *Repository, with Files) (Files, error) {
	now, err := r.Files(e.Dir)
	if err != nil {
		return nil, err
	}
	change := Files{}
	for name := range now {
		change[name] = nil
	}
	maps.Copy(change, with)
	return change, nil
}
