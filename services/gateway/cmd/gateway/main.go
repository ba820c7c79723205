// The gateway service.
package main

import (
	"os"
	_ "time/tzdata" // the image holds no files

	"github.com/labctl/labctl/services/gateway"
	"github.com/labctl/labctl/services/internal/service"
)

func main() { os.Exit(service.Main("gateway", gateway.ConfigFromEnv, gateway.Run)) }
