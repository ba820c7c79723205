//go:build unix

package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/filelock"
	"github.com/labctl/labctl/pkg/gobuild"
)

// ErrNoNPM is that the web pages must be built and npm is not there.
var ErrNoNPM = errors.New("npm was not found")

// BuildWeb builds the web pages in dir (`npm ci`, `npm run build`) into dir/dist, if its sources, or what is in dist,
// changed since it was last done. cacheDir holds the record of that.
func BuildWeb(ctx context.Context, dir, cacheDir string, report event.Report) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(dir))
	stampPath := filepath.Join(cacheDir, "web", hex.EncodeToString(sum[:8]))
	lock, err := filelock.Wait(ctx, stampPath+".lock", func() { report.Doing("waiting for another labctl that builds the web pages") })
	if err != nil {
		return err
	}
	defer lock.Unlock()

	before := readStamp(stampPath)
	now := stamp{}
	if now.Sources, err = hashTree(dir, "node_modules", "dist"); err != nil {
		return fmt.Errorf("build the web pages: %w", err)
	}
	if now.Lock, err = hashFile(filepath.Join(dir, "package-lock.json")); err != nil {
		return fmt.Errorf("build the web pages: a package-lock.json fixes what they are made of (`npm install` in %s writes it): %w", dir, err)
	}
	dist := filepath.Join(dir, "dist")
	if before.Sources == now.Sources && before.Lock == now.Lock {
		if have, err := hashTree(dist); err == nil && have == before.Dist {
			return nil
		}
	}
	if _, err := exec.LookPath("npm"); err != nil {
		return fmt.Errorf("build the web pages: %w: `labctl doctor --fix` installs it", ErrNoNPM)
	}
	installed := filepath.Join(dir, "node_modules", ".package-lock.json") // npm writes it last
	if _, err := os.Stat(installed); err != nil || before.Lock != now.Lock {
		if err := npmInstall(ctx, dir, report); err != nil {
			return err
		}
	}
	report.Doing("building the web pages")
	// A file that keeps an empty dist in Git is deleted by bundlers that empty it first.
	placeholder := filepath.Join(dist, ".gitkeep")
	_, tracked := os.Stat(placeholder)
	if err := npm(ctx, dir, report, nil, "run", "build"); err != nil {
		return err
	}
	if tracked == nil {
		if err := os.WriteFile(placeholder, nil, 0o644); err != nil { //nolint:gosec // as public as the pages
			return fmt.Errorf("build the web pages: %w", err)
		}
	}
	if now.Dist, err = hashTree(dist); err != nil {
		return fmt.Errorf("build the web pages: `npm run build` in %s left no dist: %w", dir, err)
	}
	content, err := json.Marshal(now)
	if err != nil {
		return err
	}
	return writeFile(stampPath, content)
}

// stamp is what was built last.
type stamp struct{ Sources, Lock, Dist string }

func readStamp(path string) stamp {
	var s stamp
	if content, err := os.ReadFile(path); err == nil { //nolint:gosec // our own record
		_ = json.Unmarshal(content, &s) // a damaged one is as good as none
	}
	return s
}

func (b *Builder) web(ctx context.Context, r *recipe, report event.Report) error {
	return BuildWeb(ctx, filepath.Join(r.dir, r.Web), b.o.CacheDir, report)
}

func npmInstall(ctx context.Context, dir string, report event.Report) error {
	var lock packageLock
	if content, err := os.ReadFile(filepath.Join(dir, "package-lock.json")); err == nil { //nolint:gosec // an input of the build
		_ = json.Unmarshal(content, &lock) // for the progress only; npm says what is wrong with it
	}
	total, done := int64(len(lock.Packages)), int64(0)
	report.At(0, total, "installing the web pages' packages")
	return npm(ctx, dir, report, func(line string) {
		if strings.Contains(line, "npm http fetch GET") || strings.Contains(line, "npm http cache") {
			done = min(done+1, total)
			report.At(done, total, "installing the web pages' packages")
		}
	}, "ci", "--include=dev", "--no-audit", "--no-fund", "--loglevel=http")
}

// npm runs npm in dir.
func npm(ctx context.Context, dir string, report event.Report, each func(line string), args ...string) error {
	var said []string
	take := func(line string) {
		if each != nil {
			each(line)
		}
		if strings.Contains(line, "npm http ") {
			return
		}
		report.Line(line)
		if said = append(said, line); len(said) > 40 {
			said = said[1:]
		}
	}
	err := gobuild.Command{
		Dir: dir, Name: "npm", Args: args, Stdout: take, Stderr: take,
		// Colours and progress bars are for terminals; the time zone and locale could reach the pages.
		Env: append(os.Environ(), "NO_COLOR=1", "FORCE_COLOR=0", "CI=1", "TZ=UTC", "LC_ALL=C.UTF-8", "npm_config_update_notifier=false"),
	}.Run(ctx)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("build the web pages: %w", err)
	}
	text := strings.Join(said, "\n  ")
	switch {
	case gobuild.IsDiskFull(text):
		return fmt.Errorf("build the web pages: %w: free some space on the disk of %s and run the command again\n  %s", gobuild.ErrDiskFull, dir, text)
	case gobuild.IsNetwork(text):
		return fmt.Errorf("build the web pages: %w: their packages come from npm's registry, which did not answer (`npm config get registry` shows which). "+
			"Connect the machine and run the command again\n  %s", gobuild.ErrNetwork, text)
	}
	return fmt.Errorf("build the web pages: npm %s in %s: %w\n  %s", strings.Join(args[:1], " "), dir, err, text)
}

// hashTree returns one hash of all files below dir but those in the given directories directly below it.
func hashTree(dir string, without ...string) (string, error) {
	hash := sha256.New()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		for _, skip := range without {
			if rel == skip && entry.IsDir() {
				return filepath.SkipDir
			}
		}
		if !entry.Type().IsRegular() {
			return nil
		}
		sum, err := hashFile(path)
		_, _ = fmt.Fprintf(hash, "%s %s\n", filepath.ToSlash(rel), sum)
		return err
	})
	return hex.EncodeToString(hash.Sum(nil)), err
}
