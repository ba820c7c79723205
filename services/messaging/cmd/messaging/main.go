// The messaging service.
package main

import (
	"os"
	_ "time/tzdata" // the image holds no files

	"github.com/labctl/labctl/services/internal/service"
	"github.com/labctl/labctl/services/messaging"
)

func main() {
	os.Exit(service.Main("messaging", messaging.ConfigFromEnv, messaging.Run, messaging.Commands()...))
}
