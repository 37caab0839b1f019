// Reads a dashboard from stdin as Grafana's own schema has it: no field unknown, none missing, each of its type.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

func main() {
	if err := check(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func check() error {
	plugins.RegisterDefaultPlugins()
	raw, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	var read dashboard.Dashboard
	// A list of no errors is no error, though it is not nil.
	var faults cog.BuildErrors
	if err := read.UnmarshalJSONStrict(raw); err != nil && !(errors.As(err, &faults) && len(faults) == 0) {
		return err
	}
	return read.Validate()
}
