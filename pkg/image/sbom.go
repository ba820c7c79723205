//go:build unix

package image

import (
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/labctl/labctl/pkg/gobuild"
)

// bom is a bill of materials in CycloneDX's JSON form (https://cyclonedx.org/docs/1.5/json/), without the serial number
// and the time, which are optional and would give each build another digest.
type bom struct {
	Format      string      `json:"bomFormat"`
	SpecVersion string      `json:"specVersion"`
	Version     int         `json:"version"`
	Metadata    bomMetadata `json:"metadata"`
	Components  []component `json:"components"`
}

type bomMetadata struct {
	Component component `json:"component"`
}

type component struct {
	Type       string     `json:"type"`
	Ref        string     `json:"bom-ref,omitempty"`
	Name       string     `json:"name"`
	Version    string     `json:"version,omitempty"`
	PURL       string     `json:"purl,omitempty"`
	Properties []property `json:"properties,omitempty"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// billOfMaterials lists what the program is made of: the modules that the linker recorded in it, the packages of
// npm that its web pages are made of, and those of the distribution beside it.
func billOfMaterials(program string, r *recipe, packages []debianPackage) ([]byte, error) {
	list := bom{
		Format: "CycloneDX", SpecVersion: "1.5", Version: 1,
		Metadata: bomMetadata{component{Type: "container", Name: r.name, Version: r.Version}},
	}
	if program != "" {
		if err := list.addProgram(program); err != nil {
			return nil, err
		}
	}
	for _, place := range slices.Sorted(maps.Keys(r.Programs)) {
		if err := list.addProgram(filepath.Join(filepath.Dir(program), gobuild.ProgramName(r.Programs[place]))); err != nil {
			return nil, err
		}
	}
	if r.Web != "" {
		if err := list.addNPM(filepath.Join(r.dir, r.Web, "package-lock.json")); err != nil {
			return nil, err
		}
	}
	if len(packages) > 0 {
		from, err := distribution()
		if err != nil {
			return nil, err
		}
		for _, p := range packages {
			list.add(p.component(from))
		}
	}
	content, err := json.MarshalIndent(list, "", " ")
	if err != nil {
		return nil, err
	}
	return append(content, '\n'), nil
}

// add adds a component, unless it is there: programs of one module share most of theirs.
func (b *bom) add(c component) {
	if slices.ContainsFunc(b.Components, func(have component) bool { return have.PURL == c.PURL }) {
		return
	}
	c.Ref = c.PURL
	b.Components = append(b.Components, c)
}

// addProgram adds the modules that the linker recorded in a program.
func (b *bom) addProgram(program string) error {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return fmt.Errorf("read the build information of %s: %w", program, err)
	}
	version := strings.TrimPrefix(info.GoVersion, "go")
	b.add(component{Type: "library", Name: "stdlib", Version: info.GoVersion, PURL: "pkg:golang/stdlib@" + version})
	b.add(goModule(info.Main))
	for _, dep := range info.Deps {
		if dep.Replace != nil {
			b.add(goModule(*dep.Replace, property{"go:replaces", dep.Path + "@" + dep.Version}))
			continue
		}
		b.add(goModule(*dep))
	}
	return nil
}

func goModule(m debug.Module, properties ...property) component {
	c := component{Type: "library", Name: m.Path, Version: m.Version, PURL: "pkg:golang/" + m.Path, Properties: properties}
	if m.Version == "(devel)" {
		c.Version = "" // this repository, which has no version while it is built
	}
	if c.Version != "" {
		c.PURL += "@" + strings.ReplaceAll(c.Version, "+", "%2B")
	}
	if m.Sum != "" {
		c.Properties = append(c.Properties, property{"go:sum", m.Sum})
	}
	return c
}

// addNPM adds the packages that the lock file of npm names for more than development.
func (b *bom) addNPM(path string) error {
	content, err := os.ReadFile(path) //nolint:gosec // an input of the build
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var lock packageLock
	if err := json.Unmarshal(content, &lock); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	for _, place := range slices.Sorted(maps.Keys(lock.Packages)) {
		p := lock.Packages[place]
		at := strings.LastIndex(place, "node_modules/")
		if at < 0 || p.Dev || p.Version == "" {
			continue
		}
		name := place[at+len("node_modules/"):]
		purl := "pkg:npm/" + strings.Replace(name, "@", "%40", 1) + "@" + p.Version
		c := component{Type: "library", Name: name, Version: p.Version, PURL: purl}
		if p.Integrity != "" {
			c.Properties = []property{{"npm:integrity", p.Integrity}}
		}
		b.add(c)
	}
	return nil
}

// packageLock is what is read of a package-lock.json.
type packageLock struct {
	Packages map[string]struct {
		Version   string `json:"version"`
		Integrity string `json:"integrity"`
		Dev       bool   `json:"dev"`
	} `json:"packages"`
}
