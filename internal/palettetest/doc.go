// Package palettetest is a stand-in for Palette: an HTTP or HTTPS server that keeps state and Palette's rules for
// users, sessions, authorization tokens, passwords and API keys, for use inside a test or as a program of its own
// (cmd/palette-standin).
//
// The rules come from Palette's published OpenAPI document, release 4.8, and its documentation. What neither says is
// chosen to be the stricter of the possible answers, or is an Option so that a test can run with both; those choices
// are marked "assumption" where they are made.
//
// A test that uses New fails when it ends with a token or an API key alive.
package palettetest
