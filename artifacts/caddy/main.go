// Command caddy is the stock Caddy server plus the DNS provider for Cloudflare.
//
// A main of our own is what upstream recommends for a build with plugins: go.sum then pins every byte that ends up in the
// binary, and no build server has to be trusted.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "github.com/caddy-dns/cloudflare"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

func main() {
	caddycmd.Main()
}
