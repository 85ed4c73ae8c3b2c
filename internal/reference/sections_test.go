package reference

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-palette/internal/enginetest"
)

// held are the folders of docs/ whose sections name the tests that hold them.
var held = []string{"tutorials", "how-to", "explanation"}

const (
	testingPage = "../../docs/development/testing.md"
	tableBegin  = "<!-- begin: sections (make docs) -->\n"
	tableEnd    = "<!-- end: sections -->"
)

// docSection is what follows a heading of the second level.
type docSection struct {
	heading string
	lines   []string
}

var (
	heldBy   = regexp.MustCompile(`^<!-- test: (\w+(?:, \w+)*) -->$`)
	heldByNo = regexp.MustCompile(`^<!-- no test: (.+) -->$`)
)

// sectionsOf are a page's, without what stands before the first.
func sectionsOf(t *testing.T, path string) (all []docSection) {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	isCode := false
	for _, line := range strings.Split(string(text), "\n") {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			isCode = !isCode
		}
		heading, is := strings.CutPrefix(line, "## ")
		switch {
		case is && !isCode:
			all = append(all, docSection{heading: heading})
		case len(all) > 0 && strings.TrimSpace(line) != "":
			all[len(all)-1].lines = append(all[len(all)-1].lines, line)
		}
	}
	return all
}

// Each section of the tutorials, the how-to pages and the explanations names the tests that hold it, in a
// comment after its heading. docs/development/testing.md has the table of them.
func TestEachSectionNamesTheTestThatHoldsIt(t *testing.T) {
	tests := enginetest.Tests(t, "../..")
	table := "| Page | Section | Held by |\n| --- | --- | --- |\n"
	for _, folder := range held {
		require.NoError(t, filepath.WalkDir("../../docs/"+folder, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || filepath.Ext(path) != ".md" {
				return err
			}
			name, _ := filepath.Rel("../../docs", path)
			isRun := false
			for _, s := range sectionsOf(t, path) {
				by := holders(t, name, s, tests)
				isRun = isRun || strings.Contains(by, "(e2e/") || strings.Contains(by, "(tools/")
				table += fmt.Sprintf("| [%s](../%s) | %s | %s |\n", strings.TrimSuffix(name, ".md"), name, s.heading, by)
			}
			assert.True(t, isRun || folder != "how-to", "docs/%s: no test of e2e or tools runs an example of the page", name)
			return nil
		}))
	}
	page, err := os.ReadFile(testingPage)
	require.NoError(t, err)
	before, rest, begins := strings.Cut(string(page), tableBegin)
	_, after, ends := strings.Cut(rest, tableEnd)
	require.True(t, begins && ends, "docs/development/testing.md has no place for the table: %s%s", tableBegin, tableEnd)
	enginetest.Generated(t, testingPage, before+tableBegin+table+tableEnd+after)
}

// holders are the tests that a section names, with their files, or why there are none.
func holders(t *testing.T, page string, s docSection, tests map[string][]string) string {
	t.Helper()
	comment := ""
	if len(s.lines) > 0 {
		comment = s.lines[0]
	}
	if why := heldByNo.FindStringSubmatch(comment); why != nil {
		return "none: " + why[1]
	}
	names := heldBy.FindStringSubmatch(comment)
	if !assert.NotNil(t, names, "docs/%s, %q: after the heading stands neither <!-- test: TestName --> nor <!-- no test: why -->", page, s.heading) {
		return ""
	}
	var cells []string
	for _, name := range strings.Split(names[1], ", ") {
		assert.NotEmpty(t, tests[name], "docs/%s, %q: there is no test %s", page, s.heading, name)
		cells = append(cells, fmt.Sprintf("`%s` (%s)", name, strings.Join(tests[name], ", ")))
	}
	return strings.Join(cells, ", ")
}

// quotedHeading is one that is a text as it is printed.
var quotedHeading = regexp.MustCompile("(?m)^### `(.+)`$")

// foreign are words in headings that neither the engine nor its errors.txt has: the operating system's.
var foreign = []string{"dial: connection refused"}

// The headings of docs/how-to/troubleshoot.md that quote a text quote it as the code has it.
func TestTroubleshootQuotesTextsOfTheCode(t *testing.T) {
	page, err := os.ReadFile("../../docs/how-to/troubleshoot.md")
	require.NoError(t, err)
	inCode := texts(t)
	headings := quotedHeading.FindAllStringSubmatch(string(page), -1)
	require.NotEmpty(t, headings)
	for _, h := range headings {
		heading := h[1]
		for _, words := range foreign {
			heading = strings.ReplaceAll(heading, words, "")
		}
		// A text may be made of several.
		for _, part := range strings.Split(heading, ": ") {
			words := strings.Fields(part)
			if len(words) < 3 {
				continue
			}
			assert.True(t, slices.ContainsFunc(keys(inCode), func(text string) bool { return quotes(words, strings.Fields(text)) }),
				"docs/how-to/troubleshoot.md: the code prints no text of the form %q", part)
		}
	}
}

func keys(of map[string]string) (out []string) {
	for key := range of {
		out = append(out, key)
	}
	return out
}

// quotes tells whether words are a part of a text: each is the text's, or stands where the text has "…".
func quotes(words, text []string) bool {
	fixed := 0
	for _, word := range words {
		if !strings.Contains(word, "…") {
			fixed++
		}
	}
	for at := range text {
		if common(words, text[at:]) > fixed/2 {
			return true
		}
	}
	return false
}

// common is how many words a text that goes on as the words do has in common with them, or -1.
func common(words, text []string) int {
	if len(words) == 0 {
		return 0
	}
	if len(text) == 0 {
		return -1
	}
	bare := func(word string) string { return strings.Trim(word, ".,;:") }
	if !strings.Contains(text[0], "…") {
		rest := -1
		if bare(text[0]) == bare(words[0]) {
			rest = common(words[1:], text[1:])
		}
		if rest >= 0 {
			return rest + 1
		}
		return -1
	}
	return max(common(words, text[1:]), common(words[1:], text), common(words[1:], text[1:]))
}
