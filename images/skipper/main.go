// Command skipper is Zalando's Skipper, an ingress controller and router, with all its filters.
package main

import (
	"fmt"
	"os"
	"runtime"

	"github.com/sirupsen/logrus"
	"github.com/zalando/skipper"
	"github.com/zalando/skipper/config"
)

// version is set by the linker.
var version = "unknown"

func main() {
	if err := run(); err != nil {
		logrus.Error(err)
		os.Exit(1)
	}
}

func run() error {
	cfg := config.NewConfig()
	if err := cfg.Parse(); err != nil {
		return fmt.Errorf("read the settings: %w", err)
	}
	if cfg.PrintVersion {
		fmt.Printf("Skipper %s (%s)\n", version, runtime.Version())
		return nil
	}
	logrus.SetLevel(cfg.ApplicationLogLevel)
	return skipper.Run(cfg.ToOptions())
}
