// The frontend service.
package main

import (
	"os"

	"github.com/labctl/labctl/services/frontend"
	"github.com/labctl/labctl/services/internal/service"
)

func main() { os.Exit(service.Main("frontend", frontend.ConfigFromEnv, frontend.Run)) }
