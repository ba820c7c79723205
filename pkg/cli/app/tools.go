package app

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/labctl/labctl/pkg/atomicfile"
	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/cluster"
	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/filelock"
	"github.com/labctl/labctl/pkg/toolchain"
)

// Terraform gives the path of a terraform or tofu, getting one where there is none.
func Terraform(ctx context.Context, f *cli.Factory, report event.Report) (string, error) {
	cacheDir, err := f.CacheDir()
	if err != nil {
		return "", err
	}
	g, err := f.Graph()
	if err != nil {
		return "", err
	}
	o := toolchain.Options{CacheDir: cacheDir, Root: g.Lab.Source}
	if g.Lab.Engine != nil {
		o.Engine = g.Lab.Engine.Name
	}
	return toolchain.Terraform(ctx, o, report)
}

// Tools are the tools that labctl builds, with the program of each: kubectl is a part of the node's.
var Tools = map[string]string{"kubectl": "kubernetes", "helm": "helm"}

// FindTool gives the path of kubectl or helm, or "" where neither labctl has built its own nor PATH has one. An own one is a
// link of that name in a directory that a user may put on PATH.
func FindTool(ctx context.Context, f *cli.Factory, name string) (string, error) {
	builder, link, err := tool(f, name)
	if err != nil {
		return "", err
	}
	path, err := builder.Built(ctx, Tools[name])
	if err != nil {
		return "", err
	}
	if path != "" {
		return link, pointTo(ctx, link, path)
	}
	if others, err := exec.LookPath(name); err == nil && others != link {
		return others, nil
	}
	return "", nil
}

// BuildTool builds labctl's own kubectl or helm, and gives its path.
func BuildTool(ctx context.Context, f *cli.Factory, name string, report event.Report) (string, error) {
	builder, link, err := tool(f, name)
	if err != nil {
		return "", err
	}
	path, err := builder.Program(ctx, Tools[name], report)
	if err != nil {
		return "", err
	}
	return link, pointTo(ctx, link, path)
}

func tool(f *cli.Factory, name string) (builder *cluster.Builder, link string, err error) {
	cacheDir, err := f.CacheDir()
	if err != nil {
		return nil, "", err
	}
	g, err := f.Graph()
	if err != nil {
		return nil, "", err
	}
	return &cluster.Builder{Root: g.Lab.Source, CacheDir: cacheDir}, filepath.Join(cacheDir, "bin", name), nil
}

// pointTo makes a symbolic link lead to target.
func pointTo(ctx context.Context, link, target string) error {
	if now, err := os.Readlink(link); err == nil && now == target {
		return nil
	}
	dir := filepath.Dir(link)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	lock, err := filelock.Wait(ctx, dir+".lock", nil)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	return atomicfile.Symlink(target, link)
}
