// The groups service.
package main

import (
	"os"
	_ "time/tzdata" // the image holds no files

	"github.com/labctl/labctl/services/groups"
	"github.com/labctl/labctl/services/internal/service"
)

func main() { os.Exit(service.Main("groups", groups.ConfigFromEnv, groups.Run)) }
