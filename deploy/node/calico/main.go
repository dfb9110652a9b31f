// Command calico is Calico's CNI plugin and, called as calico-felix, the agent
// that enforces NetworkPolicy.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/docopt/docopt-go"
	"github.com/projectcalico/calico/cni-plugin/pkg/plugin"
	"github.com/projectcalico/calico/felix/daemon"
)

const version = "v3.28.5"

const usage = `Usage:
  calico-felix [options]

Options:
  -c --config-file=<file>  Its configuration; the FELIX_ environment wins. [default: /dev/null]
`

func main() {
	if filepath.Base(os.Args[0]) != "calico-felix" {
		plugin.Main(version)
		return
	}
	arguments, err := docopt.ParseArgs(usage, nil, version)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	daemon.Run(arguments["--config-file"].(string), version, "", "")
}
