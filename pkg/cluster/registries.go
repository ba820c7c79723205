package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"

	"github.com/labctl/labctl/pkg/atomicfile"
	"github.com/labctl/labctl/pkg/event"
)

// certsDirs are where the node's containerd looks for a registry's mirrors and certificates, the machine's own before what
// is made of Docker's settings
// (https://github.com/containerd/containerd/blob/main/docs/hosts.md).
const certsDirs = "/etc/containerd/certs.d:/etc/docker/certs.d:" + inside + "/conf/certs.d"

// dockerDaemon is where the machine's Docker has its settings; tests have another place.
var dockerDaemon = "/etc/docker/daemon.json"

// writeRegistries lets the node pull images as the machine does: by its mirrors, and with its user's credentials.
func writeRegistries(dir string, report event.Report) error {
	if err := writeMirrors(dir, report); err != nil {
		return err
	}
	return writeCredentials(dir, report)
}

// writeMirrors makes containerd's settings of the mirrors of Docker's own images that Docker's daemon is given.
func writeMirrors(dir string, report event.Report) error {
	hosts := filepath.Join(dir, "conf", "certs.d", "docker.io", "hosts.toml")
	var daemon struct {
		Mirrors []string `json:"registry-mirrors"`
	}
	b, err := os.ReadFile(dockerDaemon)
	if err == nil {
		err = json.Unmarshal(b, &daemon)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		report.Warn("the registry mirrors of %s are not used: %v", dockerDaemon, err)
	}
	if len(daemon.Mirrors) == 0 {
		return removeIfThere(hosts)
	}
	text := "server = \"https://registry-1.docker.io\"\n"
	for _, mirror := range daemon.Mirrors {
		text += fmt.Sprintf("[host.%q]\n  capabilities = [\"pull\", \"resolve\"]\n", strings.TrimSuffix(mirror, "/"))
	}
	if err := os.MkdirAll(filepath.Dir(hosts), 0o700); err != nil {
		return err
	}
	return atomicfile.Write(hosts, []byte(text))
}

// writeCredentials gives the kubelet what the user is logged in with, by docker login and its like. The kubelet reads it for
// every pull; a pod's own secrets come first.
func writeCredentials(dir string, report event.Report) error {
	target := filepath.Join(dir, "lib", "kubelet", "config.json")
	source := dockerConfig()
	b, err := os.ReadFile(source) //nolint:gosec // G304: the user's own settings
	if errors.Is(err, os.ErrNotExist) {
		return removeIfThere(target)
	}
	var config struct {
		Auths   map[string]map[string]any `json:"auths"`
		Helpers map[string]string         `json:"credHelpers"`
	}
	if err == nil {
		err = json.Unmarshal(b, &config)
	}
	if err != nil {
		report.Warn("the registry credentials of %s are not used: %v", source, err)
		return removeIfThere(target)
	}
	var unknown []string
	for registry, auth := range config.Auths {
		if len(auth) == 0 { // a helper has it
			unknown = append(unknown, registry)
			delete(config.Auths, registry)
		}
	}
	for registry := range config.Helpers {
		unknown = append(unknown, registry)
	}
	if len(unknown) > 0 {
		slices.Sort(unknown)
		report.Warn("the cluster cannot use your login to %s, which a credential helper keeps (%s): images that need it are pulled with an imagePullSecret only",
			strings.Join(slices.Compact(unknown), ", "), source)
	}
	if len(config.Auths) == 0 {
		return removeIfThere(target)
	}
	kept, err := json.Marshal(map[string]any{"auths": config.Auths})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil { //nolint:gosec // G301: as the kubelet makes it
		return err
	}
	return atomicfile.Write(target, kept)
}

// dockerConfig is the path of the user's Docker settings; under sudo, those of who called it.
func dockerConfig() string {
	if dir := os.Getenv("DOCKER_CONFIG"); dir != "" {
		return filepath.Join(dir, "config.json")
	}
	home, err := os.UserHomeDir()
	if name := os.Getenv("SUDO_USER"); name != "" {
		if caller, lookup := user.Lookup(name); lookup == nil {
			home, err = caller.HomeDir, nil
		}
	}
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".docker", "config.json")
}
