package main

import (
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLinks(t *testing.T) {
	const text = "# The `ttl` of a_role, really?\n\n## Twice\n\n## Twice\n\n<a id=\"by-hand\"></a>\n\n```sh\n[code](nowhere.md)\n```\n"
	for _, row := range []struct{ name, link, problem string }{
		{"a file", "[x](docs/page.md)", ""},
		{"a folder", "[x](docs/)", ""},
		{"a heading", "[x](docs/page.md#the-ttl-of-a_role-really)", ""},
		{"the second of a name", "[x](docs/page.md#twice-1)", ""},
		{"an anchor by hand", "[x](docs/page.md#by-hand)", ""},
		{"a heading of the page itself", "# Here\n\n[x](#here)", ""},
		{"a line of code", "[x](main.go#L3)", ""},
		{"a URL", "<https://example.com/a#b> and https://example.com", ""},
		{"a reference", "[x][y]\n\n[y]: docs/page.md", ""},
		{"code", "`[x](nowhere.md)`", ""},
		{"no file", "[x](docs/nowhere.md)", "link docs/nowhere.md: there is no docs/nowhere.md"},
		{"no image", "![x](docs/no.png)", "link docs/no.png: there is no docs/no.png"},
		{"no heading", "[x](docs/page.md#thrice)", `link docs/page.md#thrice: docs/page.md has no heading or anchor "thrice"`},
		{"the third of a name", "[x](docs/page.md#twice-2)", `link docs/page.md#twice-2: docs/page.md has no heading or anchor "twice-2"`},
		{"no heading of the page itself", "[x](#there)", `link #there: README.md has no heading or anchor "there"`},
		{"outside", "[x](../page.md)", "link ../page.md: there is no ../page.md"},
		{"from the root", "[x](/docs/page.md)", "link /docs/page.md: a path below the server's root is none of the repository's; write a relative one"},
		{"no host", "[x](https:///a)", "link https:///a: a URL begins with https:// and a host"},
		{"another scheme", "[x](htps://example.com)", "link htps://example.com: a URL begins with https:// and a host"},
		{"a broken URL", "[x](https://example.com/%zz)", `link https://example.com/%zz: invalid URL escape "%zz"`},
	} {
		t.Run(row.name, func(t *testing.T) {
			files := fstest.MapFS{"README.md": {Data: []byte(row.link)}, "docs/page.md": {Data: []byte(text)}, "main.go": {}}
			s := site{files: files, pages: make(map[string]*page)}
			problems, err := s.check("README.md")
			require.NoError(t, err)
			if row.problem == "" {
				assert.Empty(t, problems)
				return
			}
			assert.Equal(t, []string{row.problem}, problems)
		})
	}
}
