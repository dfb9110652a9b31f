// Command coredns is CoreDNS with the plugins that a cluster's DNS needs, and
// `hosts` for the one name of the local registry.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"

	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/hosts"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/loop"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/reload"
)

func init() {
	// The order in which a query passes them.
	dnsserver.Directives = []string{
		"reload", "ready", "health", "errors", "cache", "loop", "hosts", "kubernetes", "forward",
	}
}

func main() { coremain.Run() }
