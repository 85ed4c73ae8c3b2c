package palettesecrets

import (
	"vault-plugin-secrets-palette/internal/palette"
	"vault-plugin-secrets-palette/internal/palette/exchange"
	"vault-plugin-secrets-palette/internal/upstream"
)

// paletteAPI is the interface through which the managers call Palette.
type paletteAPI = upstream.API

var _ paletteAPI = (*palette.Client)(nil)

// newClient makes the clients of a mount. All mounts of a plugin process share process: Palette
// counts the calls of an IP address, and the failed logins of an account.
func newClient(process *exchange.Process, userAgent string, observer exchange.Observer) func(palette.Connection) (paletteAPI, error) {
	return func(conn palette.Connection) (paletteAPI, error) {
		return palette.NewClient(process, conn, userAgent, observer)
	}
}
