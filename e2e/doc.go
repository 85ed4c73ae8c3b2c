// Package e2e holds the tests of the engine on a real Vault: the server, the vault CLI,
// the Agent and the programs of examples/, against the stand-in for Palette.
package e2e
