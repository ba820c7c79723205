// Command registry is the distribution project's image registry with one kind of storage, a directory. The whole of it
// links the clients of three clouds.
package main

import (
	"os"

	"github.com/distribution/distribution/v3/registry"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem" // where the registry keeps its blobs
)

func main() {
	if err := registry.RootCmd.Execute(); err != nil {
		os.Exit(1) // the command has said why
	}
}
