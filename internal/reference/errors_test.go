package reference

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/enginetest"
)

// entry is a block of errors.txt: texts with one cause.
type entry struct {
	section, status string
	texts           []string
	cause, advice   string
}

// unprinted is the section of literals that are parts of texts, or for the code alone.
const unprinted = "not printed on their own"

func entries(t *testing.T) (all []entry) {
	t.Helper()
	text, err := os.ReadFile("errors.txt")
	require.NoError(t, err)
	section := ""
	for _, block := range strings.Split(strings.TrimSpace(string(text)), "\n\n") {
		if heading, is := strings.CutPrefix(block, "== "); is {
			section = heading
			continue
		}
		if strings.HasPrefix(block, "#") {
			continue
		}
		lines := strings.Split(block, "\n")
		e := entry{section: section, status: lines[0]}
		for _, line := range lines[1:] {
			remark, is := strings.CutPrefix(line, "> ")
			switch {
			case !is:
				e.texts = append(e.texts, line)
			case e.cause == "":
				e.cause = remark
			default:
				e.advice = remark
			}
		}
		require.NotEmpty(t, e.texts, "%s: a block without a text", section)
		if section != unprinted {
			require.NotEmpty(t, e.advice, "%q needs a cause and what to do", e.texts[0])
		}
		all = append(all, e)
	}
	return all
}

const errorsHead = `<!-- Written by make docs. -->

# Errors

Each text that the engine prints, with "…" for what varies. Search the page for a part of a text without names and figures. One text may be made
of several: %[1]scould not log in at Palette (…): name lookup failed: …%[1]s. [Troubleshoot](../how-to/troubleshoot.md) goes through the common ones.

[Statuses of errors](api.md#statuses-of-errors) has what each status means. Vault answers a renewal, and a revocation with %[1]ssync%[1]s, with 400
whatever the cause, and with the engine's text. No text holds a password, a token, an API key or a raw answer of Palette's.
`

// Each text of the code is in errors.txt, and nothing else is; docs/reference/errors.md is made of it.
func TestErrorsPageHasEachTextOfTheCode(t *testing.T) {
	inCode, listed, section := texts(t), make(map[string]bool), ""
	var b strings.Builder
	fmt.Fprintf(&b, errorsHead, "`")
	for _, e := range entries(t) {
		for _, text := range e.texts {
			assert.NotEmpty(t, inCode[text], "errors.txt has a text that the code has not (any more): %s", text)
			assert.False(t, listed[text], "errors.txt has it twice: %s", text)
			listed[text] = true
		}
		if e.section == unprinted {
			continue
		}
		if e.section != section {
			section = e.section
			fmt.Fprintf(&b, "\n## %s\n\n| Text | Status | Cause | What to do |\n| --- | --- | --- | --- |\n", section)
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", strings.Join(e.texts, "`<br>`"), e.status, e.cause, e.advice)
	}
	for _, text := range slices.Sorted(maps.Keys(inCode)) {
		assert.True(t, listed[text], "%s prints a text that internal/reference/errors.txt has not: %s", inCode[text], text)
	}
	enginetest.Generated(t, "../../docs/reference/errors.md", b.String())
}
