package reference

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// engineDirs are those whose texts the plugin prints.
var engineDirs = []string{".", "cmd", "internal"}

// isApart tells packages that only tests have.
func isApart(dir string) bool { return strings.HasSuffix(dir, "test") || dir == "internal/simulation" }

// describing are the fields of a declaration whose text is documentation.
var describing = []string{"Description", "Summary", "Help", "HelpSynopsis", "HelpDescription"}

var (
	verb = regexp.MustCompile(`%[-+# 0]*[0-9]*[a-zA-Z]`)
	// sentence is a description of a field or a metric, and no message.
	sentence = regexp.MustCompile(`^[A-Z0-9][^%]*\.$|^In seconds\. |^How (long|far) `)
	pattern  = regexp.MustCompile(`\(\?|\[\^|^text/plain`)
)

// texts are the literals of the engine's code that it may print, as they are printed, with "…" for what
// varies, and where each is.
func texts(t *testing.T) map[string]string {
	t.Helper()
	found := make(map[string]string)
	for _, dir := range engineDirs {
		require.NoError(t, filepath.WalkDir(filepath.Join("../..", dir), func(path string, d fs.DirEntry, err error) error {
			name, _ := filepath.Rel("../..", path)
			switch {
			case err != nil:
				return err
			case d.IsDir() && (isApart(name) || dir == "." && name != "."):
				return filepath.SkipDir
			case d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
				return nil
			}
			collect(t, path, name, found)
			return nil
		}))
	}
	return found
}

func collect(t *testing.T, path, name string, found map[string]string) {
	t.Helper()
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path, nil, 0)
	require.NoError(t, err)
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Field, *ast.ImportSpec:
			return false
		case *ast.KeyValueExpr:
			key, named := n.Key.(*ast.Ident)
			return !named || !slices.Contains(describing, key.Name)
		case ast.Expr:
			text, is := literal(n)
			if is && isPrinted(text) {
				found[printed(text)] = name + ":" + strconv.Itoa(files.Position(n.Pos()).Line)
			}
			return !is
		}
		return true
	})
}

// literal is the text of a string, or of a sum with a string in it, whose other parts are a verb.
func literal(e ast.Expr) (text string, is bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(e.Value)
		return text, err == nil && e.Kind == token.STRING
	case *ast.ParenExpr:
		return literal(e.X)
	case *ast.BinaryExpr:
		x, isX := literal(e.X)
		y, isY := literal(e.Y)
		if e.Op != token.ADD || !isX && !isY {
			return "", false
		}
		if !isX {
			x = "%s"
		}
		if !isY {
			y = "%s"
		}
		return x + y, true
	}
	return "", false
}

// isPrinted leaves out what has no words, is a description, a help text or a pattern.
func isPrinted(text string) bool {
	words := strings.Fields(verb.ReplaceAllString(text, ""))
	return len(words) > 1 && !strings.HasPrefix(text, "\n") && !sentence.MatchString(text) && !pattern.MatchString(text)
}

// printed is a format as its reader sees it.
func printed(format string) string {
	text := strings.ReplaceAll(format, "%q", `"…"`)
	text = verb.ReplaceAllString(text, "…")
	return strings.Trim(strings.Join(strings.Fields(text), " "), " ;:,.")
}
