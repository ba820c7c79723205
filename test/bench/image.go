package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/labctl/labctl/pkg/gobuild"
	"github.com/labctl/labctl/pkg/image"
)

const imageRounds = 5

// benchImage measures the images of the chat's services, beside the bare `go build` of the same programs.
func benchImage(ctx context.Context, repository string) (results []result, err error) {
	work, err := os.MkdirTemp("", "labctl-bench-image-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, remove(work)) }()

	programs, err := filepath.Glob(filepath.Join(repository, "services", "*", "cmd", "*"))
	if err != nil {
		return nil, err
	}
	var specs []image.Spec
	var packages []string
	for _, program := range programs {
		name := filepath.Base(program)
		if name != filepath.Base(filepath.Dir(filepath.Dir(program))) {
			continue // not the service's own program
		}
		if _, err := os.Stat(filepath.Join(repository, "services", name, "web")); err == nil {
			continue // npm would be most of it, and is no part of the comparison
		}
		specs = append(specs, image.Spec{Name: name, Source: "services/" + name})
		packages = append(packages, "./services/"+name+"/cmd/"+name)
	}
	if len(specs) == 0 {
		return nil, errors.New("there are no services to build")
	}
	what := fmt.Sprintf("go build of %d services", len(specs))

	build := func(cache string) ([]image.Image, float64, error) {
		builder := image.New(image.Options{Root: repository, CacheDir: cache})
		start := time.Now()
		var images []image.Image
		for _, spec := range specs {
			img, err := builder.Build(ctx, spec, nil)
			if err != nil {
				return nil, 0, err
			}
			images = append(images, img)
		}
		return images, time.Since(start).Seconds(), nil
	}
	// Once without the clock: compiling must not be part of either side.
	cache := filepath.Join(work, "cache")
	images, _, err := build(cache)
	if err != nil {
		return nil, err
	}
	fresh, err := repeat(imageRounds, func(round int) (float64, error) {
		_, seconds, err := build(filepath.Join(work, fmt.Sprintf("fresh-%d", round)))
		return seconds, err
	})
	if err != nil {
		return nil, err
	}
	bare, err := repeat(imageRounds, func(round int) (float64, error) {
		out := filepath.Join(work, fmt.Sprintf("bare-%d", round)) + string(filepath.Separator)
		cmd := exec.CommandContext(ctx, "go", append(append([]string{"build", "-ldflags=-s -w -buildid=", "-o", out}, gobuild.Flags()...), packages...)...)
		cmd.Dir, cmd.Env, cmd.Stderr = repository, append(os.Environ(), "CGO_ENABLED=0"), os.Stderr
		if err := os.MkdirAll(out, 0o755); err != nil {
			return 0, err
		}
		start := time.Now()
		err := cmd.Run()
		return time.Since(start).Seconds(), err
	})
	if err != nil {
		return nil, err
	}
	results = append(results, beside("image.build_seconds", fresh, "s", 30, what, bare))

	unchanged, err := repeat(imageRounds, func(int) (float64, error) {
		_, seconds, err := build(cache)
		return 1000 * seconds, err
	})
	if err != nil {
		return results, err
	}
	results = append(results, against("image.unchanged_ms", unchanged, "ms", 1000))

	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	builder := image.New(image.Options{Root: repository, CacheDir: cache})
	push := func() (float64, error) {
		start := time.Now()
		for i, img := range images {
			if _, err := builder.Push(ctx, img, host+"/lab/"+specs[i].Name, nil); err != nil {
				return 0, err
			}
		}
		return float64(time.Since(start).Microseconds()) / 1000, nil
	}
	first, err := push()
	if err != nil {
		return results, err
	}
	again, err := repeat(imageRounds, func(int) (float64, error) { return push() })
	if err != nil {
		return results, err
	}
	return append(results, beside("image.push_unchanged_ms", again, "ms", 500, "the first push, ms", first)), nil
}
