// Command node is process 1 of an embedded node's namespaces. It is a program of its own, and small, because it
// stays for as long as the lab does. By another name it is a CNI plugin.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/labctl/labctl/pkg/cluster/node"
)

func main() {
	if filepath.Base(os.Args[0]) == node.Plugin {
		node.RunPlugin()
		return
	}
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: node CONFIG.json (labctl starts it; see `labctl cluster --help`)")
		os.Exit(2)
	}
	if err := node.Run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "node:", err)
		os.Exit(1)
	}
}
