// The auth service.
package main

import (
	"os"
	_ "time/tzdata" // the image holds no files

	"github.com/labctl/labctl/services/auth"
	"github.com/labctl/labctl/services/internal/service"
)

func main() { os.Exit(service.Main("auth", auth.ConfigFromEnv, auth.Run, auth.Commands()...)) }
