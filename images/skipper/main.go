// Command skipper is Zalando's Skipper, an ingress controller and router, with all its filters and one of our own,
// capture, which copies traffic for shadows.
package main

import (
	"fmt"
	"os"
	"runtime"

	"github.com/sirupsen/logrus"
	"github.com/zalando/skipper"
	"github.com/zalando/skipper/config"
	"github.com/zalando/skipper/metrics"

	"github.com/labctl/labctl/images/skipper/capture"
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
	options := cfg.ToOptions()
	options.CustomFilters = append(options.CustomFilters, capture.New(capture.Options{
		Log: logrus.StandardLogger(),
		// Skipper sets the metrics when it runs.
		Count: func(key string, by int64) { metrics.Default.IncCounterBy(key, by) },
	}))
	return skipper.Run(options)
}
