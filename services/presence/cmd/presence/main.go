// The presence service.
package main

import (
	"os"
	_ "time/tzdata" // the image holds no files

	"github.com/labctl/labctl/services/internal/service"
	"github.com/labctl/labctl/services/presence"
)

func main() { os.Exit(service.Main("presence", presence.ConfigFromEnv, presence.Run)) }
